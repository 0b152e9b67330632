"""A data set made another one before anything sees it: smaller pictures, blur, other labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from .dataset import Raw

if TYPE_CHECKING:
    from torch import Tensor


class Line(Protocol):
    """What is asked of a `DatasetInfo`."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def classes(self) -> int: ...


Info = TypeVar("Info", bound=Line)
TURNS = 4  # classes of the task to say by how many quarters a picture is turned
LABELS = ("random", "rotation")
AT_ONCE = 1000  # pictures that are float32 at a time


@dataclass(frozen=True)
class Changes:
    """What a table ``data`` asks for, of every part of a data set.

    size: pixels of a side, to which pictures are averaged. blur: pixels of a side of the blocks
    that are averaged and enlarged again. labels: "random", a class for each example that has
    nothing to do with it; "rotation", pictures turned by 0 to 3 quarters, the number of which is
    the class. What is drawn is drawn once, from the seed of the data.

    >>> Changes(size=14).problem_of("size", (1, 28, 28)), Changes(blur=4) == Changes()
    (None, False)
    """

    size: int | None = None
    blur: int | None = None
    labels: str | None = None

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Changes:
        """What is sound in a table that has not been checked."""
        size, blur, labels = (table.get(key) for key in ("size", "blur", "labels"))
        return cls(
            size if type(size) is int and size > 0 else None,
            blur if type(blur) is int and blur > 1 else None,
            labels if labels in LABELS else None,
        )

    def problems(self, info: Any, augment: Any) -> Iterator[tuple[str, str]]:
        """What the data set of a `DatasetInfo` cannot be made, by key. augment: whatever the table
        has there."""
        shape, what = info.shape, f"{info.name} has inputs of shape {info.shape}"
        asked = {"size": self.size, "blur": self.blur, "augment": augment}
        pictures = len(shape) == 3 and info.inputs == "numbers"
        for key in (key for key, value in asked.items() if value is not None):
            if not pictures:
                yield key, f"is of pictures (channels, height, width), and {what}: leave it out"
            elif (why := self.problem_of(key, shape)) is not None:
                yield key, why
        if self.labels and info.task.targets != "classes":
            yield "labels", f"are of classes, and {info.name} is for {info.task.kind}: leave it out"
        elif self.labels == "rotation":
            if not pictures or shape[1] != shape[2]:
                yield "labels", f"'rotation' turns square pictures, and {what}"
            elif flips(augment):
                yield "augment", ("flips a picture that was turned into one that was turned the "
                                  "other way: only shift, with labels = 'rotation'")  # fmt: skip

    def problem_of(self, key: str, shape: tuple[int, ...]) -> str | None:
        """Why pictures of this shape cannot be of that size, or so blurred."""
        sides = shape[1:]
        if key == "size" and self.size is not None:
            whole = sides[0] == sides[1] and sides[0] % self.size == 0
            if not whole or self.size == sides[0]:
                smaller = [n for n in range(1, sides[0]) if sides[0] == sides[1]
                           and sides[0] % n == 0]  # fmt: skip
                return (f"pictures of {sides[0]} x {sides[1]} pixels are averaged over whole "
                        f"blocks, to sides of {', '.join(map(str, smaller)) or 'no length'}; "
                        f"found {self.size}")  # fmt: skip
        if key == "blur" and self.blur is not None and self.blur > min(sides):
            return f"blocks of {self.blur} pixels are larger than pictures of {sides}"
        return None

    def seen(self, info: Info) -> Info:
        """The data set's line, of what models get."""
        shape = info.shape if self.size is None else (info.shape[0], self.size, self.size)
        classes = TURNS if self.labels == "rotation" else info.classes
        return replace(info, shape=shape, classes=classes)  # type: ignore[type-var]

    def apply(self, raw: Raw, classes: int, seed: int) -> Raw:
        """The same examples, in the same order, changed. Whole pixel values stay whole."""
        if self == Changes():
            return raw
        x_train, y_train = self._part(raw.x_train, raw.y_train, classes, seed, "train")
        x_test, y_test = self._part(raw.x_test, raw.y_test, classes, seed, "test")
        return replace(raw, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)

    def _part(
        self, x: np.ndarray, y: np.ndarray, classes: int, seed: int, part: str
    ) -> tuple[np.ndarray, np.ndarray]:
        import torch

        from rewire import rng_for
        from rewire.branches import operations

        if self.size is not None:
            factor = x.shape[-1] // self.size
            x = _by_chunks(x, lambda chunk: torch.nn.functional.avg_pool2d(chunk, factor))
        if (blur := self.blur) is not None:
            x = _by_chunks(x, lambda chunk: operations.blurred(chunk, blur))
        if self.labels == "rotation":
            turned, turns = operations.rotated(_tensor(x), rng_for(seed, f"rotation/{part}"))
            return turned.numpy(), turns.numpy()
        if self.labels == "random":
            rng = rng_for(seed, f"labels/{part}")
            y = operations.random_labels(torch.from_numpy(y.astype(np.int64)), classes, rng).numpy()
        return x, y


def flips(augment: Any) -> bool:
    """Whether an augmentation mirrors pictures, as a table has it: a name, names or a table."""
    if isinstance(augment, Mapping):
        return augment.get("flip") is True
    names = [augment] if isinstance(augment, str) else augment
    return isinstance(names, list) and any(str(name).startswith("flip") for name in names)


def _tensor(x: np.ndarray) -> Tensor:
    import torch

    return torch.from_numpy(np.require(x, requirements=["C", "W"]))


def _by_chunks(x: np.ndarray, change: Callable[[Tensor], Tensor]) -> np.ndarray:
    """``change`` of float32 pictures, rounded where whole pixel values are stored."""
    parts = []
    for lo in range(0, len(x), AT_ONCE):
        changed = change(_tensor(x[lo : lo + AT_ONCE]).float())
        parts.append((changed.round() if x.dtype == np.uint8 else changed).numpy().astype(x.dtype))
    return np.concatenate(parts)
