"""Checkpoints: nested trees of tensors and plain values in one safetensors file.

A file is written whole or not at all (`rewire.atomic`), carries a BLAKE2b digest over every one of
its other bytes, and holds no code: nothing here pickles. Any safetensors reader opens it; the
tensors are named by their place in the tree (``model.fc1.weight``), and the tree itself, the
digest and the format's version are one JSON text in the header.
"""

import hashlib
import json
import math
import os
import re
import stat
import struct
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from .atomic import Buffer, write_atomic

FORMAT = 1
MAX_HEADER = 8 << 20  # bytes; read before anything is known to be true
MAX_DEPTH = 64

_BLANK = b"blake2b:" + b"0" * 64
_DIGEST = re.compile(rb"blake2b:([0-9a-f]{64})")
_INT64 = range(-(1 << 63), 1 << 63)
_DTYPES = {  # as safetensors names them
    torch.bool: "BOOL", torch.uint8: "U8", torch.uint16: "U16", torch.uint32: "U32",
    torch.uint64: "U64", torch.int8: "I8", torch.int16: "I16", torch.int32: "I32",
    torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32",
    torch.float64: "F64", torch.complex64: "C64", torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip


class CheckpointError(Exception):
    """A checkpoint cannot be read or written; says which file, and why.

    ``path`` and ``reason`` hold the two parts of the message.
    """

    exit_code = 5

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class MissingCheckpoint(CheckpointError):
    """There is no such file."""


def save(path: str | Path, tree: Any, meta: dict | None = None) -> None:
    """Write ``tree`` to ``path``, atomically and durably.

    A tree is a dict (keys str or int), list or tuple of trees, a tensor, int, float, str, bool or
    None; ``meta`` is the same without tensors. Everything comes back exactly: key and sequence
    types, ints of any size, infinities and NaNs bit by bit, tensors of any strided dtype that
    safetensors knows, empty and 0-dimensional ones too. Subclasses come back plain (a Parameter
    as a Tensor, an OrderedDict as a dict), views contiguous, and CUDA tensors on the CPU. A tensor
    met twice is stored once and comes back as one tensor; other views that overlap come back
    independent.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/x.safetensors", {"step": 3, 0: (torch.ones(2), None)})
    ...     load(f"{folder}/x.safetensors")[0]
    {'step': 3, 0: (tensor([1., 1.]), None)}

    Raises TypeError for a value that is none of these, ValueError for a tree nested too deeply or
    with too much structure for the header, CheckpointError where the disk does not take it; the
    file that was there before is then untouched.
    """
    tensors = _Tensors()
    header = {
        "digest": _BLANK.decode(),  # first, so that it is the first digest in the file
        "format": FORMAT,
        "meta": _encode(meta or {}, ("meta",), None),
        "tree": _encode(tree, (), tensors),
    }
    text = json.dumps(header, separators=(",", ":"), allow_nan=False)
    head, numbers = _safetensors(tensors.named, {"rewire": text})
    if len(head) - 8 > MAX_HEADER:
        raise ValueError(
            f"the structure of this tree takes {len(head) - 8} bytes and a checkpoint's header "
            f"holds {MAX_HEADER}: put long lists of numbers into tensors"
        )
    before, after = head.split(_BLANK, 1)
    digest = b"blake2b:" + _digest(before, after, *numbers)
    try:
        write_atomic(path, before, digest, after, *numbers)
    except OSError as error:
        raise CheckpointError(
            path, f"cannot be written ({error.strerror}); no half-written file is left"
        ) from error


def load(path: str | Path) -> tuple[Any, dict]:
    """Read ``(tree, meta)`` as `save` was given them; tensors on the CPU.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/run.safetensors"
    ...     save(path, [torch.arange(3), float("inf")], meta={"epoch": 7})
    ...     load(path)
    ([tensor([0, 1, 2]), inf], {'epoch': 7})
    >>> load("no such file")
    Traceback (most recent call last):
    rewire.checkpoint.MissingCheckpoint: no such file: there is no such file

    Raises CheckpointError for anything but exactly what was saved: a missing, truncated, altered
    or foreign file, a newer format, or sizes that no honest file has (checked before any memory
    is asked for).
    """
    blob, header = _read(path)
    match = _DIGEST.search(blob, 8, 8 + int.from_bytes(blob[:8], "little"))
    if match is None:
        raise CheckpointError(path, "damaged: its header has no digest")
    whole = memoryview(blob)
    if match[1] != _digest(whole[: match.start()], whole[match.end() :]):
        raise CheckpointError(path, "damaged: its bytes do not match its digest")
    try:
        tensors = safetensors.torch.load(blob)
        tree, meta = _decode(header["tree"], tensors), _decode(header["meta"], {})
    except Exception as error:  # whatever a forged file makes the parsers say
        raise CheckpointError(path, f"damaged: {type(error).__name__}: {error}") from error
    if not isinstance(meta, dict):
        raise CheckpointError(path, f"damaged: its meta is a {type(meta).__name__}, not a dict")
    return tree, meta


class Generations:
    """The two newest checkpoints of one process, ``<name>-a`` and ``<name>-b``.

    They are written alternately, never over the newest good one, so that a file that rots on the
    disk costs some steps and not the run.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     generations = Generations(folder)
    ...     for step in (10, 20, 30):
    ...         generations.save({"step": step})
    ...     Generations(folder).load_newest()  # as another process would
    {'step': 30}
    """

    def __init__(self, folder: str | Path, name: str = "checkpoint") -> None:
        self.paths = tuple(Path(folder) / f"{name}-{slot}.safetensors" for slot in "ab")
        self.problems: list[CheckpointError] = []  # what the last look at the files found wrong
        self._newest: tuple[int, int] | None = None  # (generation, slot), once known

    def save(self, tree: Any) -> None:
        """Write a new generation over the older one. Raises as `save`."""
        generation, slot = self._newest or self._scan()[0]
        save(self.paths[1 - slot], tree, {"generation": generation + 1})
        self._newest = generation + 1, 1 - slot

    def load_newest(self) -> Any | None:
        """The newest good tree, or None where nothing was saved yet.

        Warns when a newer one is damaged (and lists it in ``problems``). Raises CheckpointError
        when there are files and none is good.
        """
        self._newest, tree = self._scan()
        if self.problems and self._newest == (0, 1):
            if len(self.problems) == 1:
                raise self.problems[0]
            paths = " and ".join(str(problem.path) for problem in self.problems)
            reasons = "; ".join(problem.reason for problem in self.problems)
            raise CheckpointError(self.paths[0].parent, f"no good checkpoint: {paths}: {reasons}")
        for problem in self.problems:
            warnings.warn(
                f"{problem}; going on from the older {self.paths[self._newest[1]].name}",
                stacklevel=2,
            )
        return tree

    def clear(self) -> None:
        """Remove both files."""
        for path in self.paths:
            path.unlink(missing_ok=True)
        self._newest = None

    def _scan(self) -> tuple[tuple[int, int], Any | None]:
        """((generation, slot), tree) of the newest good file; ((0, 1), None) without one."""
        newest, newest_tree = (0, 1), None
        self.problems = []
        for slot, path in enumerate(self.paths):
            try:
                tree, meta = load(path)
                generation = meta.get("generation")
                if type(generation) is not int or generation < 1:
                    raise CheckpointError(path, "is no generation of a run: it has no number")
            except MissingCheckpoint:
                continue
            except CheckpointError as error:
                self.problems.append(error)
                continue
            if generation > newest[0]:
                newest, newest_tree = (generation, slot), tree
        return newest, newest_tree


class _Tensors:
    """Tensors to be written, by name: each once, none sharing memory with another."""

    def __init__(self) -> None:
        self.named: dict[str, Tensor] = {}
        self._names: dict[tuple, str] = {}
        self._storages: set[tuple] = set()

    def add(self, tensor: Tensor, where: tuple) -> str:
        if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in _DTYPES:
            raise TypeError(
                f"{_path(where)} is a tensor of {tensor.dtype}, {tensor.layout}, on "
                f"{tensor.device}: a checkpoint takes dense tensors that safetensors knows"
            )
        tensor = tensor.detach().resolve_conj().resolve_neg()
        storage = (tensor.device, tensor.untyped_storage().data_ptr())
        place = (*storage, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and place in self._names:
            return self._names[place]
        name = unique = _path(where)
        while unique in self.named or unique == "__metadata__":
            unique = f"{name}~{len(self.named)}"
        flat = tensor.cpu().contiguous()
        if storage in self._storages and flat.untyped_storage().data_ptr() == storage[1]:
            flat = flat.clone()
        self._storages.add(storage)
        self._names[place] = unique
        self.named[unique] = flat
        return unique


def _path(where: tuple) -> str:
    text = ".".join(str(key) for key in where) or "tree"
    return text.encode("ascii", "backslashreplace").decode()


def _encode(value: Any, where: tuple, tensors: _Tensors | None) -> Any:
    """``value`` as JSON: what JSON cannot say exactly becomes an object of one tagged member."""
    if len(where) > MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} deep at {_path(where[:4])}...")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value) if value in _INT64 else {"int": hex(value)}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
    if isinstance(value, list | tuple):
        items = [_encode(item, (*where, i), tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, dict):
        for key in value:
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise TypeError(f"{_path(where)} has the key {key!r}: keys are str or int")
        pairs = (
            (_encode(k, where, None), _encode(v, (*where, k), tensors)) for k, v in value.items()
        )
        return {"dict": list(pairs)}
    if isinstance(value, Tensor) and tensors is not None:
        return {"tensor": tensors.add(value, where)}
    raise TypeError(
        f"{_path(where)} is a {type(value).__name__}: a checkpoint takes dict, list, tuple, "
        f"{'' if tensors is None else 'tensor, '}int, float, str, bool and None"
    )


def _decode(node: Any, tensors: dict[str, Tensor], depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"its structure is nested more than {MAX_DEPTH} deep")
    match node:
        case None | bool() | int() | float() | str():
            return node
        case list():
            return [_decode(item, tensors, depth + 1) for item in node]
        case {"tuple": list(items)}:
            return tuple(_decode(item, tensors, depth + 1) for item in items)
        case {"dict": list(pairs)}:
            return {
                _key(_decode(key, {})): _decode(value, tensors, depth + 1) for key, value in pairs
            }
        case {"tensor": str(name)}:
            return tensors[name]
        case {"int": str(digits)}:
            return int(digits, 16)
        case {"float": str(digits)}:
            return struct.unpack(">d", bytes.fromhex(digits))[0]
    raise ValueError(f"its structure holds {str(node)[:80]!r}")


def _key(key: Any) -> str | int:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise ValueError(f"its structure has the key {str(key)[:80]!r}")
    return key


def _safetensors(
    named: dict[str, Tensor], metadata: dict[str, str]
) -> tuple[bytes, list[memoryview]]:
    """The bytes of a safetensors file: its head, and the tensors where they lie, not copied.

    Tensors are contiguous and on the CPU; the widest numbers come first, so that all are aligned.
    """
    entries: dict[str, Any] = {"__metadata__": metadata}
    numbers: list[memoryview] = []
    at = 0
    for name in sorted(named, key=lambda name: (-named[name].dtype.itemsize, name)):
        tensor = named[name]
        end = at + tensor.numel() * tensor.dtype.itemsize
        kind, shape = _DTYPES[tensor.dtype], list(tensor.shape)
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, end]}
        if end > at:
            numbers.append(tensor.reshape(-1).view(torch.uint8).numpy().data)
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, numbers


