"""Where the edges of rules that begin sparse are: the key ``initial`` of an experiment, checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rewire.names import did_you_mean, short
from rewire.rule_budget import budget_of

from ..building import n_train, space_of
from ..config.problems import Problems
from ..config.schema import (
    Experiment,
    is_branch,
    is_dense,
    steps_per_epoch,
    visits_densities,
)

if TYPE_CHECKING:
    from rewire.starts import StartingTopology

TOO_MANY = 2**26  # possible edges: of larger models a topology is tried by the cells alone


def begins_sparse(rule: Any, densities: Sequence[float]) -> bool:
    """Whether a rule that is asked for one of these densities begins with less than every edge."""
    if is_dense(rule) or is_branch(rule) or visits_densities(rule):
        return False
    budget = budget_of(rule)
    return not budget.at_start and any(budget.starts_at(d) < 1 for d in densities)


def initial_table(experiment: Experiment) -> dict[str, Any]:
    """What a cell's config holds of ``initial``; empty for "random"."""
    from rewire.starts import BUILT_IN, named

    start = named(experiment.initial)
    if start is None:
        return {}
    name = next(name for name, cls in BUILT_IN.items() if isinstance(start, cls))
    fields = start.to_table()
    return {"initial": {"name": name, **fields} if fields else name}


def initial_problems(experiment: Experiment, *, can_draw: bool) -> Problems:
    """An unknown topology, one that no rule begins with, or that cannot be had at these counts.

    can_draw: whether the model and the densities are sound, so that it can be tried.
    """
    from rewire.starts import BUILT_IN, named

    initial = experiment.initial
    if initial == "random":
        return Problems()
    try:
        start = named(initial)
    except ValueError as error:
        return Problems([("initial", str(error))])
    if start is None:
        name = initial.get("name") if isinstance(initial, dict) else initial
        known = ["random", *BUILT_IN]
        hint = did_you_mean(str(name), known)
        also = " (the models are drawn anew: they have no zeros, and no trained weights)"
        of_weights = name in ("nonzero", "magnitude")
        hint = also if of_weights else hint
        text = f"there is no topology {short(name)}{hint}; one of {', '.join(known)}"
        return Problems([("initial", text)])
    if not can_draw:
        return Problems()
    problems: dict[str, None] = {}
    counts = list(_counts(experiment))
    if not counts:
        return Problems([("initial", "every rule begins with every edge (Dense, IMP, SNIP): leave "
                          "it out, or add a rule that begins sparse")])  # fmt: skip
    for density, of_projections in counts:
        why = _refusal(experiment, start, of_projections)
        if why is not None:
            at = "" if density is None else f"at density {density:g}: "
            problems[at + why] = None
    return Problems(("initial", text) for text in problems)


def _counts(experiment: Experiment) -> Iterator[tuple[float | None, list[int]]]:
    """The different counts that rules of the experiment begin with, sparse ones alone."""
    from rewire.budget import counts_for

    space, spread = space_of(experiment), experiment.distribution
    spread = "erk" if spread == "imp" else spread
    n, known = n_train(experiment.data), set()
    for entry in experiment.rules:
        rule = entry.build(steps_per_epoch(n, entry.training.batch))
        densities: Sequence[float | None] = experiment.densities or [None]
        for density in densities:
            if not begins_sparse(rule, [0.5 if density is None else density]):
                continue
            start = None if density is None else budget_of(rule).starts_at(density)
            counts = counts_for(space, start, spread)
            if tuple(counts) not in known:
                known.add(tuple(counts))
                yield start, counts


def _refusal(experiment: Experiment, start: StartingTopology, counts: list[int]) -> str | None:
    """Why the topology cannot be had; None where it can, or where it is too large to try."""
    from rewire.limits import from_tables, limited

    space = space_of(experiment)
    if space.possible > TOO_MANY:
        return None
    limits = from_tables(experiment.limits)
    try:
        start.graph(limited(space, limits) if limits else space, counts, experiment.seeds[0])
    except ValueError as error:
        return str(error)
    return None
