"""The story that the demonstration tells, chapter by chapter, with the numbers of its own runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from rewire.pictures.style import drawing

from .. import store
from ..progress import Kind
from ..report import write_report
from ..report.frame import document, environment
from ..report.rounding import grouped
from ..report.run import RunData, load
from ..report.spiking import figures as map_figures
from ..report.spiking.maps import MapRun
from ..report.style import Inline, inline
from ..report.trainings import figures
from ..runner import RUNS, run_experiment

DIGITS, MAP = "demo-digits", "demo-map"
PAGE = "demo.html"


@dataclass(frozen=True)
class Chapter:
    """A title, paragraphs, and figures with a caption."""

    title: str
    paragraphs: Sequence[str]
    figures: Sequence[Inline] = field(default_factory=tuple)
    caption: str = ""


def demo(
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    workers: int | None = None,
    progress: Kind = "auto",
    command: Sequence[str] = (),
) -> Path:
    """Train and simulate what the demonstration shows, write its page, and return the page's path.

    out: runs/demo unless given; it holds the two runs, each with its report. Called again it goes
    on, and a finished one writes its page again. overrides: as of `run_experiment`, for the digits.
    Without Brian2 the map is left out, and the page says how to have it. Raises what
    `run_experiment` raises.
    """
    folder = Path(out) if out is not None else RUNS / "demo"
    spiking = find_spec("brian2") is not None
    for preset in (DIGITS, MAP) if spiking else (DIGITS,):
        run_experiment(
            preset, overrides if preset == DIGITS else (), out=folder / preset, workers=workers,
            progress=progress, command=command,
        )  # fmt: skip
        write_report(folder / preset)
    page = folder / PAGE
    simulated = MapRun.of(load(folder / MAP)) if spiking else None
    store.write_atomic(page, render(load(folder / DIGITS), simulated))
    return page


def render(digits: RunData, simulated: MapRun | None) -> str:
    """The page, self-contained: of a run of ``demo-digits``, and of one of ``demo-map``."""
    with drawing():
        chapters = [*_of_digits(digits), _of_map(simulated)]
    return document(
        environment(__package__).get_template("story.html"),
        chapters=chapters,
        reports=[DIGITS, *([MAP] if simulated is not None else [])],
    )


# --- digits ---


def _of_digits(run: RunData) -> Iterator[Chapter]:
    dense, sparsest = run.dense, min(run.densities)
    assert dense is not None  # the preset trains one
    edges = grouped(int(dense.rows[0]["possible"]))
    yield Chapter(
        "A network learns digits with every edge",
        [f"LeNet-300-100 has {edges} edges between 784 pixels, two layers of hidden units and ten "
         f"digits. Trained on a few thousand handwritten digits it reaches {_test(run, 'Dense')} "
         "on digits that it has not seen."],
    )  # fmt: skip
    yield Chapter(
        "Most of its edges can go: the winning ticket",
        [f"Iterative magnitude pruning trains the network, removes the smallest weights, returns "
         f"the others to their first values, and trains again. At {_share(sparsest)} of the edges "
         f"the ticket has {_test(run, 'IMP', sparsest)}."],
        [_accuracy(run, ("Dense", "IMP"), "one")],
        "Test accuracy against the share of edges kept.",
    )  # fmt: skip
    yield Chapter(
        "The ticket is its edges and their first weights",
        [f"The same edges with fresh random weights have {_test(run, 'RandomReinit', sparsest)} at "
         f"{_share(sparsest)}, the ticket {_test(run, 'IMP', sparsest)}: "
         f"{_difference(run, 'IMP', 'RandomReinit', sparsest)}."],
        [_accuracy(run, ("Dense", "IMP", "RandomReinit"), "two"),
         _learning(run, ("IMP", "RandomReinit"), sparsest)],
        f"Left: test accuracy. Right: validation accuracy while the networks of {_share(sparsest)} "
        "of the edges train; thin lines are single seeds.",
    )  # fmt: skip
    yield Chapter(
        "No dense network is needed: edges that move",
        [f"A ticket is found by training the dense network first. DEEP R never has more edges than "
         f"it ends with: an edge whose weight reaches zero is dropped, and another one begins "
         f"elsewhere. At {_share(sparsest)} it has {_test(run, 'DeepR', sparsest)}, as many fixed "
         f"random edges {_test(run, 'Static', sparsest)}: "
         f"{_difference(run, 'DeepR', 'Static', sparsest)}. {_moved(run, sparsest)}"],
        [_accuracy(run, ("Dense", "DeepR", "Static"), "three")],
        "Test accuracy at a constant number of edges.",
    )  # fmt: skip


def _share(density: float) -> str:
    return f"{100 * density:g} %"


def _only(run: RunData, labels: Sequence[str]) -> RunData:
    rows = [row for row in run.rows if row["label"] in labels]
    return replace(run, rows=rows)


def _accuracy(run: RunData, labels: Sequence[str], place: str) -> Inline:
    shown = _only(run, labels)
    figure = figures.metric_against_density(shown, run.looks, wide=True)
    return inline(figure, place, f"Test accuracy against density for {', '.join(labels)}.")


def _learning(run: RunData, labels: Sequence[str], density: float) -> Inline:
    column = run.metric.validation
    figure = figures.learning_curves(_only(run, labels), run.looks, density, column)
    return inline(figure, "learning", f"Validation accuracy while {' and '.join(labels)} train.")


def _test(run: RunData, label: str, density: float | None = None) -> str:
    """The mean test accuracy over the seeds."""
    point = run.dense if density is None else run.point(label, density)
    return "no result" if point is None else run.metric.text(point.mean(run.metric.test))


def _difference(run: RunData, a: str, b: str, density: float) -> str:
    """How far one rule is from another, seed by seed, in words."""
    one, other = run.point(a, density), run.point(b, density)
    seeds = sorted({*one.seeds} & {*other.seeds}) if one and other else []
    if not seeds or one is None or other is None:
        return "not measured"
    by_seed = [{row["seed"]: row[run.metric.test] for row in point.rows} for point in (one, other)]
    points = [100 * (by_seed[0][seed] - by_seed[1][seed]) for seed in seeds]
    ahead = sum(d > 0 for d in points)
    return (
        f"{sum(points) / len(points):+.1f} percentage points on average, ahead on {ahead} of "
        f"{len(seeds)} seeds"
    )


def _moved(run: RunData, density: float) -> str:
    point = run.point("DeepR", density)
    if point is None:
        return ""
    formed = sum(row["formed"] for row in point.rows) / len(point.rows)
    edges = sum(row["edges"] for row in point.rows) / len(point.rows)
    return (
        f"In {grouped(int(run.config['steps']))} steps its {grouped(round(edges))} edges have "
        f"moved {grouped(round(formed))} times."
    )


# --- the map ---


def _of_map(run: MapRun | None) -> Chapter:
    title = "Brains rewire too: a map that makes itself"
    if run is None:
        return Chapter(
            title,
            ["Left out: it is simulated in Brian2, which is not installed. With "
             'pip install "neurorewire[spiking]" the same command adds it.'],
        )  # fmt: skip
    moving, fixed = (run.changes.get(label) for label in ("StructuralPlasticity", "Static"))
    words = [
        "The same idea on spiking neurons: 256 sources and 256 targets on sheets, joined at "
        "random. A synapse that its spike timing weakens is likely to go, and a new one forms near "
        "where the others are. Nobody says where a target's field should be."
    ]
    if moving is not None and fixed is not None:
        words.append(
            f"After {run.config['seconds']:g} simulated seconds the fields of targets lie "
            f"{moving.of('ad_conn')[1]:.1f} units from where an ideal map has them, at the start "
            f"{moving.of('ad_conn')[0]:.1f}; without rewiring {fixed.of('ad_conn')[1]:.1f}."
        )
    meshes = [
        inline(map_figures.meshes(before, after, run.looks[label], label), f"map{i}",
               f"Preferred locations of neighbouring neurons at the start and the end, {label}.")
        for i, (label, (before, after)) in enumerate(run.examples.items())
    ]  # fmt: skip
    caption = (
        "Targets that are neighbours, joined by lines, where their receptive fields lie on the "
        "source sheet: a regular net is a map."
    )
    return Chapter(title, words, meshes, caption)
