"""Topographic maps: how sharp receptive fields are, how true to their place, and how they change.

The measures of Bamford, Murray & Willshaw (2010) and Bogdan et al. (2018,
doi:10.3389/fnins.2018.00434). A projection's source must fill a square grid on a torus; lengths are
in its cells. Where a ``column`` is asked for, None counts synapses ("conn" in the papers) and
"weight" adds their weights up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from .lifetimes import Lifetimes, churn, lifetimes

if TYPE_CHECKING:
    from ..edit_log import History
    from ..graph import Graph

SIGMA_FORM = 2.5 / 16  # of feed-forward formation in the papers, in sides of the sheet
FINE = np.arange(-5, 6) / 10  # cells from the best whole position, tried in the second search


# -- the map ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Topography:
    """The receptive field of each target unit, in cells of the source's grid.

    sigma:     (n_post,) spread about the preferred location, mean of the two axes.
    preferred: (n_post, 2) row and column of the preferred location, in [-.5, side + .5).
    shift:     (n_post, 2) from the unit's own place to the preferred location, wrapped.

    NaN where a unit has no afferent synapse, or none that weighs anything: the means leave such
    units out (the authors' code counts them as 0, which makes a map of few synapses look sharp).
    """

    sigma: np.ndarray
    preferred: np.ndarray
    shift: np.ndarray

    @property
    def deviation(self) -> np.ndarray:
        """Distance of each preferred location from the unit's own, (n_post,)."""
        return np.hypot(*self.shift.T)

    @property
    def sigma_aff(self) -> float:
        """Mean spread of the afferents; NaN where no unit has any."""
        return _mean(self.sigma)

    @property
    def ad(self) -> float:
        """Mean absolute deviation of the preferred from the ideal location."""
        return _mean(self.deviation)


def topography(graph: Graph, projection: str, column: str | None = None) -> Topography:
    """Spread and place of every target unit's receptive field in ``projection``.

    Raises ValueError where the source fills no square grid or a population has no places, KeyError
    where there is no such projection or column.

    >>> from rewire.analysis.examples import sheets
    >>> map_ = topography(sheets(), "ff")  # each unit is fed by its own place and the one beside it
    >>> map_.sigma_aff, map_.ad
    (0.25, 0.5)
    """
    return locate(receptive_fields(graph, projection, column), places(graph, projection))


def quality(graph: Graph, projection: str) -> dict[str, float]:
    """sigma_aff and AD, by count and by weight: the four numbers of the papers' tables.

    >>> from rewire.analysis.examples import sheets
    >>> {name: round(value, 3) for name, value in quality(sheets(), "ff").items()}
    {'sigma_aff_conn': 0.25, 'sigma_aff_weight': 0.218, 'ad_conn': 0.5, 'ad_weight': 0.2}
    """
    conn, weight = (topography(graph, projection, column) for column in (None, "weight"))
    return {
        "sigma_aff_conn": conn.sigma_aff,
        "sigma_aff_weight": weight.sigma_aff,
        "ad_conn": conn.ad,
        "ad_weight": weight.ad,
    }


def receptive_fields(graph: Graph, projection: str, column: str | None = None) -> np.ndarray:
    """Synapses, or the sum of a column, from each source unit: (n_post, side, side).

    >>> from rewire.analysis.examples import sheets
    >>> receptive_fields(sheets(side=3), "ff", "weight")[4].tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.75, 0.25], [0.0, 0.0, 0.0]]
    """
    i, side = _index_and_side(graph, projection)
    pre, post = _ends(graph, i)
    values = None if column is None else graph[column][graph.rows(i)].numpy()
    return _fields(pre, post, values, _n_post(graph, i), side)


def places(graph: Graph, projection: str) -> np.ndarray:
    """Row and column of the source's grid at which each target unit lies, (n_post, 2).

    >>> from rewire.analysis.examples import sheets
    >>> places(sheets(side=3), "ff")[4].tolist()
    [1.0, 1.0]
    """
    i, side = _index_and_side(graph, projection)
    positions = graph.space.population[graph.projections[i].target].positions
    if positions is None:
        raise ValueError(
            f"the target {graph.projections[i].target!r} of {projection!r} has no positions, so "
            "its units have no ideal location; give its Population positions."
        )
    return positions.numpy() * side - 0.5


def locate(fields: np.ndarray, ideal: np.ndarray) -> Topography:
    """Preferred location and spread of receptive fields (n, side, side) with ``ideal`` (n, 2).

    The preferred location minimises the wrapped standard deviation, axis by axis: first over whole
    cells, then over tenths of a cell about the best one, the first of equals. On a side of even
    length the cell opposite to the location lies on both borders, and counts on each in proportion
    to how much of it lies there (half on each, at whole cells).

    Raises ValueError for fields that are not square.

    >>> field = np.zeros((1, 4, 4))
    >>> field[0, 1, :2] = 1
    >>> locate(field, ideal=np.array([[1.0, 0.0]])).preferred.tolist()
    [[1.0, 0.5]]
    """
    n, side, width = fields.shape
    if side != width:
        raise ValueError(f"receptive fields are square grids, got {side} x {width} cells.")
    fields = np.asarray(fields, float)
    axes = [_axis(fields.sum(other)) for other in (2, 1)]
    preferred = np.stack([at for at, _ in axes], 1)
    shift = preferred - ideal
    shift -= side * np.sign(shift) * (np.abs(shift) > side / 2)
    sigma = np.mean([spread for _, spread in axes], axis=0)
    empty = ~(fields.sum((1, 2)) > 0)
    for values in (sigma, preferred, shift):
        values[empty] = np.nan
    return Topography(sigma, preferred, shift)


def _axis(mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Location of least spread, and that spread, each (n,), of profiles (n, side) along an axis."""
    n, side = mass.shape
    total = np.maximum(mass.sum(1), np.finfo(float).tiny)[:, None]
    window = np.arange(side)
    coarse = mass @ _square_distances(side, np.zeros(1))[0][(window[:, None] - window) % side]
    whole = _first_least(coarse / total)
    centred = np.take_along_axis(mass, (window + whole[:, None]) % side, 1)
    variance = centred @ _square_distances(side, FINE).T / total
    best = _first_least(variance)
    return whole + FINE[best], np.sqrt(variance[np.arange(n), best])


def _first_least(variance: np.ndarray) -> np.ndarray:
    return variance.round(9).argmin(1)  # rounding errors must not choose among equals


def _square_distances(side: int, locations: np.ndarray) -> np.ndarray:
    """Squared wrapped distance of cells 0, 1, ... from locations near 0, (locations, side).

    Near: within half a cell. The cell opposite to 0 of an even side is seen at both ends, more at
    the nearer of the two.
    """
    cell = (np.arange(side) + side // 2) % side - side // 2
    apart = (cell - locations[:, None]) ** 2
    if side % 2 == 0:
        half = side // 2
        apart[:, half] = (0.5 - locations) * (half + locations) ** 2
        apart[:, half] += (0.5 + locations) * (half - locations) ** 2
    return apart


# -- controls ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """A measure's mean over units, a control's, and how likely so large a difference is by chance.

    p: of the two-sided paired Wilcoxon signed-rank test over units; 1 where no unit differs.
    units: those that both have a value for.
    """

    mean: float
    control: float
    p: float
    units: int


def compare(observed: np.ndarray, control: np.ndarray) -> Comparison:
    """Paired Wilcoxon test over units, each (n_post,), of a map's sigma or deviation.

    >>> compare(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0]))
    Comparison(mean=2.0, control=3.0, p=0.25, units=3)
    """
    both = np.isfinite(observed) & np.isfinite(control)
    a, b = observed[both], control[both]
    p = float(stats.wilcoxon(a, b).pvalue) if (a != b).any() else 1.0
    return Comparison(_mean(a), _mean(b), p, int(both.sum()))


def connectivity_control(
    graph: Graph,
    projection: str,
    rng: np.random.Generator,
    *,
    sigma_form: float = SIGMA_FORM,
    column: str | None = None,
) -> np.ndarray:
    """Receptive fields of as many synapses per unit, drawn from the formation kernel alone.

    Partners are drawn with probability in proportion to exp(-d^2 / (2 sigma_form^2)), with
    replacement where the projection allows multapses; sigma_form in sides of the sheet. A
    ``column`` gives each new synapse the value of one of the unit's own. (n_post, side, side).

    >>> from rewire.analysis.examples import sheets
    >>> fields = connectivity_control(sheets(), "ff", np.random.default_rng(0))
    >>> fields.shape, fields.sum((1, 2)).tolist() == [2] * 16
    ((16, 4, 4), True)
    """
    i, side = _index_and_side(graph, projection)
    pre, post = _ends(graph, i)
    order = np.argsort(post, kind="stable")
    n_post = _n_post(graph, i)
    draw = _with_replacement if graph.projections[i].multapses else _without_replacement
    chance = _kernel(graph, projection, sigma_form * side)
    pre = draw(chance, np.bincount(post, minlength=n_post), rng)
    values = None if column is None else graph[column][graph.rows(i)].numpy()[order]
    return _fields(pre, post[order], values, n_post, side)


def weight_control(
    graph: Graph, projection: str, rng: np.random.Generator, column: str = "weight"
) -> np.ndarray:
    """Receptive fields with the weights of each unit permuted among its synapses.

    >>> from rewire.analysis.examples import sheets
    >>> fields = weight_control(sheets(), "ff", np.random.default_rng(0))
    >>> np.unique(fields[5]).tolist()
    [0.0, 0.25, 0.75]
    """
    i, side = _index_and_side(graph, projection)
    pre, post = _ends(graph, i)
    weight = graph[column][graph.rows(i)].numpy()
    by_unit, at_random = np.argsort(post, kind="stable"), np.lexsort((rng.random(len(post)), post))
    return _fields(pre[by_unit], post[by_unit], weight[at_random], _n_post(graph, i), side)


def _kernel(graph: Graph, projection: str, sigma: float) -> np.ndarray:
    """exp(-d^2 / (2 sigma^2)) of each target unit and source cell, (n_post, n_pre)."""
    _, side = _index_and_side(graph, projection)
    cells = np.indices((side, side)).reshape(2, -1).T
    apart = _wrapped(places(graph, projection)[:, None] - cells, side)
    return np.exp(-(apart**2).sum(2) / (2 * sigma**2))


def _with_replacement(
    chance: np.ndarray, counts: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """``counts[j]`` columns drawn in proportion to row j of ``chance``, row after row."""
    n_pre = chance.shape[1]
    edges = (chance / chance.sum(1, keepdims=True)).cumsum(1) + np.arange(len(chance))[:, None]
    row = np.repeat(np.arange(len(chance)), counts)
    column = np.searchsorted(edges.ravel(), row + rng.random(len(row)), side="right")
    return np.minimum(column - row * n_pre, n_pre - 1)


def _without_replacement(
    chance: np.ndarray, counts: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    # the smallest of Exp(1) / chance are a draw without replacement in proportion to chance
    clock = rng.exponential(size=chance.shape) / np.maximum(chance, 1e-300)
    order = clock.argsort(1)
    return order[np.arange(chance.shape[1]) < counts[:, None]]


# -- weights and distances --------------------------------------------------------------------


@dataclass(frozen=True)
class Bimodality:
    """Whether weights sit at both ends of [0, w_max], as additive STDP leaves them.

    coefficient: Sarle's, (skewness^2 + 1) / kurtosis: 1/3 of a normal, 5/9 of a uniform law, 1 of
        two points only. NaN where all weights are equal.
    low, high: fraction of weights in the lowest and in the highest tenth of [0, w_max].
    """

    coefficient: float
    low: float
    high: float


def bimodality(weights: np.ndarray, w_max: float) -> Bimodality:
    """Bimodality of weights (E,); all NaN where there are none.

    >>> bimodality(np.array([0.0, 0.0, 1.0, 1.0]), w_max=1.0)
    Bimodality(coefficient=1.0, low=0.5, high=0.5)
    """
    w = np.asarray(weights, float)
    if not len(w):
        return Bimodality(*(float("nan"),) * 3)
    deviates = w - w.mean()
    variance = (deviates**2).mean()
    coefficient = float("nan")
    if variance > (1e-12 * w_max) ** 2:
        skewness, kurtosis = ((deviates**k).mean() / variance ** (k / 2) for k in (3, 4))
        coefficient = float((skewness**2 + 1) / kurtosis)
    return Bimodality(
        coefficient, float((w <= 0.1 * w_max).mean()), float((w >= 0.9 * w_max).mean())
    )


def distances(graph: Graph, projection: str) -> np.ndarray:
    """Length of each synapse on the torus, in cells of the source's grid, (E_i,).

    >>> from rewire.analysis.examples import sheets
    >>> distances(sheets(), "ff")[:4].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    i, side = _index_and_side(graph, projection)
    pre, post = _ends(graph, i)
    cells = np.stack([pre // side, pre % side], 1)
    return np.hypot(*_wrapped(places(graph, projection)[post] - cells, side).T)


@dataclass(frozen=True, eq=False)
class DistanceHistogram:
    """Synapses, and pairs that could hold one, by distance: bins of cells, ``edges`` (B + 1,)."""

    edges: np.ndarray
    synapses: np.ndarray
    pairs: np.ndarray

    @property
    def per_pair(self) -> np.ndarray:
        """Synapses per pair at each distance, (B,); NaN where no pair is so far apart."""
        with np.errstate(invalid="ignore"):
            return self.synapses / self.pairs


def distance_histogram(graph: Graph, projection: str, width: float = 1.0) -> DistanceHistogram:
    """How many synapses reach how far, in bins of ``width`` cells from 0 to the farthest pair.

    >>> from rewire.analysis.examples import sheets
    >>> histogram = distance_histogram(sheets(), "ff")
    >>> histogram.synapses.tolist(), histogram.pairs.tolist()
    ([16, 16, 0], [16, 128, 112])
    """
    _, side = _index_and_side(graph, projection)
    cells = np.indices((side, side)).reshape(2, -1).T
    apart = _wrapped(places(graph, projection)[:, None] - cells, side)
    edges = np.arange(0, side / 2**0.5 + width, width)
    pairs = np.histogram(np.hypot(*np.moveaxis(apart, 2, 0)), edges)[0]
    return DistanceHistogram(edges, np.histogram(distances(graph, projection), edges)[0], pairs)


# -- change -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Turnover:
    """Synapses formed and eliminated per second, in bins of time with ``edges`` (B + 1,) in s."""

    edges: np.ndarray
    formed: np.ndarray
    eliminated: np.ndarray

    @property
    def events(self) -> np.ndarray:
        """Formations and eliminations per second together, (B,)."""
        return self.formed + self.eliminated


def turnover(history: History, *, dt: float, steps: int, bins: int = 1) -> Turnover:
    """Formation and elimination rates over ``steps`` steps of ``dt`` seconds each.

    A bin ends with the step on its edge: what the last step did is in the last bin.

    >>> from types import SimpleNamespace as Record
    >>> history = [Record(total=10, drop=[0], add=[7]), Record(total=20, drop=[], add=[1])]
    >>> turnover(history, dt=0.1, steps=20, bins=2)
    Turnover(edges=array([0., 1., 2.]), formed=array([1., 1.]), eliminated=array([1., 0.]))
    """
    changes = churn(history)
    edges = np.linspace(0, steps, bins + 1)
    bin_of = np.searchsorted(edges, changes.total, side="left") - 1
    seconds = dt * steps / bins

    def rate(counts: np.ndarray) -> np.ndarray:
        return np.bincount(bin_of.clip(0), counts, minlength=bins) / seconds

    return Turnover(edges * dt, rate(changes.formed), rate(changes.dropped))


def synapse_lifetimes(history: History, *, dt: float, steps: int) -> Lifetimes:
    """The life of every synapse that ever was, ``born``, ``died`` and ``age`` in seconds.

    >>> import torch
    >>> from rewire.edit_log import History
    >>> synapse_lifetimes(History(torch.tensor([3, 5])), dt=0.1, steps=20).age.tolist()
    [2.0, 2.0]
    """
    lives = lifetimes(history.start, history, steps)
    return replace(lives, born=lives.born * dt, died=lives.died * dt)


# -- common -----------------------------------------------------------------------------------


def _index_and_side(graph: Graph, projection: str) -> tuple[int, int]:
    i = graph.space.index(projection)
    source = graph.space.population[graph.projections[i].source]
    if source.grid is None:
        raise ValueError(
            f"the source {source.name!r} of {projection!r} ({source.size} units) fills no square "
            "grid; a receptive field needs one: give it a square size and positions."
        )
    return i, source.grid[0]


def _ends(graph: Graph, i: int) -> tuple[np.ndarray, np.ndarray]:
    _, pre, post = (x[graph.rows(i)].numpy() for x in graph.locate())
    return pre, post


def _n_post(graph: Graph, i: int) -> int:
    return graph.space.population[graph.projections[i].target].size


def _fields(
    pre: np.ndarray, post: np.ndarray, values: np.ndarray | None, n_post: int, side: int
) -> np.ndarray:
    flat = np.bincount(post * side**2 + pre, values, minlength=n_post * side**2)
    return flat.reshape(n_post, side, side)


def _wrapped(apart: np.ndarray, side: int) -> np.ndarray:
    apart = np.abs(apart)
    return np.minimum(apart, side - apart)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
