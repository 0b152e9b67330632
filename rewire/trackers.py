"""Trackers: where the numbers of a run go while it trains.

A tracker is anything with ``log(step, numbers)`` and ``finish()``. Five are here: files of JSON
lines, TensorBoard, trackio, MLflow and Weights & Biases, all of them on this machine's disk.
``import rewire`` imports none of their packages.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from .names import unknown

PROJECT = "rewire"  # what runs are filed under where nobody says


@runtime_checkable
class Tracker(Protocol):
    """What takes the numbers of one run."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write numbers of a step down, by name. Steps rise."""
        ...

    def finish(self) -> None:
        """The run is over: everything is on the disk after it."""
        ...


def imported(module: str, *, what: str, extra: str) -> Any:
    """A package that ``what`` needs. Raises ImportError with the pip command where it is missing.

    >>> imported("no_such_package", what="The tracker", extra="trackers")
    Traceback (most recent call last):
    ImportError: The tracker needs the package 'no_such_package', which is not installed: \
pip install "neurorewire[trackers]"
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # it is there, and lacks something itself
        raise ImportError(
            f"{what} needs the package {module.partition('.')[0]!r}, which is not installed: "
            f'pip install "neurorewire[{extra}]"'
        ) from error


class JSONL:
    """One JSON object a line: the step, then the numbers. NaN and infinity become null.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tracker = JSONL(f"{folder}/run.jsonl")
    ...     tracker.log(1, {"loss": 0.5})
    ...     tracker.finish()
    ...     print(Path(f"{folder}/run.jsonl").read_text(), end="")
    {"step": 1, "loss": 0.5}
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8")

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        values = {k: v if math.isfinite(v) else None for k, v in _plain(numbers).items()}
        self._file.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
        self._file.flush()

    def finish(self) -> None:
        self._file.close()


class TensorBoard:
    """Event files that ``tensorboard --logdir FOLDER`` shows."""

    def __init__(self, folder: str | Path):
        imported("tensorboard", what="The tracker TensorBoard", extra="trackers")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in _plain(numbers).items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        self._writer.close()


class Trackio:
    """A run of trackio's, on this machine; ``trackio show`` shows it.

    folder: where its databases lie, by default trackio's own; trackio reads it once, when it is
    first imported. Raises ValueError where it was imported for another folder before.
    """

    def __init__(self, name: str, project: str = PROJECT, folder: str | Path | None = None):
        if folder is not None and "trackio" not in sys.modules:
            os.environ["TRACKIO_DIR"] = str(folder)
        trackio = imported("trackio", what="The tracker Trackio", extra="trackers")
        own = import_module("trackio.utils").TRACKIO_DIR
        if folder is not None and Path(own).resolve() != Path(folder).resolve():
            raise ValueError(
                f"trackio was imported before and writes to {own}, not to {folder}: set "
                "TRACKIO_DIR before the program starts."
            )
        self._run = trackio.init(
            project=project, name=name, resume="allow", embed=False,
            auto_log_cpu=False, auto_log_gpu=False,
        )  # fmt: skip

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(_plain(numbers), step=step)

    def finish(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow's.

    where: a folder, or the address of a tracking server or database. MLflow calls folders "in
    maintenance mode" and asks for a variable to be set, which is done here for a folder.
    """

    def __init__(self, name: str, where: str | Path = "mlruns", project: str = PROJECT):
        imported("mlflow", what="The tracker MLflow", extra="trackers")
        address = str(where)
        if "://" not in address:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            address = Path(where).absolute().as_uri()
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        self._client, self._metric = MlflowClient(tracking_uri=address), Metric
        experiment = self._client.get_experiment_by_name(project)
        number = experiment.experiment_id if experiment else self._client.create_experiment(project)
        self.run_id: str = self._client.create_run(number, run_name=name).info.run_id

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        metrics = [self._metric(k, v, now, step) for k, v in _plain(numbers).items()]
        self._client.log_batch(self.run_id, metrics=metrics)

    def finish(self) -> None:
        self._client.set_terminated(self.run_id)


class WandB:
    """A run of Weights & Biases', offline unless another mode is asked for.

    ``wandb sync`` sends an offline run. Several runs may be open at once.
    """

    def __init__(
        self,
        name: str,
        folder: str | Path = ".",
        project: str = PROJECT,
        mode: str = "offline",
    ):
        wandb = imported("wandb", what="The tracker WandB", extra="trackers")
        Path(folder).mkdir(parents=True, exist_ok=True)
        quiet = {"silent": True, "console": "off"} if mode == "offline" else {}
        self._run = wandb.init(
            project=project, name=name, dir=str(folder), mode=mode, reinit="create_new",
            settings=wandb.Settings(**quiet),
        )  # fmt: skip

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(_plain(numbers), step=step)

    def finish(self) -> None:
        self._run.finish()


# By the name of the command line: how a run of a name is opened below a folder.
KINDS: Mapping[str, Callable[[Path, str], Tracker]] = {
    "jsonl": lambda folder, name: JSONL(folder / f"{name}.jsonl"),
    "tensorboard": lambda folder, name: TensorBoard(folder / "tensorboard" / name),
    "trackio": lambda folder, name: Trackio(name, folder=folder / "trackio"),
    "mlflow": lambda folder, name: MLflow(name, folder / "mlruns"),
    "wandb": lambda folder, name: WandB(name, folder),
}


def opened(kind: str, folder: str | Path, name: str) -> Tracker:
    """The tracker of a kind, for the run of a name, with its files below a folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tracker = opened("jsonl", folder, "first")
    ...     tracker.finish()
    ...     print(*(path.name for path in Path(folder).iterdir()))
    first.jsonl

    Raises ValueError for another kind, ImportError where its package is missing.
    """
    if kind not in KINDS:
        raise ValueError(unknown("tracker", kind, KINDS) + ".")
    return KINDS[kind](Path(folder), name)


def _plain(numbers: Mapping[str, float]) -> dict[str, float]:
    """Tensors of one number, and numpy's, as Python's own."""
    return {name: float(value) for name, value in numbers.items()}


# -- the numbers of a session ---------------------------------------------------------------------


class Following:
    """A session's numbers, written to a tracker at every so many of its steps.

    They are ``rewire/edges``, ``rewire/density``, and ``rewire/formed`` and ``rewire/dropped``, the
    synapses since the last time; and the density of each projection where ``layers`` is true.
    """

    def __init__(self, tracker: Tracker, every: int = 1, layers: bool = False):
        if every < 1:
            raise ValueError(f"every is {every}: a number of steps, 1 or more.")
        self.tracker, self.every, self.layers = tracker, every, layers
        self._last = (0, 0)  # formed and dropped so far

    def __call__(self, net: Any) -> None:
        """A step of the session is over."""
        if net.clock.total % self.every == 0:
            self.tracker.log(net.clock.total, self.numbers(net))

    def begin(self, net: Any) -> None:
        """Count what is formed and dropped from now on."""
        self._last = net.history.formed, net.history.dropped

    def numbers(self, net: Any) -> dict[str, float]:
        """The session's numbers now; what it formed and dropped since the last call."""
        now = net.history.formed, net.history.dropped
        formed, dropped = (after - before for after, before in zip(now, self._last, strict=True))
        self._last = now
        numbers = {
            "rewire/edges": net.edges, "rewire/density": net.density,
            "rewire/formed": formed, "rewire/dropped": dropped,
        }  # fmt: skip
        if self.layers:
            sizes = zip(net.world.space.projections, net.counts, strict=True)
            numbers |= {f"rewire/density/{p.name}": n / p.size for p, n in sizes}
        return numbers
