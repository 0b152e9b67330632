"""Search for communities of large modularity, with Barber's null model for each projection."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse as sp

DENSE = 1 << 22  # units x labels up to which all gains are computed
FEW = 4096  # labels up to which an array of all is quicker than sorting
SWEEPS = 100  # at most, of one round
RELATIVE = 1e-12  # a gain below this share of all weight is rounding


class Joined:
    """Weighted pairs of units, each of a projection, and the populations of the units.

    pre, post, which, weight: (E,), weight >= 0, the projections' numbers ascending. blocks: (N,),
    the number of each unit's population.
    """

    def __init__(
        self,
        pre: np.ndarray,
        post: np.ndarray,
        which: np.ndarray,
        weight: np.ndarray,
        blocks: np.ndarray,
    ):
        self.pre, self.post, self.which, self.blocks = pre, post, which, blocks
        self.weight = weight.astype(np.float64)
        self.size = len(blocks)
        self.projections = int(which.max(initial=-1)) + 1
        self.degree = np.bincount(pre, minlength=self.size) + np.bincount(post, minlength=self.size)
        self.totals = np.bincount(which, self.weight, self.projections)
        self.total = float(self.totals.sum())
        self._rows: dict[int, sp.csr_array] = {}

    def quality(self, labels: np.ndarray) -> float:
        """Q of these communities; 0 where nothing weighs anything."""
        if not self.total:
            return 0.0
        _, labels = np.unique(labels, return_inverse=True)
        count = int(labels.max(initial=0)) + 1
        inside = self.weight[labels[self.pre] == labels[self.post]].sum()
        expected = 0.0
        ends = np.searchsorted(self.which, np.arange(self.projections + 1)).tolist()
        for p, rows in enumerate(slice(*pair) for pair in pairwise(ends)):
            sent, received = (
                np.bincount(labels[end[rows]], self.weight[rows], count)
                for end in (self.pre, self.post)
            )
            expected += float(sent @ received) / self.totals[p] if self.totals[p] else 0.0
        return float(inside - expected) / self.total

    @cached_property
    def both_ways(self) -> sp.csr_array:
        """Weight between two units in both directions, (N, N), symmetric, without loops."""
        import scipy.sparse as sp

        apart = self.pre != self.post
        pre, post, weight = self.pre[apart], self.post[apart], self.weight[apart]
        ends = np.concatenate([pre, post]), np.concatenate([post, pre])
        shape = (self.size, self.size)
        return sp.coo_array((np.concatenate([weight, weight]), ends), shape=shape).tocsr()

    def rows(self, units: np.ndarray) -> sp.csr_array:
        """The rows of a population's units of :attr:`both_ways`, kept."""
        key = int(self.blocks[units[0]])
        if key not in self._rows:
            self._rows[key] = self.both_ways[units]
        return self._rows[key]

    @cached_property
    def strengths(self) -> tuple[sp.csc_array, sp.csc_array]:
        """f and g, (N, 2 P) each: f_i . g_j is what is expected between units i and j.

        f: sums of weight sent, then received, by projection. g: received, then sent, over W.
        """
        import scipy.sparse as sp

        shape = (self.size, self.projections)
        sent, received = (
            sp.coo_array((self.weight, (end, self.which)), shape=shape).tocsc()
            for end in (self.pre, self.post)
        )
        scale = sp.diags_array(np.where(self.totals > 0, 1 / np.maximum(self.totals, 1e-300), 0))
        f = sp.hstack([sent, received], format="csc")
        g = sp.hstack([received @ scale, sent @ scale], format="csc")
        return f, g


def maximised(joined: Joined, rng: np.random.Generator) -> np.ndarray:
    """Labels, (N,), at which neither a unit nor a community gains by moving."""
    labels = rng.permutation(joined.size)
    blocks = [np.flatnonzero(joined.blocks == b) for b in rng.permutation(joined.blocks.max() + 1)]
    blocks = [units[joined.degree[units] > 0] for units in blocks]
    quality = -np.inf
    for _ in range(SWEEPS):
        labels = _settled(joined, labels, blocks, rng)
        labels = _merged(joined, labels, rng)
        after = joined.quality(labels)
        if after <= quality + RELATIVE:
            break
        quality = after
    return labels if quality > 0 else np.zeros(joined.size, np.int64)


