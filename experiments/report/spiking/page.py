"""From a loaded run of the spiking world to its page: maps, spikes, weights and turnover."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np
from markupsafe import Markup

from ...spiking.cells import FORWARD, LATERAL
from ...spiking.published import PUBLISHED, SEEDS, SOURCE, published
from .. import animation, axes, frame, rounding
from ..run import Loaded
from ..style import Look, drawing, inline, looks, to_svg
from ..trainings.sentences import missing
from . import figures as sheet_figures
from . import sentences
from .maps import Change, Sheet, Simulated, changes, example, finished, simulated

Cells = Mapping[str, Sequence[Simulated]]
Looks = dict[str, Look]

NAV = (
    ("map", "start and end"), ("fields", "receptive fields"), ("torus", "the torus"),
    ("frames", "animation"), ("time", "over time"), ("spikes", "spikes"), ("weights", "weights"),
    ("turnover", "turnover"), ("survival", "survival"), ("controls", "shuffled maps"),
    ("contrasts", "contrasts"), ("made", "how it was made"),
)  # fmt: skip
OVER_TIME = (  # column, title, axis
    ("sigma_aff_conn", "σ by count", "σ, cells"),
    ("ad_conn", "AD by count", "AD, cells"),
    ("sigma_aff_weight", "σ by weight", "σ, cells"),
    ("ad_weight", "AD by weight", "AD, cells"),
)
COLUMNS = {  # of the table of start and end: digits
    "sigma_aff_conn": ("σ, count", 2), "ad_conn": ("AD, count", 2),
    "sigma_aff_weight": ("σ, weight", 2), "ad_weight": ("AD, weight", 2),
    "ff_synapses": ("feed-forward", 1), "lateral_synapses": ("lateral", 1),
    "weight_proportion": ("weight", 2),
}  # fmt: skip
MEASURED = {
    "sigma_aff_conn": "σ by count", "sigma_aff_weight": "σ by weight", "ad_conn": "AD by count",
    "ad_weight": "AD by weight", "rate_hz": "target rate, Hz",
    "ff_synapses": "feed-forward synapses a neuron", "weight_proportion": "weight, of the start's",
}  # fmt: skip
CHANCE = 0.05  # below which a test over a simulation's neurons counts
SAMPLES = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75), (0.0, 0.0))
LEAST = 0.1  # seconds, of the survival's log scale


def render(run: Loaded) -> str:
    """The whole page."""
    with drawing():
        context = _context(run)
    script = (
        (resources.files(__package__) / "animation.js").read_text()
        if context["frames"].get("rules")
        else ""
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    source = f"'sha256-{digest}'" if script else ""
    return frame.fill("spiking.html", context | {"script": Markup(script), "script_source": source})


def standalone(run: Loaded) -> str:
    """σ by count over time as a document."""
    cells = simulated(run)
    with drawing(standalone=True):
        return to_svg(sheet_figures.over_time(cells, *OVER_TIME[0], _looks(run), legend=True))


def _looks(run: Loaded) -> Looks:
    return looks({label: points[0].rule for label, points in run.points.items()})


def _context(run: Loaded) -> dict[str, Any]:
    look, cells = _looks(run), simulated(run)
    ends = changes(cells)
    headline, qualified = sentences.headline(run, ends)
    frames = animation.data(cells, look)
    context = {
        "run": run,
        "title": str(run.experiment.get("title") or run.experiment.get("name") or run.out.name),
        "about": " ".join(str(run.experiment.get("about") or "").split()),
        "headline": headline,
        "qualified": qualified,
        "unfinished": sum(c.status != "finished" for c in run.cells),
        "facts": _facts(run, cells),
        "legend": frame.legend(look, run.points),
        "nav": NAV,
        "table": list(_table(ends)),
        "columns": [name for name, _ in COLUMNS.values()],
        "published": _published(run, ends),
        "published_seeds": SEEDS,
        "published_source": SOURCE,
        "fields": list(_fields(cells)),
        "means": list(_means(cells)),
        "torus": list(_torus(cells, look)),
        "frames": frames,
        "data": Markup(animation.text(frames)),
        "time": _over_time(cells, look),
        "rasters": list(_rasters(cells, look)),
        "rates": _rates(cells, look),
        "weights": list(_weights(cells, look)),
        "lateral": any(_has_lateral(every) for every in cells.values()),
        "turnover": _turnover(cells, look),
        **_survival(cells, look),
        "controls": list(_controls(ends)),
        "contrasts": [_contrast(*one) for one in sentences.contrasts(run, ends)],
        "limits": sentences.limits(run, ends),
        "examples": _examples(cells),
        **frame.provenance(run),
    }
    # files are read on the way; what could not be read is known only now
    return context | {"missing": missing(run)}


def _facts(run: Loaded, cells: Cells) -> list[tuple[str, str]]:
    model = run.config.get("model")
    sizes = {one.before.side for every in cells.values() for one in every[:1] if one.before}
    done = sum(c.status == "finished" for c in run.cells)
    facts = [
        ("network", str(model.get("name", "") if isinstance(model, Mapping) else model or "")),
        ("each sheet", ", ".join(f"{side} × {side} neurons" for side in sorted(sizes))),
        ("simulated", f"{run.config['seconds']} s" if "seconds" in run.config else ""),
        ("rules", str(len(run.planned) or len(run.points))),
        ("seeds", str(len(run.seeds))),
        ("cells finished", f"{done} of {len(run.cells)}" if run.cells else ""),
    ]
    return [(what, value) for what, value in facts if value]


def _examples(cells: Cells) -> str:
    """Whose seed the pictures of single networks show."""
    seeds = sorted({one.seed for every in cells.values() if (one := example(every))})
    return f"seed {seeds[0]}" if len(seeds) == 1 else "the first finished seed of each rule"


# --- start and end ---


def _table(ends: Mapping[str, Change]) -> Iterator[dict[str, Any]]:
    for label, change in ends.items():
        yield {
            "label": label,
            "n": change.n,
            "cells": [
                {
                    "column": column,
                    "start": change.of(column)[0],
                    "end": change.of(column)[1],
                    "text": _arrow(change, column, digits),
                }
                for column, (_, digits) in COLUMNS.items()
            ],
            "rate": sentences.number(change.end.mean("rate_hz"), 1),
            "events": sentences.number(change.end.mean("events_per_s"), 1),
            "seconds": change.end.mean("seconds"),
        }


def _arrow(change: Change, column: str, digits: int) -> str:
    return " → ".join(sentences.number(value, digits) for value in change.of(column))


def _published(run: Loaded, ends: Mapping[str, Change]) -> dict[str, Any]:
    """Our means beside what was published, for each label that is a published case."""
    known = {k: v for k, v in published(run.config).items() if k in ends}
    rows = [
        {
            "name": name,
            "cells": [
                {
                    "ours": (ours := ends[label].end.mean(column)),
                    "theirs": known[label][column],
                    "ratio": ours / known[label][column],
                }
                for label in known
            ],
        }
        for column, name in MEASURED.items()
        if column in PUBLISHED
    ]
    return {"labels": [*known], "n": [ends[k].n for k in known], "rows": rows} if known else {}


def _controls(ends: Mapping[str, Change]) -> Iterator[dict[str, Any]]:
    """Each map beside shuffled ones, and in how many simulations the neurons tell them apart."""
    for label, change in ends.items():
        cells = []
        for column in COLUMNS:
            if f"control_{column}" in change.end.rows[0]:
                p = change.end.values(f"p_{column}")
                cells.append(
                    {
                        "map": sentences.number(change.end.mean(column)),
                        "control": sentences.number(change.end.mean(f"control_{column}")),
                        "apart": int((p < CHANCE).sum()),
                        "of": len(p),
                    }
                )
        yield {"label": label, "cells": cells}


def _contrast(column: str, made: Any) -> dict[str, Any]:
    interval = "–"
    if made.low is not None:
        interval = f"{sentences.signed(made.low)} to {sentences.signed(made.high)}"
    return {
        "pair": f"{made.a} − {made.b}",
        "measure": sentences.MEASURES[column],
        "n": made.n,
        "mean": made.mean,
        "text": sentences.signed(made.mean),
        "interval": interval,
        "g": "–" if made.g is None else rounding.plain(made.g),
        "verdict": made.verdict,
    }


# --- maps ---


def _fields(cells: Cells) -> Iterator[dict[str, Any]]:
    """Receptive fields of the same sample neurons, start and end, all labels on one scale."""
    shown = {
        label: (one.before, one.after)
        for label, every in cells.items()
        if (one := example(every)) and one.before and one.after
    }
    if not shown:
        return
    chosen = {label: samples(pair[0].side) for label, pair in shown.items()}
    pictures = {
        (label, i): sheet.fields("weight")[chosen[label]] / sheet.w_max
        for label, pair in shown.items()
        for i, sheet in enumerate(pair)
    }
    largest = max(float(fields.max()) for fields in pictures.values())
    most = 2 if largest > 1 + 1e-6 else 1
    for label, pair in shown.items():
        rows = []
        for i, (sheet, when) in enumerate(zip(pair, ("start", "end"), strict=True)):
            map_, side = sheet.map("weight"), sheet.side
            tiles = []
            for neuron, field in zip(chosen[label], pictures[label, i], strict=True):
                place, preferred = sheet.places[neuron], map_.preferred[neuron]
                sigma = map_.sigma[neuron]
                told = (
                    f"spread {sigma:.2f} cells, {map_.deviation[neuron]:.2f} from its place"
                    if np.isfinite(sigma)
                    else "no synapse"
                )
                tiles.append(
                    {
                        "source": axes.heat(field, most),
                        "place": _percent(place, side),
                        "preferred": _percent(preferred, side) if np.isfinite(sigma) else None,
                        "alt": f"Receptive field at the {when} under {label} of the neuron in row "
                        f"{round(place[0])}, column {round(place[1])}: {told}.",
                    }
                )
            rows.append({"when": when, "tiles": tiles})
        yield {"label": label, "rows": rows, "most": most, "clipped": largest > most + 1e-6}


def _means(cells: Cells) -> Iterator[dict[str, Any]]:
    """The mean field of all neurons, each with its own place in the middle, on one scale."""
    shown = {
        label: (one.before, one.after)
        for label, every in cells.items()
        if (one := example(every)) and one.before and one.after
    }
    fields = {label: [centred(sheet) for sheet in pair] for label, pair in shown.items()}
    most = max((float(field.max()) for pair in fields.values() for field in pair), default=0)
    for label, pair in fields.items():
        tiles = []
        for field, when in zip(pair, ("start", "end"), strict=True):
            middle = len(field) // 2
            near = field[middle - 1 : middle + 2, middle - 1 : middle + 2].sum() / max(
                field.sum(), 1e-12
            )
            tiles.append(
                {
                    "when": when,
                    "source": axes.heat(field, most),
                    "near": near,
                    "place": _percent(np.array([middle, middle]), len(field)),
                    "alt": f"Mean receptive field at the {when} under {label}: "
                    f"{rounding.percent(near, 0)} of the weight within one cell of the own place.",
                }
            )
        yield {"label": label, "tiles": tiles, "most": f"{most:.2g}"}


def centred(sheet: Sheet) -> np.ndarray:
    """Mean of all receptive fields by weight, in units of the largest weight, (side, side).

    Each is moved over the torus until the neuron's own place is in the middle, at side // 2.
    """
    fields, side = sheet.fields("weight") / sheet.w_max, sheet.side
    rows = (np.arange(side) - side // 2 + sheet.places[:, :1].round().astype(int)) % side
    columns = (np.arange(side) - side // 2 + sheet.places[:, 1:].round().astype(int)) % side
    moved = fields[np.arange(len(fields))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.mean(0)


def samples(side: int) -> list[int]:
    """Numbers of the sample neurons: the middle, four between it and the corners, and a corner."""
    at = [(int(row * side), int(column * side)) for row, column in SAMPLES]
    return [*dict.fromkeys(row * side + column for row, column in at)]


def _percent(location: np.ndarray, side: int) -> tuple[str, str]:
    """A row and a column as a place in a picture: from its top and left."""
    top, left = (100 * ((float(x) + 0.5) % side) / side for x in location)
    return f"{top:.2f}", f"{left:.2f}"


def _torus(cells: Cells, look: Looks) -> Iterator[Markup]:
    for i, (label, every) in enumerate(cells.items()):
        one = example(every)
        if one is None or one.before is None or one.after is None:
            continue
        ads = ", ".join(
            f"{when} AD {sentences.number(sheet.map().ad)}"
            for when, sheet in (("start", one.before), ("end", one.after))
        )
        made = sheet_figures.meshes(one.before, one.after, look[label], label)
        yield _svg(made, f"m{i}", f"Preferred locations of neighbouring neurons, {label}: {ads}.")


def _svg(made: Any, name: str, alt: str) -> Markup:
    return Markup(inline(made, name, alt))


# --- over time ---


def _over_time(cells: Cells, look: Looks) -> list[Markup]:
    if not any(one.evals for every in cells.values() for one in every):
        return []
    return [
        _svg(
            sheet_figures.over_time(cells, column, title, ylabel, look),
            f"t{i}",
            f"{title} against simulated seconds for {', '.join(cells)}.",
        )
        for i, (column, title, ylabel) in enumerate(OVER_TIME)
    ]


def _rates(cells: Cells, look: Looks) -> list[Markup]:
    if not any(one.evals for every in cells.values() for one in every):
        return []
    made = sheet_figures.over_time(cells, "rate_hz", "mean rate of the targets", "Hz", look)
    alt = f"Mean rate of the target neurons against simulated seconds for {', '.join(cells)}."
    return [_svg(made, "rh", alt)]


def _rasters(cells: Cells, look: Looks) -> Iterator[Markup]:
    for i, (label, every) in enumerate(cells.items()):
        one = example(every)
        if one is None or one.after is None or not one.after.spikes:
            continue
        counts = {name: len(unit) for name, (unit, _) in one.after.spikes.items()}
        told = ", ".join(f"{n} spikes of {name}s" for name, n in counts.items())
        made = sheet_figures.raster(one.after, label, look[label])
        alt = f"Raster of the last seconds under {label}: {told}."
        yield Markup(sheet_figures.two_colours(inline(made, f"r{i}", alt)))


# --- weights and turnover ---


def _has_lateral(every: Sequence[Simulated]) -> bool:
    return any(one.first["lateral_synapses"] or _any_lateral(one) for one in every)


def _any_lateral(one: Simulated) -> bool:
    return one.last is not None and bool(one.last["lateral_synapses"])


def _weights(cells: Cells, look: Looks) -> Iterator[dict[str, Any]]:
    ends = {
        label: [(one.before, one.after) for one in finished(every) if one.before and one.after]
        for label, every in cells.items()
    }
    ends = {label: pairs for label, pairs in ends.items() if pairs}
    for projection, title in ((FORWARD, "feed-forward"), (LATERAL, "lateral")):
        pooled = {
            label: [np.concatenate([pair[i].weights(projection) for pair in pairs]) for i in (0, 1)]
            for label, pairs in ends.items()
        }
        pooled = {label: both for label, both in pooled.items() if len(both[0]) or len(both[1])}
        if not pooled:
            continue
        shares = [sheet_figures.histogram([one]) for both in pooled.values() for one in both[1:]]
        most = min(100.0, 1.08 * max((s.max() for s in shares if s is not None), default=100.0))
        panels = []
        for i, (label, both) in enumerate(pooled.items()):
            said = [sentences.bimodality(one) for one in both]
            made = sheet_figures.weights(ends[label], projection, label, look[label], most)
            alt = (
                f"Weights of {title} synapses under {label}: at the start {said[0]}; "
                f"at the end {said[1]}."
            )
            panels.append(
                {"svg": _svg(made, f"w{projection[0]}{i}", alt), "start": said[0], "end": said[1]}
            )
        yield {"title": title, "panels": panels}


def _turnover(cells: Cells, look: Looks) -> list[Markup]:
    seeds = {
        label: [sheet_figures.turnover_of(one) for one in every if one.evals]
        for label, every in cells.items()
    }
    seeds = {k: v for k, v in seeds.items() if any((f + d).any() for _, f, d in v)}
    most = max((max(f.max(), d.max()) for v in seeds.values() for _, f, d in v), default=0)
    return [
        _svg(
            axes.churn_panel(v, label, look[label], most, "simulated seconds"),
            f"e{i}",
            f"Synapses formed and eliminated per second by {label}: on average "
            f"{np.mean([f[1:].mean() for _, f, _ in v]):.3g} formed and "
            f"{np.mean([d[1:].mean() for _, _, d in v]):.3g} eliminated.",
        )
        for i, (label, v) in enumerate(seeds.items())
    ]


def _survival(cells: Cells, look: Looks) -> dict[str, Any]:
    """Synapses of the start and synapses formed later, of rules that eliminate."""
    every = {
        label: [lives for one in finished(some) if (lives := one.lives_in_seconds()) is not None]
        for label, some in cells.items()
    }
    lost = {k: v for k, v in every.items() if v and not all(one.alive.all() for one in v)}
    parts = (
        ("synapses of the start", "seconds since the start, log scale",
         {k: [one.where(one.born == 0) for one in v] for k, v in lost.items()}),
        ("synapses formed later", "seconds since it was formed, log scale",
         {k: [one.where(one.born > 0) for one in v] for k, v in lost.items()}),
    )  # fmt: skip
    panels = []
    for i, (title, xlabel, part) in enumerate(parts):
        part = {k: v for k, v in part.items() if all(len(one.key) for one in v)}
        if part:
            made = axes.survival_panel(part, title, look, xlabel, LEAST)
            kept = ", ".join(
                f"{k} {rounding.percent(float(np.concatenate([x.alive for x in v]).mean()))}"
                for k, v in part.items()
            )
            panels.append(_svg(made, f"s{i}", f"Survival of {title}; alive at the end: {kept}."))
    return {"survival": panels, "survivors": [*lost]}
