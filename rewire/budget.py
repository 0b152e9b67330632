"""From a density to exact counts per projection.

A budget is a number of edges, fixed once: ``round(density x possible)`` in all, spread over the
projections by a distribution, every projection keeping at least one edge and none more than it
has room for. Shares that are no whole numbers are rounded by largest remainder, ties by order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from math import prod
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import checked
from .graph import Graph, Projection, Space
from .names import did_you_mean, short
from .select.grow import sample_absent

if TYPE_CHECKING:
    from .streams import Stream


def apportion(shares: Sequence[float], total: int, room: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to ``shares`` that add up to ``total``, 1 <= n_i <= room_i.

    Where a share exceeds its room the excess goes to the others, in proportion. Raises
    ValueError when ``total`` cannot be reached.

    >>> apportion([8, 1, 1], total=20, room=[10, 10, 10])
    [10, 5, 5]
    """
    n = len(shares)
    if not n <= total <= sum(room):
        raise ValueError(
            f"cannot give {n} projections {total} edges in all: each keeps at least one, and they "
            f"have room for {sum(room)}. Ask for a density between "
            f"{n / max(sum(room), 1):.3g} and 1."
        )
    fixed: dict[int, int] = {}
    while True:
        free = [i for i in range(n) if i not in fixed]
        left = total - sum(fixed.values())
        weight = sum(shares[i] for i in free)
        want = {i: left * (shares[i] / weight if weight else 1 / len(free)) for i in free}
        full = {i: room[i] for i in free if want[i] >= room[i]}
        poor = {i: 1 for i in free if want[i] < 1}
        if not full and not poor:
            break
        # what the full ones leave may feed the poor, and what the poor need may empty the full
        needed = sum(min(max(w, 1), room[i]) for i, w in want.items())
        fixed |= poor if poor and (needed > left or not full) else full
        if len(fixed) == n:
            break
    counts = {i: fixed.get(i, 0) for i in range(n)} | {
        i: int(w) for i, w in want.items() if i not in fixed
    }
    by_remainder = sorted(
        (i for i in range(n) if counts[i] < room[i]),
        key=lambda i: (i in fixed, counts[i] - want.get(i, 0.0), i),
    )
    for i in by_remainder[: total - sum(counts.values())]:
        counts[i] += 1
    return [counts[i] for i in range(n)]