def _settled(
    joined: Joined, labels: np.ndarray, blocks: list[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Labels after units have moved, population by population, until none gains."""
    within = {int(b) for b in joined.blocks[joined.pre[_own_block(joined)]]}
    for _ in range(SWEEPS):
        moved = 0
        for units in blocks:
            if not len(units):
                continue
            _, labels = np.unique(labels, return_inverse=True)
            if int(joined.blocks[units[0]]) in within:
                moved += _move_in_turn(joined, labels, rng.permutation(units))
            else:
                moved += _move_together(joined, labels, units)
        if not moved:
            break
    return labels


def _own_block(joined: Joined) -> np.ndarray:
    return joined.blocks[joined.pre] == joined.blocks[joined.post]


def _move_together(joined: Joined, labels: np.ndarray, units: np.ndarray) -> int:
    """Each of some units, none joined to another, to the label that gains most; how many moved.

    A label that none has stands for a community of the unit alone.
    """
    best, new, current = _best_labels(joined, labels, units)
    threshold = RELATIVE * joined.total
    alone = (best < -threshold) & (current < -threshold)
    moves = (best > current + threshold) & ~alone
    count = int(labels.max()) + 1
    labels[units[moves]] = new[moves]
    labels[units[alone]] = count + np.arange(np.count_nonzero(alone))
    return int(moves.sum() + alone.sum())


def _best_labels(
    joined: Joined, labels: np.ndarray, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each unit: the largest gain, the least label that has it, and its own label's gain."""
    rows, count = joined.rows(units), int(labels.max()) + 1
    columns = _columns(joined, units, labels, count)
    own = labels[units]
    if len(units) * count <= DENSE:
        row = np.repeat(np.arange(len(units)) * count, np.diff(rows.indptr))
        cells = np.bincount(row + labels[rows.indices], rows.data, len(units) * count)
        gains = cells.reshape(len(units), count)
        for f, g in columns:
            gains -= f[:, None] * g
        new, each = gains.argmax(axis=1), np.arange(len(units))
        return gains[each, new], new, gains[each, own]
    towards = rows @ one_hot(labels)
    towards.sort_indices()
    row = np.repeat(np.arange(len(units)), np.diff(towards.indptr))
    gains, current = towards.data.copy(), np.zeros(len(units))
    present = np.flatnonzero(towards.indices == own[row])
    current[row[present]] = gains[present]
    for f, g in columns:
        gains -= f[row] * g[towards.indices]
        current -= f * g[own]
    best = np.maximum.reduceat(gains, towards.indptr[:-1])  # every unit has an edge
    is_best = np.flatnonzero(gains == best[row])
    first = is_best[np.searchsorted(row[is_best], np.arange(len(units)))]
    return best, towards.indices[first], current


def one_hot(labels: np.ndarray) -> sp.csr_array:
    """Ones at (unit, its label), (N, number of labels)."""
    import scipy.sparse as sp

    n = len(labels)
    entries = np.ones(n), labels, np.arange(n + 1)
    return sp.csr_array(entries, shape=(n, int(labels.max(initial=-1)) + 1))


def _columns(
    joined: Joined, units: np.ndarray, labels: np.ndarray, count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """f of the units, and g summed by label, of each column that one of them has something in."""
    f, g = joined.strengths
    own = f[units].tocsc()
    out = []
    for c in np.flatnonzero(np.diff(own.indptr)).tolist():
        entries = slice(g.indptr[c], g.indptr[c + 1])
        by_label = np.bincount(labels[g.indices[entries]], g.data[entries], count)
        out.append((own[:, [c]].toarray()[:, 0], by_label))
    return out


def _move_in_turn(joined: Joined, labels: np.ndarray, units: np.ndarray) -> int:
    """Each unit, one after the other, to the label that gains most; how many moved."""
    f, g = joined.strengths
    columns = np.flatnonzero(np.diff(f[units].tocsc().indptr))
    own_f, own_g = (x.tocsr()[units][:, columns].toarray() for x in (f, g))
    count = int(labels.max()) + 1 + len(units)  # and a free label for each that would be alone
    by_label = np.zeros((count, len(columns)))
    for k, c in enumerate(columns.tolist()):
        entries = slice(g.indptr[c], g.indptr[c + 1])
        by_label[:, k] = np.bincount(labels[g.indices[entries]], g.data[entries], count)
    threshold = RELATIVE * joined.total
    return _in_turn(joined.both_ways, labels, units, own_f, own_g, by_label, threshold)


def _in_turn(
    weights: sp.csr_array,
    labels: np.ndarray,
    nodes: np.ndarray,
    f: np.ndarray,
    g: np.ndarray,
    by_label: np.ndarray,
    threshold: float,
) -> int:
    moved = 0
    free = len(by_label) - len(nodes)  # the first label that none has
    for k, node in enumerate(nodes.tolist()):
        entries = slice(weights.indptr[node], weights.indptr[node + 1])
        old = labels[node]
        by_label[old] -= g[k]
        near, towards = _by_label(labels[weights.indices[entries]], weights.data[entries], free)
        gains = towards - by_label[near] @ f[k]
        current = towards[near == old].sum() - by_label[old] @ f[k]
        new, best = old, gains.max(initial=-np.inf)
        if max(best, current) < -threshold:
            new = free + k
        elif best > current + threshold:
            new = near[int(gains.argmax())]
        by_label[new] += g[k]
        if new != old:
            labels[node] = new
            moved += 1
    return moved


def _by_label(labels: np.ndarray, weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels that occur, ascending, and the weight of each."""
    if count > FEW or labels.max(initial=0) >= count:
        near, place = np.unique(labels, return_inverse=True)
        return near, np.bincount(place, weights, len(near))
    total = np.bincount(labels, weights)
    near = np.flatnonzero(total)
    return near, total[near]


def _merged(joined: Joined, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels after whole communities have moved to others, until none gains."""
    import scipy.sparse as sp

    _, labels = np.unique(labels, return_inverse=True)
    count = int(labels.max()) + 1
    of_label = one_hot(labels)
    weights = (of_label.T @ joined.both_ways @ of_label).tocoo()
    row, column = weights.coords
    apart = row != column  # what is within a community moves with it
    weights = sp.csr_array((weights.data[apart], (row[apart], column[apart])), shape=(count, count))
    f, g = ((of_label.T @ x).toarray() for x in joined.strengths)
    of_community = np.arange(count)
    for _ in range(SWEEPS):
        _, of_community = np.unique(of_community, return_inverse=True)
        by_label = np.zeros((2 * count, f.shape[1]))  # with a free label for each
        np.add.at(by_label, of_community, g)
        order = rng.permutation(count)
        order = order[f[order].any(axis=1)]  # the others have no edge
        ends = weights, of_community, order, f[order], g[order], by_label
        if not _in_turn(*ends, RELATIVE * joined.total):
            break
    return of_community[labels]
