"""Who may write into the folder of a run, and what is in the folders of its cells.

`rewire.experiments.store` describes the layout.
"""

import hashlib
import json
import math
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewire import atomic

from ..errors import ConfigError, Locked, StoreError
from .disk import (
    MAX_LINE,
    SCHEMA,
    AppendFile,
    Lines,
    as_event,
    as_object,
    blame,
    check_schema,
    event_line,
    open_regular,
    read_events,
    read_json,
    write_atomic,
    write_json,
)

if TYPE_CHECKING:
    from rewire.checkpoint import Generations

_HASH = re.compile(r"[0-9a-f]{16}")


def cell_hash(config: Mapping[str, Any]) -> str:
    """The name of a cell: 16 hex digits of the BLAKE2b of its config as canonical JSON.

    Keys are sorted, floats written by repr, -0.0 is 0.0, a tuple is a list; 1 and 1.0 differ.

    >>> cell_hash({"seed": 0, "lr": 0.1}) == cell_hash({"lr": 0.1, "seed": 0})
    True

    Raises ConfigError for NaN and infinities, TypeError for what JSON does not know.
    """
    text = json.dumps(_canonical(config, "config"), sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode()).hexdigest()[:16]


def _canonical(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r}: keys of a config are strings")
        return {str(key): _canonical(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigError(f"{where} is {value}: a config holds finite numbers")
        return float(value) + 0.0  # -0.0 + 0.0 is 0.0
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"{where} is a {type(value).__name__}, which JSON does not know")


class Run:
    """The output folder of one experiment; made, with its parents, if it is not there."""

    def __init__(self, out: str | Path) -> None:
        self.path = Path(out)
        with blame(self.path, "made"):
            (self.path / "cells").mkdir(parents=True, exist_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only process that writes here; also clears away what dead ones left.

        The lock is the operating system's and ends with its holder, so a dead one is no obstacle.
        Raises Locked, at once, naming the holder; StoreError where no lock can be had.
        """
        from filelock import FileLock, Timeout

        path, note = self.path / "run.lock", self.path / "run.lock.json"
        lock = FileLock(path, timeout=0.2)
        try:
            lock.acquire()
        except Timeout:  # an OSError too
            raise Locked(
                f"{self.path} is in use by {_holder(note)}; wait for it, or stop it"
            ) from None
        except OSError as error:
            raise StoreError(f"{path}: cannot be locked ({error.strerror})") from error
        except NotImplementedError as error:
            raise StoreError(f"{path}: this file system has no locks ({error})") from error
        owner = os.getpid()
        try:
            for folder in (
                self.path,
                *self.path.glob("cells/*"),
                *self.path.glob("cells/*/levels"),
            ):
                atomic.sweep(folder)
            started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            write_json(note, {"pid": owner, "host": socket.gethostname(), "started": started})
            yield
        finally:
            if os.getpid() == owner:  # a forked worker that leaves this block unlocks nothing
                with suppress(OSError):
                    note.unlink()
                lock.release()

    def write_experiment(self, toml: str, experiment: Mapping[str, Any]) -> None:
        """Write experiment.toml and experiment.json.

        ``experiment["cells"]``, where given, says which cells belong to it, in what order and
        under what name: a list of ``{"hash": ..., "label": ...}``. Raises StoreError.
        """
        write_atomic(self.path / "experiment.toml", toml)
        write_json(self.path / "experiment.json", {"schema": SCHEMA, **experiment})

    def experiment(self) -> dict[str, Any] | None:
        """experiment.json, or None before it is written. Raises StoreError."""
        return read_experiment(self.path)

    def cell(self, hash: str) -> "CellStore":
        """The cell of this name, whether or not it has begun."""
        if not _HASH.fullmatch(hash):
            raise StoreError(f"{hash!r} is no cell: a cell is named by 16 hexadecimal digits")
        return CellStore(self.path / "cells" / hash)

    def cells(self) -> list["CellStore"]:
        """The cells that have begun, in the order of experiment.json, else by name."""
        return [CellStore(folder) for folder in cell_folders(self.path)]


def _holder(note: Path) -> str:
    try:
        holder = read_json(note, 4096)
        pid, host = int(holder["pid"]), str(holder["host"])
    except (StoreError, KeyError, TypeError, ValueError):
        return "another process (it has not left its name)"
    text = f"process {pid} on {host}, started {holder.get('started')}"
    if host == socket.gethostname() and not atomic.process_alive(pid):
        text += " (it is dead, but a process it started still holds the lock)"
    return text


def read_experiment(out: Path) -> dict[str, Any] | None:
    """experiment.json, or None where there is none. Raises StoreError."""
    path = out / "experiment.json"
    if not path.exists():
        return None
    value = as_object(read_json(path), path)
    check_schema(value, path)
    return value


def listed_cells(out: Path) -> dict[str, str | None]:
    """hash -> label (if given) of the cells that experiment.json lists, in its order."""
    cells = (read_experiment(out) or {}).get("cells", [])
    listed = {}
    for cell in cells if isinstance(cells, list) else [None]:
        item = {"hash": cell} if isinstance(cell, str) else cell
        name, label = (item.get("hash"), item.get("label")) if isinstance(item, dict) else (0, 0)
        if not isinstance(name, str) or not isinstance(label, str | None):
            raise StoreError(f"{out / 'experiment.json'}: 'cells' is no list of hashes and labels")
        listed[name] = label
    return listed


def cell_folders(out: Path) -> list[Path]:
    """Folders of the cells that have begun, in the order of experiment.json, then by name.

    Anything in ``cells`` without a cell.json, or with another kind of name, is not ours. Raises
    StoreError where no run is.
    """
    with blame(out, "read"):
        if not (out / "cells").is_dir():
            if (out / "experiment.json").exists():
                return []
            raise StoreError(f"{out}: no run is here (no experiment.json, no folder cells)")
        names = {
            entry.name
            for entry in os.scandir(out / "cells")
            if _HASH.fullmatch(entry.name) and os.path.exists(f"{entry.path}/cell.json")
        }
    order = {name: place for place, name in enumerate(listed_cells(out))}
    return [
        out / "cells" / name for name in sorted(names, key=lambda n: (order.get(n, len(order)), n))
    ]


class CellStore:
    """The folder of one cell. One process writes; any may read meanwhile."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder)
        self.metrics = Lines(self.path / "metrics.jsonl")
        self.edit_log = AppendFile(self.path / "edits.bin")

    @property
    def hash(self) -> str:
        return self.path.name

    def create(self, cell_json: Mapping[str, Any]) -> None:
        """Make the folder and its cell.json (``hash`` and ``schema`` are added if left out).

        ``config`` is what the cell is named by. A folder that was made before stays as it is.
        Raises ValueError for another cell's config, StoreError where the folder is damaged.
        """
        value = {"schema": SCHEMA, "hash": self.hash, **cell_json}
        if cell_hash(value["config"]) != self.hash:
            raise ValueError(f"{self.hash} is not the hash of the config of {self.path}")
        with blame(self.path, "made"):
            self.path.mkdir(parents=True, exist_ok=True)
            atomic.sweep(self.path)
            atomic.sync_folder(self.path.parent)
        if (self.path / "cell.json").exists():
            self.cell()
            return
        write_json(self.path / "cell.json", value)

    def cell(self) -> dict[str, Any]:
        """cell.json. Raises StoreError, also for a newer schema or another cell's file."""
        path = self.path / "cell.json"
        value = as_object(read_json(path), path)
        check_schema(value, path)
        if value.get("hash") != self.hash:
            raise StoreError(f"{path}: is of cell {str(value.get('hash'))[:40]}, not {self.hash}")
        if cell_hash(as_object(value.get("config"), f"{path}, config")) != self.hash:
            raise StoreError(f"{path}: its config is not the one that cell {self.hash} is named by")
        return value

    # metrics

    def append(self, event: Mapping[str, Any]) -> None:
        """Add one event. Numbers of numpy and torch are taken as numbers.

        Raises ValueError for NaN and infinities (use None where there is no number) and for an
        event without a name, StoreError where the disk does not take it.
        """
        if not isinstance(event.get("event"), str):
            raise ValueError(f"an event needs its name under 'event'; it has {sorted(event)}")
        if "crc" in event:
            raise ValueError(f"{event['event']} event: 'crc' is the name of its checksum")
        try:
            line = event_line(event)
        except ValueError as error:
            bad = [k for k, v in event.items() if isinstance(v, float) and not math.isfinite(v)]
            raise ValueError(f"{event['event']} event: {bad or error} cannot be written") from error
        if len(line) > MAX_LINE:
            raise ValueError(f"{event['event']} event: {len(line)} bytes; at most {MAX_LINE}")
        self.metrics.append(line)

    def events(self) -> Iterator[dict[str, Any]]:
        """The events, in order. A torn last line does not count: its writer was killed.

        Raises StoreError for damage anywhere else, with file, line and reason.
        """
        return read_events(self.metrics.path)

    def size(self) -> int:
        """Bytes of metrics.jsonl; what a checkpoint keeps for `truncate`."""
        return self.metrics.size()

    def truncate(self, offset: int) -> None:
        """Cut metrics.jsonl back to ``offset`` bytes. Raises StoreError if it is shorter."""
        self.metrics.truncate(offset)

    def sync(self) -> None:
        """Force metrics and edits to the disk; before the checkpoint that counts on them."""
        self.metrics.sync()
        self.edit_log.sync()

    def close(self) -> None:
        """Close the files; reading still works."""
        self.metrics.close()
        self.edit_log.close()

    @property
    def finished(self) -> bool:
        """Whether the last complete line is an ``end`` event. Raises StoreError."""
        path = self.metrics.path
        if not path.exists():
            return False
        with blame(path, "read"), open(open_regular(path), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2 * MAX_LINE))
            lines = file.read(2 * MAX_LINE).split(b"\n")
        if len(lines) < 2:
            return False
        return as_event(lines[-2], f"{path}, last line")["event"] == "end"

    @property
    def status(self) -> str:
        """finished, failed, running (or interrupted), or waiting."""
        if self.finished:
            return "finished"
        if (self.path / "error.json").exists():
            return "failed"
        return "running" if self.size() else "waiting"

    # tensors

    @property
    def checkpoints(self) -> "Generations":
        """The two newest checkpoints. Keep the object: it knows which one is newest."""
        from rewire.checkpoint import Generations

        return Generations(self.path)

    @property
    def levels(self) -> list[int]:
        """The levels that were written, ascending."""
        return self._numbered("levels", r"(\d+)\.safetensors")

    def write_level(self, n: int, tree: Any, meta: dict | None = None) -> None:
        """Keep the end of level ``n``. Raises as `rewire.checkpoint.save`."""
        with blame(self.path, "made"):
            (self.path / "levels").mkdir(exist_ok=True)
            atomic.sync_folder(self.path)
        self._save(self._level(n), tree, meta)

    def read_level(self, n: int) -> tuple[Any, dict]:
        """(tree, meta) of level ``n``. Raises CheckpointError."""
        return self._load(self._level(n))

    @property
    def starts(self) -> list[int]:
        """The levels that a training of this cell started at, ascending."""
        return self._numbered("", r"start-(\d+)\.safetensors")

    def write_start(self, n: int, tree: Any, meta: dict | None = None) -> None:
        """Keep the topology that the edit log replays from. Raises as `rewire.checkpoint.save`."""
        self._save(self._start(n), tree, meta)

    def read_start(self, n: int) -> tuple[Any, dict]:
        """(tree, meta) of the start at level ``n``. Raises CheckpointError."""
        return self._load(self._start(n))

    @property
    def snapshots(self) -> list[int]:
        """The steps whose state was kept for rewinds, ascending."""
        return self._numbered("", r"saved-(\d+)\.safetensors")

    def write_snapshot(self, step: int, tree: Any, meta: dict | None = None) -> None:
        """Keep the state of ``step``. Raises as `rewire.checkpoint.save`."""
        self._save(self._snapshot(step), tree, meta)

    def read_snapshot(self, step: int) -> tuple[Any, dict]:
        """(tree, meta) of the state kept at ``step``. Raises CheckpointError."""
        return self._load(self._snapshot(step))

    def remove_snapshot(self, step: int) -> None:
        """Forget the state kept at ``step``."""
        with blame(self.path, "changed"):
            self._snapshot(step).unlink(missing_ok=True)

    # failure

    def write_error(
        self, kind: str, message: str, exit_code: int, traceback: str | None = None
    ) -> None:
        """Say why the cell stopped, of a bug with the traceback. Raises StoreError."""
        error = {"kind": kind, "message": message, "exit_code": exit_code}
        if traceback is not None:
            error["traceback"] = traceback
        write_json(self.path / "error.json", error)

    @property
    def error(self) -> dict[str, Any] | None:
        """Why the cell stopped, or None. Raises StoreError."""
        path = self.path / "error.json"
        return as_object(read_json(path), path) if path.exists() else None

    def clear_error(self) -> None:
        """Forget the failure, before another attempt."""
        with blame(self.path, "changed"):
            (self.path / "error.json").unlink(missing_ok=True)

    def _level(self, n: int) -> Path:
        return self.path / "levels" / f"{n:02d}.safetensors"

    def _start(self, n: int) -> Path:
        return self.path / f"start-{n:02d}.safetensors"

    def _snapshot(self, step: int) -> Path:
        return self.path / f"saved-{step}.safetensors"

    def _numbered(self, folder: str, pattern: str) -> list[int]:
        try:
            names = os.listdir(self.path / folder)
        except FileNotFoundError:
            return []
        return sorted(int(m[1]) for name in names if (m := re.fullmatch(pattern, name, re.ASCII)))

    @staticmethod
    def _save(path: Path, tree: Any, meta: dict | None) -> None:
        from rewire import checkpoint

        checkpoint.save(path, tree, meta)

    @staticmethod
    def _load(path: Path) -> tuple[Any, dict]:
        from rewire import checkpoint

        return checkpoint.load(path)
