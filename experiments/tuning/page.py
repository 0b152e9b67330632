"""The page of a search: default against tuned, the expected best of n trials, each field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rewire.pictures.style import drawing

from ..report.frame import document, environment
from ..report.rounding import fixed
from ..report.style import Inline, inline
from ..report.tables import Cell, Row, Table
from . import drawn
from .expected import association
from .generation import densities_of
from .space import OPTIMIZER, RuleSpace
from .trials import Trial, may_be_chosen
from .tuned import Tuned


def render(tuned: Tuned) -> str:
    """The whole page, as HTML; the same search gives the same bytes."""
    with drawing():
        return document(
            environment(__package__).get_template("page.html"),
            title=tuned.experiment.title or tuned.experiment.name,
            name=tuned.experiment.name,
            metric=tuned.metric,
            headline=_headline(tuned),
            facts=_facts(tuned),
            table=_table(tuned),
            curves=list(_curves(tuned)),
            random=tuned.search.sampler == "random",
            fields=_field_table(tuned),
            panels=list(_panels(tuned)),
            untouched=_untouched(tuned),
        )


def _headline(tuned: Tuned) -> str:
    better = [one.label for one in tuned.rule_spaces if tuned.chosen(one.label).number]
    n = len(tuned.rule_spaces)
    text = f"Of {n} {'rule' if n == 1 else 'rules'}, {len(better)} "
    text += "validates" if len(better) == 1 else "validate"
    return f"{text} better with other fields than the experiment's own."


def _facts(tuned: Tuned) -> list[tuple[str, str]]:
    search = tuned.search
    densities = densities_of(tuned.experiment, search)
    return [
        ("trials of a rule", f"at most {search.trials}"),
        ("FLOPs of a rule", f"at most {search.limit:g} dense trainings"),
        ("seeds of trials", ", ".join(map(str, search.seeds))),
        ("densities of trials", ", ".join(f"{d:g}" for d in densities) or "by layer"),
        ("sampler", f"{search.sampler}, seed {search.seed}"),
        ("of the optimizer", ", ".join(search.optimizer) or "nothing"),
    ]


# --- default against tuned ---


def _table(tuned: Tuned) -> Table:
    titles = ["rule", "trials", "failed", "cost", "default", "tuned", "gain", "fields"]
    rows = [_row(tuned, one) for one in tuned.rule_spaces]
    return Table(titles, rows, "default against tuned", "results")


def _row(tuned: Tuned, one: RuleSpace) -> Row:
    done, best, metric = tuned.of(one.label), tuned.chosen(one.label), tuned.metric
    failed = sum(trial.score is None for trial in done)
    cells = [
        Cell(str(len(done))),
        Cell(str(failed) if failed else ""),
        Cell(f"{sum(map(tuned.cost, done)):.3g}"),
        Cell(_number(tuned, done[0].score)),
        Cell(_number(tuned, best.score), "main"),
        Cell(_gain(done[0], best, metric)),
        Cell(_changes(one, best), "words"),
    ]
    return Row(one.label, cells, {"label": one.label})


def _number(tuned: Tuned, score: float | None) -> str:
    return "–" if score is None else tuned.metric.number(score)


def _gain(default: Trial, best: Trial, metric: Any) -> str:
    if default.score is None or best.score is None or best.number == default.number:
        return ""
    return metric.difference(best.score - default.score)


def _changes(one: RuleSpace, best: Trial) -> str:
    if best.number == 0:
        return "unchanged"
    changed = ((name, one.before[name], value) for name, value in best.values.items())
    return "; ".join(
        f"{name.removeprefix(OPTIMIZER)} {_text(before)} → {_text(value)}"
        for name, before, value in changed
        if before != value
    )


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# --- curves and fields ---


def _curves(tuned: Tuned) -> Iterator[tuple[str, Inline]]:
    for i, one in enumerate(tuned.rule_spaces):
        done = tuned.of(one.label)
        scores = _scores(done[1:], tuned.metric)
        if len(scores) < 2:
            continue
        random = tuned.search.sampler == "random"
        if not random:
            scores = _scores(done, tuned.metric)
        figure = (drawn.curve if random else drawn.path)(scores, done[0].score, tuned.metric)
        alt = f"Validation {tuned.metric.title} of {one.label} against the number of trials."
        yield one.label, inline(figure, f"c{i}", alt)


def _scores(trials: Sequence[Trial], metric: Any) -> list[float]:
    """Scores of trials; one that may not be chosen counts as the worst that may."""
    known = [t.score for t in trials if t.score is not None and may_be_chosen(t)]
    if not known:
        return []
    worst = max(known) if metric.lower else min(known)
    return [t.score if t.score is not None and may_be_chosen(t) else worst for t in trials]


def _field_table(tuned: Tuned) -> Table:
    titles = ["rule", "field", "tried", "trials", "association"]
    rows = [
        Row(one.label, _field_cells(tuned, one, name), {"label": one.label})
        for one in tuned.rule_spaces
        for name in one.fields
    ]
    return Table(titles, rows, "each field", "results", grouped=True)


def _field_cells(tuned: Tuned, one: RuleSpace, name: str) -> list[Cell]:
    space = one.fields[name]
    done = [t for t in tuned.of(one.label) if t.score is not None]
    strength = association([t.values[name] for t in done], [float(t.score or 0) for t in done])
    tried = ", ".join(map(str, space.choices)) or f"{space.low:.3g} to {space.high:.3g}"
    kind = "η²" if space.choices else "ρ"
    return [
        Cell(name.removeprefix(OPTIMIZER)),
        Cell(tried + (" (log)" if space.log else "")),
        Cell(str(len(done))),
        Cell("–" if strength is None else f"{kind} = {fixed(strength)}"),
    ]


def _panels(tuned: Tuned) -> Iterator[tuple[str, Inline]]:
    for i, one in enumerate(tuned.rule_spaces):
        done = [t for t in tuned.of(one.label) if t.score is not None]
        for j, (name, space) in enumerate(one.fields.items()):
            if len(done) > 1:
                figure = drawn.field(name, space, done, tuned.chosen(one.label), tuned.metric)
                alt = f"Validation {tuned.metric.title} of {one.label} against {name}."
                yield one.label, inline(figure, f"f{i}-{j}", alt)


def _untouched(tuned: Tuned) -> list[str]:
    """Rules of the experiment that had no trials."""
    labels = {one.label for one in tuned.rule_spaces}
    return [entry.label for entry in tuned.experiment.rules if entry.label not in labels]
