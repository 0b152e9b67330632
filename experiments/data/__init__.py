"""Data sets in memory: ``load`` one, see which are ``available``, ``fetch`` what is missing.

>>> from rewire.experiments import data
>>> digits = data.load("digits")
>>> tuple(digits.train.x.shape), len(digits.validation), len(digits.test)
((1297, 1, 8, 8), 250, 250)

A data set of your own is ``folder:PATH``, or a :class:`Source` under the entry point
``rewire.datasets``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rewire.names import unknown

from ..errors import ConfigError, DataError
from ..tasks import IGNORED, Classification, Task
from .changes import Changes
from .control import Simulator, is_control
from .dataset import Dataset, Raw, Scaling, Split, stratified
from .events import Events, Recording, load_events
from .fetch import fetch
from .own import is_own
from .places import Place, cache_folder
from .sources import BUILT_IN, Remote, Source, plugins, source

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Dataset",
    "DatasetInfo",
    "Events",
    "Place",
    "Raw",
    "Recording",
    "Remote",
    "Scaling",
    "Source",
    "Split",
    "available",
    "cache_folder",
    "fetch",
    "info",
    "load",
    "load_events",
]

LARGE = 2**26  # bytes: inputs beyond are made of stored pixels, batch by batch
NORMALISE = ("standard", "unit", "none")


@dataclass(frozen=True)
class DatasetInfo:
    """A line of ``rewire data list``: what a data set is, and whether it is on this machine.

    ``path`` is where it was found, not yet a promise that it is whole: ``load`` and ``fetch``
    check that. It is None for a data set that needs no file, which is always present. ``looked``
    are all the places searched. ``problem`` tells why a plug-in's data set cannot be used; the
    other fields are then empty.
    """

    name: str
    title: str = ""
    shape: tuple[int, ...] = ()
    classes: int = 0
    train: int = 0
    validation: int = 0
    test: int = 0
    origin: str = ""
    licence: str = ""
    citation: str = ""
    present: bool = False
    path: str | None = None
    looked: tuple[str, ...] = ()
    fetchable: bool = False
    problem: str | None = None
    task: Task = Classification()
    inputs: str = "numbers"
    digest: str = ""
    steps: int = 1

    @property
    def endless(self) -> bool:
        """Whether its examples are made while a model trains, so that there are no epochs."""
        return self.inputs == "observations"


def is_free(name: str) -> bool:
    """Whether it is no name of a list, but says itself where the data are: ``folder:PATH``."""
    return is_own(name) or is_control(name)


def available() -> dict[str, DatasetInfo]:
    """Every data set that ``load`` knows by name, those of plug-ins included. Reads no data."""
    return {name: info(name) for name in (*BUILT_IN, *plugins())}


def info(name: str) -> DatasetInfo:
    """The line of one data set; what is wrong with it is its ``problem``. Reads no data.

    >>> info("digits").shape, info("diabetes").task.judged_by.title
    ((1, 8, 8), 'R²')
    """
    try:
        entry = source(name)
        place = entry.place()
    except (ConfigError, DataError) as error:
        return DatasetInfo(name, problem=str(error))
    same = ["title", "shape", "classes", "train", "validation", "test"]
    same += ["origin", "licence", "citation", "task", "inputs", "digest", "steps"]
    return DatasetInfo(
        name,
        **{field: getattr(entry, field) for field in same},
        present=entry.needs_no_file or place.path is not None,
        path=None if place.path is None else str(place.path),
        looked=place.looked,
        fetchable=bool(entry.remotes),
    )


def load(
    name: str,
    *,
    validation: int | None = None,
    normalise: str = "standard",
    seed: int | None = None,
    size: int | None = None,
    blur: int | None = None,
    labels: str | None = None,
) -> Dataset:
    """The data set called ``name``, in memory, every file of it checked.

    Args:
        validation: how many training examples become the validation set (None: the source's
            number, 5,000 for the large sets). The test set never changes.
        normalise: "standard" subtracts the published mean and divides by the published standard
            deviation, channel by channel, of targets that are numbers as well; "unit" scales to
            0..1; both give float32. "none" keeps the stored uint8, a quarter of the memory. Tokens
            stay as they are.
        seed: None for the standard validation set: the last examples of the training file, as in
            the papers (for mnist5k and digits a fixed stratified draw). A number draws another
            one, stratified by class. Not the seed of an experiment unless you mean it to be.
        size: pixels of a side, to which pictures are averaged.
        blur: pixels of a side of the blocks that are averaged and enlarged again.
        labels: "random" or "rotation" in their place: see `Changes`.

    Raises:
        ConfigError: no such data set or way to normalise; validation or seed out of range.
        DataError: a file is missing or damaged. Nothing else is ever loaded in its stead.
    """
    entry = source(name)
    if normalise not in NORMALISE:
        raise ConfigError(unknown("way to normalise", normalise, NORMALISE))
    if isinstance(entry, Simulator):
        episodes = entry.validation if validation is None else validation
        if episodes < 1:
            raise ConfigError(f"validation = {episodes} episodes of {name}: at least 1")
        return entry.dataset(episodes, seed or 0)
    raw = entry.read()
    _check(entry, raw)
    n, k = len(raw.y_train), entry.validation if validation is None else validation
    if not 1 <= k < n:
        raise ConfigError(f"validation = {k}, but {name} has {n:,} examples: choose 1 to {n - 1:,}")
    seed = entry.split_seed if seed is None else seed
    if seed is not None and not 0 <= seed < 2**32:
        raise ConfigError(f"seed = {seed} of the data set {name}: choose 0 to {2**32 - 1}")

    held_out = np.arange(n) >= n - k
    if seed is not None:
        by_class = entry.task.targets == "classes"
        held_out = stratified(raw.y_train if by_class else np.zeros(n, int), k, seed)
    changes, now = Changes(size, blur, labels), info(name)
    for key, sentence in changes.problems(now, None):
        raise ConfigError(f"{key} of the data set {name}: {sentence}")
    raw, now = changes.apply(raw, entry.classes, seed or 0), changes.seen(now)
    scaling = Scaling(normalise if entry.mean else "none", entry.peak, entry.mean, entry.std)
    y_train, y_test = (_targets(entry, y, normalise) for y in (raw.y_train, raw.y_test))
    return Dataset(
        name=name,
        train=_split(raw.x_train, y_train, ~held_out, scaling, raw.pieces, by_batch=True),
        validation=_split(raw.x_train, y_train, held_out, scaling, raw.pieces),
        test=_split(raw.x_test, y_test, slice(None), scaling, raw.pieces),
        classes=now.classes,
        shape=now.shape,
        scaling=scaling,
    )


def _split(
    x: np.ndarray,
    y: np.ndarray,
    rows: np.ndarray | slice,
    scaling: Scaling,
    pieces: tuple[bytes, ...],
    *,
    by_batch: bool = False,
) -> Split:
    """by_batch: whether it is read batch by batch, so that pixels may stay as they are stored."""
    # a boolean index copies; the copy also frees torch from arrays that numpy made read-only
    stored, labels = _tensor(x[rows]), _tensor(y[rows])
    if by_batch and x.dtype == np.uint8 and scaling.name != "none" and 4 * stored.numel() > LARGE:
        return Split(stored, labels, scaling, pieces)
    return Split(scaling.apply(stored), labels, pieces=pieces)


def _targets(entry: Source, y: np.ndarray, normalise: str) -> np.ndarray:
    """Targets as models are trained on them: int64, or float32 with mean 0 and deviation 1."""
    if entry.task.targets != "numbers":
        return y.astype(np.int64)
    y = y.astype(np.float64)
    if normalise == "standard" and entry.target_mean:
        y = (y - np.array(entry.target_mean)) / np.array(entry.target_std)
    return y.astype(np.float32)


def _tensor(array: np.ndarray) -> Tensor:
    import torch  # here, so that listing data sets does not cost torch's import

    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _check(entry: Source, raw: Raw) -> None:
    """Refuse what a source read (a plug-in's too) unless it is what the source says it is."""
    for part in ("train", "test"):
        x, y = getattr(raw, f"x_{part}"), getattr(raw, f"y_{part}")
        wrong = _wrong_inputs(entry, x, len(y)) or _WRONG_TARGETS[entry.task.targets](entry, x, y)
        if wrong:
            raise DataError(f"{entry.name}: its {part} {wrong}: mend the source's `read`.")
    if entry.inputs == "token pairs" and len(raw.pieces) != entry.classes:
        raise DataError(
            f"{entry.name}: {len(raw.pieces)} pieces of text for {entry.classes} tokens: mend the "
            "source's `read`."
        )


def _wrong_inputs(entry: Source, x: np.ndarray, n: int) -> str | None:
    tokens = entry.inputs != "numbers"
    if tokens:
        kinds, fits = "whole numbers", x.dtype.kind in "iu"
    else:
        kinds, fits = "uint8 or float32", x.dtype in (np.uint8, np.float32)
    if not fits or x.shape != (n, *entry.shape):
        return (
            f"inputs are {x.dtype} of shape {x.shape}, expected {kinds} of shape "
            f"{(n, *entry.shape)}"
        )
    if tokens and n and (x.min() < 0 or x.max() >= entry.classes):
        return f"tokens go from {x.min()} to {x.max()}, expected 0 to {entry.classes - 1}"
    if x.dtype == np.float32 and not np.isfinite(x).all():
        return "inputs hold NaN or infinite numbers, expected finite ones"
    return None


def _wrong_classes(entry: Source, x: np.ndarray, y: np.ndarray) -> str | None:
    if y.ndim != 1 or y.dtype.kind not in "iu" or not len(y):
        return (
            f"labels are {y.dtype} of shape {y.shape}, expected at least one whole number in one "
            "dimension"
        )
    return _out_of_range(y, entry.classes)


def _out_of_range(y: np.ndarray, classes: int) -> str | None:
    if y.min() < 0 or y.max() >= classes:
        return f"labels go from {y.min()} to {y.max()}, expected 0 to {classes - 1}"
    return None


def _wrong_numbers(entry: Source, x: np.ndarray, y: np.ndarray) -> str | None:
    expected = (len(x), entry.classes)
    if y.dtype.kind not in "fiu" or y.shape != expected or not len(y):
        return f"targets are {y.dtype} of shape {y.shape}, expected numbers of shape {expected}"
    if not np.isfinite(y).all():
        return "targets hold NaN or infinite numbers, expected finite ones"
    return None


def _wrong_places(entry: Source, x: np.ndarray, y: np.ndarray) -> str | None:
    expected = (len(x), entry.task.targets_of(entry.shape))
    if y.dtype.kind not in "iu" or y.shape != expected or not len(y):
        return (
            f"targets are {y.dtype} of shape {y.shape}, expected whole numbers of shape {expected}"
        )
    counted = y[y != IGNORED] if y.dtype.kind == "i" else y
    if not counted.size:
        return f"targets are {IGNORED} everywhere, expected places that count"
    return _out_of_range(counted, entry.classes)


_WRONG_TARGETS = {
    "classes": _wrong_classes,
    "numbers": _wrong_numbers,
    "classes by place": _wrong_places,
    "classes by place of a pair": _wrong_places,
}
