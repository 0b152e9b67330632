"""Arrays as a data set: which task they are for, their parts, their digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import DataError
from ..tasks import Classification, Frames, NextToken, Regression, Task
from .dataset import Raw, shuffled, stratified
from .source import Source

SPLIT_SEED = 0  # never to change: it decides which examples are for testing
SHARE = 0.15  # of the examples, for testing and for validation where nobody says which
FEWEST = 8  # examples of a data set


@dataclass(frozen=True, eq=False)
class Arrays:
    """Inputs and targets of the parts of a data set; without a test part one is drawn.

    named: what messages call it. classes: the names of the classes, where targets were names.
    """

    named: str
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray] | None = None
    validation: tuple[np.ndarray, np.ndarray] | None = None
    classes: tuple[str, ...] = ()
    digest: str = field(init=False, default="")

    def __post_init__(self) -> None:
        for part in ("train", "test", "validation"):
            if getattr(self, part) is not None:
                object.__setattr__(self, part, self._checked(part, *getattr(self, part)))
        object.__setattr__(self, "digest", self._digest())

    def _checked(self, part: str, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets in the types that sources have."""
        x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
        if x.dtype.kind not in "buif" or y.dtype.kind not in "buif":
            raise DataError(
                f"{self.named}: its {part} inputs are {x.dtype} and its targets {y.dtype}, "
                "expected numbers"
            )
        if not x.ndim or not y.ndim or len(x) != len(y) or not len(x):
            raise DataError(
                f"{self.named}: its {part} part has inputs of shape {x.shape} and targets of shape "
                f"{y.shape}: give one target for each of its examples"
            )
        if x.dtype == np.bool_:
            x = x.astype(np.float32)
        if x.ndim == 1:
            x = x[:, None]
        if self._are_tokens(x, y):
            x = x.astype(np.int64)
        elif x.dtype != np.uint8:
            x = x.astype(np.float32)
        if y.dtype.kind == "f" and y.ndim == 1:
            y = y[:, None]
        return x, y.astype(np.float64 if y.dtype.kind == "f" else np.int64)

    @staticmethod
    def _are_tokens(x: np.ndarray, y: np.ndarray) -> bool:
        return x.ndim == 2 and x.shape == y.shape and {x.dtype.kind, y.dtype.kind} <= {"i", "u"}

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for part in ("train", "test", "validation"):
            for array in getattr(self, part) or ():
                digest.update(f"{part} {array.dtype.str} {array.shape}".encode())
                digest.update(array.tobytes())
        return digest.hexdigest()[:16]

    # -- as a source --------------------------------------------------------------------------

    @property
    def task(self) -> Task:
        """What the targets are for, by their type and shape."""
        x, y = self.train
        if y.dtype.kind == "f":
            if y.ndim == 2:
                return Regression()
        elif y.ndim == 1:
            return Classification()
        elif y.ndim == 2 and x.ndim > 1 and x.shape[1] == y.shape[1]:
            follows = x.dtype.kind == "i" and np.array_equal(x[:, 1:], y[:, :-1])
            return NextToken() if follows else Frames()
        raise DataError(
            f"{self.named}: its targets are {y.dtype} of shape {y.shape} for inputs of shape "
            f"{x.shape}, which no task has: give whole numbers (N,) for classes, numbers with a "
            "point (N,) or (N, outputs) for regression, whole numbers (N, T) for a class at each "
            "place of (N, T, ...)"
        )

    def raw(self) -> Raw:
        """Training and validation as one, and the test part."""
        x, y = self.train
        if self.test is None:
            test = _drawn(y, max(1, round(SHARE * len(x))))
            return Raw(x[~test], y[~test], x[test], y[test])
        if self.validation is not None:  # the end of the training part
            x = np.concatenate([x, self.validation[0]])
            y = np.concatenate([y, self.validation[1]])
        return Raw(x, y, *self.test)

    def source(self, name: str) -> Source:
        """What experiments know of it. Raises DataError where the parts do not fit together."""
        raw, task = self.raw(), self.task
        n = len(raw.x_train)
        if n + len(raw.x_test) < FEWEST:
            raise DataError(
                f"{self.named}: it has {n + len(raw.x_test)} examples; the fewest are {FEWEST}"
            )
        if (
            raw.x_train.shape[1:] != raw.x_test.shape[1:]
            or raw.y_train.shape[1:] != (raw.y_test.shape[1:])
        ):
            raise DataError(
                f"{self.named}: its training inputs are of shape {raw.x_train.shape[1:]} and its "
                f"test inputs of shape {raw.x_test.shape[1:]}: give both one shape"
            )
        tokens = raw.x_train.dtype.kind == "i"
        held_out = max(1, round(SHARE * n)) if self.validation is None else len(self.validation[0])
        mean, std = _moments(raw.x_train) if not tokens and not _by_place(task) else ((), ())
        target_mean, target_std = _moments(raw.y_train) if task.targets == "numbers" else ((), ())
        return Source(
            name=name,
            title=self.named,
            shape=raw.x_train.shape[1:],
            classes=_outputs(raw, tokens),
            train=n - held_out,
            validation=held_out,
            test=len(raw.x_test),
            mean=mean,
            std=std,
            peak=255.0 if raw.x_train.dtype == np.uint8 else 1.0,
            origin=self.named,
            licence="unknown",
            citation="none",
            read=lambda: raw,
            split_seed=SPLIT_SEED if self.validation is None else None,
            task=task,
            inputs="tokens" if tokens else "numbers",
            target_mean=target_mean,
            target_std=target_std,
            digest=self.digest,
        )


def _by_place(task: Task) -> bool:
    return task.targets == "classes by place"


def _drawn(y: np.ndarray, k: int) -> np.ndarray:
    """A random k of the rows, by class where the targets are classes, (N,) bool."""
    if y.ndim == 1:
        return stratified(y, k, SPLIT_SEED)
    chosen = np.zeros(len(y), bool)
    chosen[shuffled(len(y), SPLIT_SEED)[:k]] = True
    return chosen


def _moments(values: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel (the second dimension), in units of the largest value that
    a pixel of its type has; a channel that never varies is only shifted."""
    others = tuple(axis for axis in range(values.ndim) if axis != 1)
    scaled = values.astype(np.float64) / (255 if values.dtype == np.uint8 else 1)
    std = scaled.std(others)
    std[std == 0] = 1.0
    return tuple(scaled.mean(others).tolist()), tuple(std.tolist())


def _outputs(raw: Raw, tokens: bool) -> int:
    """How many outputs a model of these targets has: classes, numbers or tokens."""
    if raw.y_train.dtype.kind == "f":
        return raw.y_train.shape[1]
    most = max(int(raw.y_train.max()), int(raw.y_test.max()))
    if tokens:
        most = max(most, int(raw.x_train.max()), int(raw.x_test.max()))
    return most + 1
