"""The error on the straight line between two trained networks, and how high it rises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rewire.names import unknown

from ..errors import ConfigError
from ..opened.evaluating import Judge, judge_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rewire.graph import Graph

    from ..opened import OpenedCell

STABLE = 0.02
"""Below this rise of the error two networks are linearly connected (Frankle et al. 2020)."""
POINTS = 30
NORM_BATCHES, NORM_EXAMPLES = 10, 200  # of training data, that batch norms are recomputed from
PARTS = ("test", "train", "validation")
NORMS = ("recomputed", "interpolated")
Norms = Literal["recomputed", "interpolated"]


@dataclass(frozen=True)
class Barrier:
    """Errors at evenly spaced points of the line from one network (0) to the other (1).

    errors: by part of the data, one for each of ``alphas``, both ends included.

    >>> bar = Barrier((0.0, 0.5, 1.0), {"test": (0.10, 0.35, 0.20)})
    >>> round(bar.height(), 3), bar.stable
    (0.2, False)
    """

    alphas: tuple[float, ...]
    errors: Mapping[str, tuple[float, ...]]

    def ends(self, part: str = "test") -> float:
        """The mean error of the two networks themselves."""
        errors = self.errors[part]
        return (errors[0] + errors[-1]) / 2

    def height(self, part: str = "test") -> float:
        """The largest error on the line, less the mean of its ends: the error barrier, and of two
        copies of one network its instability to SGD noise."""
        return max(self.errors[part]) - self.ends(part)

    @property
    def stable(self) -> bool:
        """Whether the barrier is below 2 % on the first of the parts."""
        return self.height(next(iter(self.errors))) < STABLE


def between(
    first: OpenedCell,
    second: OpenedCell,
    *,
    points: int = POINTS,
    parts: Sequence[str] = ("test", "train"),
    norms: Norms = "recomputed",
    examples: int | None = None,
) -> Barrier:
    """The error on the line between two networks of one mask, each a cell at one level.

    points: how many, evenly spaced, both ends included. parts: "test", "train" (not augmented),
    "validation"; the verdict is of the first. examples: of each part, at most that many.
    norms: the statistics of batch norms: "recomputed" from training data at every point, both ends
        included, since running statistics on a line are those of no network; or "interpolated"
        with the weights.

    Raises ConfigError for networks of other layers, masks, data or tasks, for a task that is not
    judged by a fraction, and for options that are not there.
    """
    _check_options(points, parts, norms, examples)
    _check_alike(first, second)
    judge = judge_of(first)
    _check_fraction(judge, first)
    model, ends = first.model(), (first.model().state_dict(), second.model().state_dict())
    batches = _norm_batches(judge) if norms == "recomputed" else []
    alphas = tuple(i / (points - 1) for i in range(points))
    errors: dict[str, list[float]] = {part: [] for part in parts}
    for alpha in alphas:
        _stand(model, *ends, alpha, batches)
        for part in parts:
            errors[part].append(1 - judge.measure(model, part, examples)[1])
    return Barrier(alphas, {part: tuple(values) for part, values in errors.items()})


def _stand(
    model: nn.Module,
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    alpha: float,
    batches: Sequence[Tensor],
) -> None:
    """Give the model the weights of a point of the line, and batch norms of its own."""
    from rewire.norms import recompute_norms

    model.load_state_dict({
        name: value.lerp(second[name], alpha) if value.is_floating_point() else value
        for name, value in first.items()
    })  # fmt: skip
    if batches:
        recompute_norms(model, batches)


def _norm_batches(judge: Judge) -> list[Tensor]:
    train = judge.data.train
    ends = range(0, min(len(train), NORM_BATCHES * NORM_EXAMPLES), NORM_EXAMPLES)
    return [train.part(slice(lo, lo + NORM_EXAMPLES))[0] for lo in ends]


# -- what is refused -----------------------------------------------------------------------------


def _check_options(points: int, parts: Sequence[str], norms: str, examples: int | None) -> None:
    if points < 3:
        raise ConfigError(f"points is {points}: a line is looked at in 3 points or more")
    if examples is not None and examples < 1:
        raise ConfigError(f"examples is {examples}: an error is of 1 example or more")
    if not parts:
        raise ConfigError(f"parts is empty: name one of {', '.join(PARTS)}")
    for part in parts:
        if part not in PARTS:
            raise ConfigError(unknown("part of the data", part, PARTS))
    if norms not in NORMS:
        raise ConfigError(unknown("way to treat batch norms", norms, NORMS))


def _check_alike(first: OpenedCell, second: OpenedCell) -> None:
    """Refuse two networks that no line joins, or that answer other questions."""
    a, b = first.graph(), second.graph()
    for what, ours, theirs in (
        ("layers", _layers(a), _layers(b)),
        ("data", first.config.get("data"), second.config.get("data")),
        ("task", first.config.get("task"), second.config.get("task")),
    ):
        if ours != theirs:
            raise ConfigError(
                f"{first!r} and {second!r} have other {what}: {ours} and {theirs}; a line joins "
                "two trainings of one network on one task"
            )
    if len(a) != len(b) or bool((a.keys != b.keys).any()):
        shared = len({*a.keys.tolist()} & {*b.keys.tolist()})
        raise ConfigError(
            f"{first!r} and {second!r} have other masks: {len(a):,} and {len(b):,} edges, of which "
            f"{shared:,} are shared. A line joins copies with one mask, such as a ticket and its "
            "Sibling"
        )


def _layers(graph: Graph) -> list[str]:
    return [f"{p.name} {tuple(p.shape)}" for p in graph.projections]


def _check_fraction(judge: Judge, cell: OpenedCell) -> None:
    metric = judge.task.judged_by
    if not metric.percent or metric.lower:
        raise ConfigError(
            f"{cell!r} is judged by {metric.title}, which is no fraction of right answers: a "
            "barrier is measured in error, 1 - accuracy"
        )
