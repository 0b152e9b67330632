"""The edit log replayed as frames that a page's script can draw, packed into one JSON text.

Lists of integers are bytes in base64, unsigned and little-endian.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

from rewire.analysis import topography

from ...spiking.cells import FORWARD, LATERAL
from ..packing import packed, text
from .maps import Sheet, Simulation, example, keys_at

if TYPE_CHECKING:
    from rewire.analysis.lifetimes import Lifetimes

    from ..style import Look

FRAMES = (60, 30, 15, 6)  # after the first; fewer where more would make the page too large
MOST = 2_000_000  # bytes
LOCATION = 256  # steps of a preferred location along a side of the sheet

Cells = dict[str, tuple[Simulation, Sheet, "Lifetimes", int]]  # and the last tick


def data(
    simulations: Mapping[str, Sequence[Simulation]], looks: Mapping[str, Look]
) -> dict[str, Any]:
    """What the script is given; empty where no finished cell ever changed a synapse.

    Of each label one cell. ``rules`` have, for each projection, the pairs ``post * n_pre + pre`` of
    the start's synapses and, frame by frame, of those that went and came since the frame before
    (a synapse that came and went between two frames is in neither); the preferred location of each
    target neuron, row and column, in 256ths of the side (0 where it has no synapse); and, frame by
    frame, sigma_aff and AD. Only ``too_large`` where even the fewest frames exceed `MOST`.
    """
    cells = {
        label: (one, one.before, one.lives, one.last["step"])
        for label, every in simulations.items()
        if (one := example(every)) and one.before and one.lives and one.last
    }
    if not any(lives.born.any() or not lives.alive.all() for _, _, lives, _ in cells.values()):
        return {}
    for frames in FRAMES:
        replay = _frames(cells, frames, looks)
        if len(text(replay)) <= MOST:
            return replay
    return {"too_large": True}


def numbers(replay: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each frame and rule the spread and the displacement of the map, in cells."""
    return [
        {"label": rule["label"], "seed": rule["seed"], "seconds": at, "sigma": sigma, "ad": ad}
        for rule in replay.get("rules", ())
        for at, sigma, ad in zip(replay["seconds"], rule["sigma"], rule["ad"], strict=True)
    ]


def _frames(cells: Cells, frames: int, looks: Mapping[str, Look]) -> dict[str, Any]:
    end = max(one.period * last for one, _, _, last in cells.values())
    seconds = np.linspace(0, end, frames + 1)
    rules = []
    for label, (one, sheet, lives, last) in cells.items():
        ticks = np.minimum(np.rint(seconds / one.period).astype(int), last)
        identity = {"label": label, "seed": one.seed, "colour": looks[label].colour}
        rules.append(identity | _rule(sheet, [keys_at(lives, tick) for tick in ticks]))
    colours = matplotlib.colormaps["inferno"](np.arange(256), bytes=True)[:, :3]
    return {
        "side": next(sheet.side for _, sheet, _, _ in cells.values()),
        "seconds": [round(float(t), 3) for t in seconds],
        "colours": packed(colours, np.uint8),
        "rules": rules,
    }


def _rule(sheet: Sheet, frames: Sequence[np.ndarray]) -> dict[str, Any]:
    space = sheet.graph.space
    steps: dict[str, Any] = {FORWARD: None, LATERAL: None}
    for i, projection in enumerate(space.projections):
        low, high = space.bounds[i : i + 2]
        pairs = [keys[(keys >= low) & (keys < high)] - low for keys in frames]
        steps[projection.name] = _steps(pairs, high - low)
    return steps | _located(sheet, frames)


def _steps(pairs: Sequence[np.ndarray], possible: int) -> dict[str, Any]:
    """The first frame's pairs, and the differences from each frame to the next."""
    wide = np.uint16 if possible <= 1 << 16 else np.uint32
    changes = [_change(*two) for two in zip(pairs, pairs[1:], strict=False)]
    dropped, formed = ([step[i] for step in changes] for i in (0, 1))
    return {
        "bytes": np.dtype(wide).itemsize,
        "start": packed(pairs[0], wide),
        "gone": packed(np.concatenate(dropped), wide),
        "come": packed(np.concatenate(formed), wide),
        "n_gone": [len(step) for step in dropped],
        "n_come": [len(step) for step in formed],
    }


def _change(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that ``before`` has more of, and those that ``after`` has, each as often."""
    both = np.concatenate([before, after])
    pair, which = np.unique(both, return_inverse=True)
    sign = np.repeat([-1, 1], [len(before), len(after)])
    more = np.bincount(which, sign, minlength=len(pair)).astype(int)
    return np.repeat(pair, (-more).clip(0)), np.repeat(pair, more.clip(0))


def _located(sheet: Sheet, frames: Sequence[np.ndarray]) -> dict[str, Any]:
    """Where each frame's receptive fields lie, by count of synapses, and how sharp they are."""
    i = sheet.graph.space.index(FORWARD)
    low, high = sheet.graph.space.bounds[i : i + 2]
    side, n_post = sheet.side, len(sheet.places)
    locations, sigma, ad = [], [], []
    for keys in frames:
        pairs = keys[(keys >= low) & (keys < high)] - low
        fields = np.bincount(pairs, minlength=high - low).reshape(n_post, side, side)
        map_ = topography.locate(fields, sheet.places)
        step = np.rint(np.nan_to_num(map_.preferred) / side * LOCATION).astype(int) % LOCATION
        locations.append(step)
        sigma.append(_number(map_.sigma_aff))
        ad.append(_number(map_.ad))
    return {"preferred": packed(np.stack(locations), np.uint8), "sigma": sigma, "ad": ad}


def _number(value: float) -> float | None:
    # the page rounds to two digits: 0.8253 rounded to three before would come out as 0.82
    return round(value, 6) if np.isfinite(value) else None