def allot(total: int, shares: Sequence[float], room: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to ``shares`` that add up to ``total``, 0 <= n_i <= room_i.

    Where a share exceeds its room the excess goes to the others, in proportion; where all shares
    are 0 it goes by room. Largest remainder, ties by order. Raises ValueError where ``total`` is
    more than there is room for.

    >>> allot(4, [1.0, 0.0, 1.0], room=[1, 9, 9])
    [1, 0, 3]
    """
    if not 0 <= total <= sum(room):
        raise ValueError(f"cannot share out {total} edges: there is room for {sum(room)}.")
    out, open_ = [0] * len(room), set(range(len(room)))
    while True:
        left = total - sum(n for i, n in enumerate(out) if i not in open_)
        by = shares if sum(shares[i] for i in open_) > 0 else room
        scale = sum(by[i] for i in open_)
        want = {i: left * by[i] / scale if scale else 0.0 for i in open_}
        full = {i for i in open_ if want[i] > room[i]}
        if not full:
            break
        for i in full:
            out[i] = room[i]
        open_ -= full
    for i, w in want.items():
        out[i] = int(w)
    rest = sorted((i for i in open_ if out[i] < room[i]), key=lambda i: (out[i] - want[i], i))
    for i in rest[: total - sum(out)]:
        out[i] += 1
    return out


def _stacked(p: Projection) -> int:
    """n_in + n_out over all layers of a stack, each as if it were a projection; 0 for no stack."""
    return p.groups * (p.shape[1] + p.shape[2]) if p.kind.startswith("stacked") else 0


# Edges in proportion to: the possible edges (one density everywhere); n_in + n_out at every
# kernel position (Erdos-Renyi, Mocanu et al. 2018); the sum of all dimensions (ERK, Evci et al.
# 2020, whose density is that sum over the product); nothing: as many edges everywhere ("balanced").
DISTRIBUTIONS: Mapping[str, Callable[[Projection], float]] = {
    "uniform": lambda p: p.size,
    "er": lambda p: _stacked(p) or (p.shape[0] + p.shape[1]) * prod(p.shape[2:]),
    "erk": lambda p: _stacked(p) or sum(p.shape),
    "balanced": lambda p: 1,
}


@checked()
def counts_for(
    space: Space,
    density: float | None,
    distribution: str | Mapping[str, float] | Sequence[int] = "erk",
) -> list[int]:
    """Edges of each projection.

    density: edges / possible edges over all projections, in (0, 1].
    distribution: "uniform", "er", "erk" or "balanced" (equally many edges in each projection,
        those with too little room full); or a mapping from projection names (patterns with *
        allowed, a trailing ".weight" may be left out) to their own densities; or the counts
        themselves. With those two ``density`` is None, or says the same.

    Raises ValueError for a density outside (0, 1], an unknown distribution, a pattern that
    matches nothing, a projection without a density, or a density that they do not come to.

    >>> from rewire.graph import Population
    >>> space = Space(
    ...     [Population("input", 100), Population("hidden", 40), Population("output", 10)],
    ...     [
    ...         Projection("fc1.weight", "input", "hidden", "linear", (40, 100)),
    ...         Projection("fc2.weight", "hidden", "output", "linear", (10, 40)),
    ...     ],
    ... )
    >>> counts_for(space, 0.1, "uniform"), counts_for(space, 0.1, "erk")
    ([400, 40], [324, 116])
    >>> counts_for(space, None, {"fc1": 0.05, "*": 0.5})
    [200, 200]
    """
    if not isinstance(space, Space):
        raise TypeError(
            f"counts_for takes a rewire.Space, got {short(space)}: give net.graph.space."
        )
    rooms = space.sizes
    _check_distribution(distribution)
    if isinstance(distribution, Mapping):
        return _agreed(space, density, _per_projection(space, distribution))
    if not isinstance(distribution, str):
        counts = [int(n) for n in distribution]
        if counts != list(distribution):
            raise ValueError(f"counts of edges are whole numbers, got {list(distribution)}.")
        if len(counts) != len(rooms) or any(
            not 0 <= n <= r for n, r in zip(counts, rooms, strict=True)
        ):
            raise ValueError(f"counts {counts} do not fit projections of sizes {rooms}.")
        return _agreed(space, density, counts)
    if distribution not in DISTRIBUTIONS:
        raise ValueError(
            f"distribution {distribution!r} is not known; it is one of "
            f"{', '.join(DISTRIBUTIONS)}, or a table of densities by projection"
            f"{did_you_mean(distribution, DISTRIBUTIONS)}."
        )
    check_density(density)
    assert density is not None
    if density == 1:
        return list(rooms)
    shares = [DISTRIBUTIONS[distribution](p) for p in space.projections]
    return apportion(shares, round(density * space.possible), rooms)


def check_density(density: Any) -> None:
    """Raise ValueError for what is no fraction of possible edges.

    >>> check_density(10)
    Traceback (most recent call last):
    ...
    ValueError: density 10 is not in (0, 1]: it is the fraction of possible edges kept; for 10 % \
write density=0.1.
    """
    number = isinstance(density, Real) and not isinstance(density, bool)
    if number and 0 < float(density) <= 1:
        return
    raise ValueError(
        f"density {short(density)} is not in (0, 1]: it is the fraction of possible edges kept"
        f"{_instead_of(density)}."
    )


def _instead_of(density: Any) -> str:
    """What to write in the place of a density that is none."""
    if isinstance(density, bool) or density is None:
        return "; write a number, as density=0.1"
    if isinstance(density, Real):
        percent = float(density)
        return f"; for {percent:g} % write density={percent / 100:g}" if 1 < percent <= 100 else ""
    if isinstance(density, str):
        return f"; write the number, as density={_read_from(density):g}"
    if isinstance(density, Mapping):
        return "; densities by parameter are distribution={name: density}"
    if isinstance(density, Sequence):
        return (
            "; one number holds for all layers: a density for each is distribution={name: density},"
            " and several to compare are an experiment's, densities=[...]"
        )
    return "; write a number, as density=0.1"


def _read_from(text: str) -> float:
    """The density that a text means, or an example of one."""
    try:
        number = float(text.rstrip("% ")) / (100 if text.rstrip().endswith("%") else 1)
    except ValueError:
        return 0.1
    return number if 0 < number <= 1 else 0.1


def _check_distribution(distribution: Any) -> None:
    """Raise TypeError for what says no distribution of edges over projections."""
    if isinstance(distribution, Mapping):
        for name, density in distribution.items():
            number = isinstance(density, Real) and not isinstance(density, bool)
            if not isinstance(name, str) or not number:
                raise TypeError(
                    f"distribution is a table of densities by projection, and holds {short(name)}: "
                    f'{short(density)}; write it as {{"fc1": 0.1, "*": 0.5}}.'
                )
        return
    if isinstance(distribution, str):
        return
    numbers = isinstance(distribution, Sequence | np.ndarray) and all(
        isinstance(n, Real) for n in distribution
    )
    if not numbers:
        hint = f"; one density is density={distribution}" if isinstance(distribution, Real) else ""
        raise TypeError(
            f"distribution is one of {', '.join(DISTRIBUTIONS)}, a table of densities by "
            f"projection, or a list of counts, got {short(distribution)}{hint}."
        )


def _agreed(space: Space, density: float | None, counts: list[int]) -> list[int]:
    """The counts, which must come to ``density`` where one was asked for as well."""
    edges = sum(counts)
    # each count may have been rounded by itself
    if density is None or abs(density * space.possible - edges) <= len(counts):
        return counts
    raise ValueError(
        f"density={density:g} asks for {round(density * space.possible):,} of {space.possible:,} "
        f"edges, and the distribution by projection comes to {edges:,}, density "
        f"{edges / space.possible:.4g}: leave one of the two out."
    )


def match(name: str, patterns: Mapping[str, float]) -> float | None:
    """The value of the first pattern that names the projection, or None.

    >>> match("fc1.weight", {"fc2": 0.1, "fc*": 0.5})
    0.5
    """
    for pattern, value in patterns.items():
        if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.weight"):
            return value
    return None


def _per_projection(space: Space, table: Mapping[str, float]) -> list[int]:
    names = [p.name for p in space.projections]
    idle = [t for t in table if not any(match(n, {t: 1.0}) for n in names)]
    if idle:
        raise ValueError(f"{idle[0]!r} names no projection; there are {', '.join(names)}.")
    counts = []
    for p in space.projections:
        density = match(p.name, table)
        if density is None or not 0 < density <= 1:
            raise ValueError(
                f"projection {p.name!r} needs a density in (0, 1], the table gives {density}; "
                "add a line for it (a pattern with * covers several)."
            )
        counts.append(max(1, round(density * p.size)))
    return counts


def random_graph(space: Space, counts: Sequence[int], rng: Stream) -> Graph:
    """``counts[i]`` edges of each projection, uniform without replacement."""
    return Graph(space, sample_absent(Graph.empty(space), list(counts), rng))
