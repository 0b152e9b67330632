"""The page of a run of the spiking world: its sections, an entry each, and what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from rewire.pictures.style import drawing

from ...spiking.cells import FORWARD, LATERAL
from ...spiking.published import SEEDS, SOURCE
from .. import crowd, frame, lives, packing
from ..rounding import fixed
from ..run import RunData
from ..sections import Section
from ..style import Inline, inline, looks
from . import animation, fields, figures, sentences, tables
from .maps import MapRun, finished
from .measures import LENGTHS

LEAST = 0.1  # seconds, of the survival's log scale
FIGURES: tuple[str, ...] = ("map",)  # that `figure` draws


def render(run: RunData) -> str:
    """The whole page."""
    maps = MapRun.of(run)
    headline, qualifications = sentences.headline(maps, maps.changes)
    with drawing():
        return frame.page(
            maps, SECTIONS, headline=headline, qualifications=qualifications, facts=_facts(maps)
        )


def figure(run: RunData, which: str) -> Figure:
    """A figure of `FIGURES`, to be a document of its own: σ by count over time."""
    maps, shown = MapRun.of(run), LENGTHS[0]
    apart = looks({label: points[0].rule for label, points in maps.points.items()})
    return figures.over_time(maps.simulations, shown.column, shown.name, f"{shown.symbol}, cells",
                             apart, legend=True)  # fmt: skip


def _facts(run: MapRun) -> list[tuple[str, str]]:
    model = run.config.get("model")
    cells = (every[0] for every in run.simulations.values())
    sizes = {one.before.side for one in cells if one.before}
    return [
        ("network", str(model.get("name", "") if isinstance(model, Mapping) else model or "")),
        ("each sheet", ", ".join(f"{side} × {side} neurons" for side in sorted(sizes))),
        ("simulated", f"{run.config['seconds']} s" if "seconds" in run.config else ""),
        ("rules", str(len(run.planned) or len(run.points))),
        ("seeds", str(len(run.seeds))),
        ("cells finished", frame.finished_cells(run)),
    ]


# --- maps ---


def _map(run: MapRun) -> dict[str, Any] | None:
    table = tables.ends(run)
    if table is None:
        return None
    return {
        "table": table,
        "published": tables.published_cases(run),
        "source": SOURCE,
        "source_seeds": SEEDS,
    }


def _fields(run: MapRun) -> dict[str, Any] | None:
    if not run.examples:
        return None
    return {"fields": fields.sample_fields(run.examples), "means": fields.mean_fields(run.examples)}


def _torus(run: MapRun) -> dict[str, Any] | None:
    panels: list[Inline] = []
    for label, (before, after) in run.examples.items():
        distances = f"start AD {fixed(before.map().ad)}, end AD {fixed(after.map().ad)}"
        mesh = figures.meshes(before, after, run.looks[label], label)
        alt = f"Preferred locations of neighbouring neurons, {label}: {distances}."
        panels.append(inline(mesh, f"m{len(panels)}", alt))
    return {"panels": panels} if panels else None


def _frames(run: MapRun) -> dict[str, Any] | None:
    replay = animation.data(run.simulations, run.looks)
    if not replay:
        return None
    too_large = "rules" not in replay
    return {
        "frames": replay,
        "data": Markup(animation.text(replay)),
        "numbers": animation.numbers(replay),
        "script": "" if too_large else packing.animation(__package__, "animation.js"),
        "lateral": _has_lateral(run),
    }


def _has_lateral(run: MapRun) -> bool:
    rows = (
        row for every in run.simulations.values() for one in every for row in (one.first, one.last)
    )
    return any(row is not None and row["lateral_synapses"] for row in rows)


# --- over time ---


def _time(run: MapRun) -> dict[str, Any] | None:
    if not run.evaluated:
        return None
    shown = [
        _over_time(run, measure.column, measure.name, f"{measure.symbol}, cells", f"t{i}")
        for i, measure in enumerate(LENGTHS)
    ]
    if run.crowded:
        return {"parts": shown, "panels": []}
    return {"parts": [], "panels": [one["svg"] for one in shown]}


def _over_time(run: MapRun, column: str, title: str, ylabel: str, prefix: str) -> dict[str, Any]:
    """A column over time: all rules in one drawing, or of many a panel for each family."""
    alt = f"{title} against simulated seconds"
    if not run.crowded:
        figure = figures.over_time(run.simulations, column, title, ylabel, run.looks)
        return {"svg": inline(figure, prefix, f"{alt} for {', '.join(run.simulations)}.")}
    begun = {k: [x for x in v if x in run.simulations] for k, v in run.families.items()}

    def draw(family: str, only: Sequence[str]) -> Figure:
        return figures.over_time(run.simulations, column, family, ylabel, run.looks, only=only)

    panels = crowd.panels({k: v for k, v in begun.items() if v}, draw, f"{prefix}-", alt)
    return {"title": title, "name": column, "panels": panels}


def _spikes(run: MapRun) -> dict[str, Any] | None:
    rasters, rates = _rasters(run), _rates(run)
    return {"rasters": rasters, "rates": rates} if rasters or rates else None


def _rates(run: MapRun) -> dict[str, Any] | None:
    if not run.evaluated:
        return None
    return _over_time(run, "rate_hz", "mean rate of the targets", "Hz", "rh")


def _rasters(run: MapRun) -> list[Inline]:
    rasters = []
    for i, (label, (_, after)) in enumerate(run.examples.items()):
        if not after.spikes:
            continue
        counts = ", ".join(f"{len(unit)} spikes of {k}s" for k, (unit, _) in after.spikes.items())
        figure = figures.raster(after, label, run.looks[label])
        svg = inline(figure, f"r{i}", f"Raster of the last seconds under {label}: {counts}.")
        rasters.append(replace(svg, svg=Markup(figures.two_colours(svg.svg))))
    return rasters


# --- weights and turnover ---


def _weights(run: MapRun) -> dict[str, Any] | None:
    ends = {
        label: [(one.before, one.after) for one in finished(every) if one.before and one.after]
        for label, every in run.simulations.items()
    }
    groups = []
    for projection, title in ((FORWARD, "feed-forward"), (LATERAL, "lateral")):
        pooled = {
            label: [np.concatenate([pair[i].weights(projection) for pair in pairs]) for i in (0, 1)]
            for label, pairs in ends.items()
            if pairs
        }
        pooled = {label: both for label, both in pooled.items() if len(both[0]) or len(both[1])}
        if pooled:
            panels = _weight_panels(run, title, pooled, prefix=f"w{projection[0]}")
            groups.append({"title": title, "panels": panels})
    return {"groups": groups} if groups else None


def _weight_panels(
    run: MapRun, title: str, pooled: Mapping[str, list[np.ndarray]], prefix: str
) -> list[dict[str, Any]]:
    """Per label the weights of all seeds at the start and at the end, all on one scale."""
    shares = [figures.histogram(end) for _, end in pooled.values()]
    most = min(100.0, 1.08 * max((s.max() for s in shares if s is not None), default=100.0))
    panels = []
    for i, (label, (start, end)) in enumerate(pooled.items()):
        texts = {"start": sentences.bimodality(start), "end": sentences.bimodality(end)}
        figure = figures.weights(start, end, label, run.looks[label], most)
        alt = (
            f"Weights of {title} synapses under {label}: at the start {texts['start']}; "
            f"at the end {texts['end']}."
        )
        panels.append({"svg": inline(figure, f"{prefix}{i}", alt)} | texts)
    return panels


def _turnover(run: MapRun) -> dict[str, Any] | None:
    rates = {
        label: {one.seed: figures.turnover_of(one) for one in every if one.evals}
        for label, every in run.simulations.items()
    }
    panels = lives.turnover(rates, run.looks, "simulated seconds", _turnover_alt)
    return {"panels": panels} if panels else None


def _turnover_alt(label: str, rates: lives.Rates) -> str:
    formed, dropped = (np.mean([seed[i].mean() for seed in rates.values()]) for i in (1, 2))
    return (
        f"Synapses formed and eliminated per second by {label}: on average "
        f"{formed:.3g} formed and {dropped:.3g} eliminated."
    )


def _survival(run: MapRun) -> dict[str, Any] | None:
    by_label = {
        label: [life for one in finished(every) if (life := one.lives_in_seconds()) is not None]
        for label, every in run.simulations.items()
    }
    families = run.families if run.crowded else None
    return lives.survival(by_label, run.looks, "synapses", "seconds", LEAST, families)


# --- controls and contrasts ---


def _controls(run: MapRun) -> dict[str, Any] | None:
    table = tables.controls(run)
    return {"table": table} if table else None


def _contrasts(run: MapRun) -> dict[str, Any]:
    pairs = sentences.contrasts(run, run.changes)
    return {"contrasts": tables.contrasts(pairs), "limits": sentences.limits(run, run.changes)}


UNREAD = "No simulation has finished yet, or its connectivity could not be read."
SECTIONS = (
    Section(
        "map",
        "The map at the start and at the end",
        _map,
        link="start and end",
        empty="No simulation has finished yet.",
        template="spiking/map.html",
    ),
    Section(
        "fields",
        "Receptive fields at the start and at the end",
        _fields,
        link="receptive fields",
        empty=UNREAD,
        template="spiking/fields.html",
    ),
    Section(
        "torus",
        "The map on the torus",
        _torus,
        link="the torus",
        empty=UNREAD,
        template="spiking/torus.html",
    ),
    Section(
        "frames",
        "Animation of the connectivity",
        _frames,
        link="animation",
        empty="No synapse of a finished simulation has been formed or eliminated.",
        template="spiking/frames.html",
    ),
    Section(
        "time",
        "Spread (σ) and displacement (AD) over time",
        _time,
        link="over time",
        empty="Nothing has been evaluated yet.",
        template="spiking/time.html",
    ),
    Section(
        "spikes",
        "Spikes and rates",
        _spikes,
        link="spikes",
        empty="Nothing has been evaluated yet.",
        template="spiking/spikes.html",
    ),
    Section(
        "weights",
        "Distribution of weights",
        _weights,
        link="weights",
        empty="No simulation has finished yet, or it has no synapses.",
        template="spiking/weights.html",
    ),
    Section(
        "turnover",
        "Synapses formed and eliminated",
        _turnover,
        link="turnover",
        empty="No synapse has been formed or eliminated.",
        template="spiking/turnover.html",
    ),
    Section(
        "survival",
        "Survival of synapses",
        _survival,
        link="survival",
        empty="No synapse of a finished simulation has been eliminated.",
        template="spiking/survival.html",
    ),
    Section(
        "controls",
        "Comparison with shuffled maps",
        _controls,
        link="shuffled maps",
        empty="No simulation has finished yet.",
        template="spiking/controls.html",
    ),
    Section(
        "contrasts",
        "Contrasts and their limits",
        _contrasts,
        link="contrasts",
        template="spiking/contrasts.html",
    ),
    Section(
        "made",
        "Definitions and provenance",
        frame.provenance,
        link="provenance",
        template="spiking/definitions.html",
    ),
)