def _digest(*parts: Buffer) -> bytes:
    """BLAKE2b (32 bytes, as hexadecimal) of the bytes of a file around the digest in it."""
    state = hashlib.blake2b(digest_size=32)
    for part in parts:
        state.update(part)
    return state.hexdigest().encode()


def _read(path: str | Path) -> tuple[bytes, dict]:
    """The bytes of a safetensors file of ours whose header and size agree, and our header."""
    try:
        # not blocking: a pipe under this name must not hang the reader
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError(path, "is not a file")
            start = file.read(8)
            size = int.from_bytes(start, "little")
            if len(start) == 8 and size > MAX_HEADER:
                raise CheckpointError(
                    path, f"foreign or damaged: a header of {size} bytes (at most {MAX_HEADER})"
                )
            start += file.read(size)
            if len(start) < 8 + size or len(start) < 8:
                raise CheckpointError(path, f"truncated: it ends after {len(start)} bytes")
            header, promised = _header(path, start)
            if status.st_size != promised:
                what = "truncated" if status.st_size < promised else "damaged"
                raise CheckpointError(path, f"{what}: {status.st_size} bytes, not {promised}")
            if 2 * promised > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
                raise CheckpointError(
                    path, f"too large: to read its {promised} bytes takes twice that in memory"
                )
            return start + file.read(promised - len(start)), header
    except FileNotFoundError as error:
        raise MissingCheckpoint(path, "there is no such file") from error
    except OSError as error:
        raise CheckpointError(path, f"cannot be read ({error.strerror})") from error


def _header(path: str | Path, start: bytes) -> tuple[dict, int]:
    """Our part of the header, and the size in bytes that the header gives the file."""
    try:
        entries = json.loads(start[8:])
        metadata = entries.pop("__metadata__", {})
        ends = [entry["data_offsets"][1] for entry in entries.values()]
        size = len(start) + max(map(int, ends), default=0)
        text = metadata.get("rewire")
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CheckpointError(path, "foreign or damaged: it is no safetensors file") from error
    if not isinstance(text, str):
        raise CheckpointError(path, "foreign: a safetensors file that rewire did not write")
    try:
        header = json.loads(text)
        version = header["format"]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise CheckpointError(path, "damaged: its structure cannot be read") from error
    if type(version) is not int or version > FORMAT:
        raise CheckpointError(
            path,
            f"has format {str(version)[:20]} and this rewire reads up to {FORMAT}: "
            "a newer rewire wrote it, or it is damaged",
        )
    return header, size
