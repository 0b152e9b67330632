"""What in a user's Synapses would not stay as it is where empty slots are added to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

COUNTS = ("N", "N_incoming", "N_outgoing")  # of synapses: empty slots are among them


def refuse_what_padding_changes(synapses: Any) -> None:
    """Raise ValueError, by name, for code of Synapses to which an empty slot is not nothing.

    Event-driven code is never run for one. What runs over all synapses at every time step is
    allowed where it only moves the synapses' own variables; for sums see :func:`refuse_sums`.
    """
    name = synapses.name
    for pathway in synapses._pathways:
        if pathway.event != "spike":
            raise ValueError(
                f"pathway {pathway.objname!r} of {name!r} follows the event {pathway.event!r}, and "
                "rules see spikes: use on_pre and on_post."
            )
    for what, code in _codes(synapses):
        counted = set(re.findall(r"\b\w+\b", code)) & set(COUNTS)
        if counted:
            raise ValueError(
                f"{what} of {name!r} reads {sorted(counted)[0]!r}, which would count empty slots: "
                "write the number itself."
            )
    drawing = any(_draws(e.expr.code) for e in synapses.equations.values() if e.expr is not None)
    if drawing or synapses.equations.stochastic_variables:
        raise ValueError(
            f"an equation of {name!r} draws random numbers for all synapses at every time step, "
            "and would for empty slots: let the neurons have the noise."
        )
    known = {synapses.state_updater, synapses.subexpression_updater, *synapses._pathways,
             *synapses.summed_updaters.values()}  # fmt: skip
    for runner in synapses.contained_objects:
        if runner not in known:
            _refuse_runner(synapses, runner)


def _codes(synapses: Any, *, of_spikes: bool = True) -> Iterator[tuple[str, str]]:
    """All that a run evaluates, or that it does without a spike: what it is, and its code."""
    for pathway in synapses._pathways if of_spikes else ():
        yield f"pathway {pathway.objname!r}", pathway.code
    for equation in synapses.equations.values():
        if equation.expr is not None:
            yield f"the equation of {equation.varname!r}", equation.expr.code
    for runner in synapses.contained_objects:
        code = getattr(runner, "abstract_code", None)
        if isinstance(code, str) and runner not in synapses._pathways:
            yield f"{runner.name!r}", code


def _draws(code: str) -> bool:
    """Whether code calls a function of chance."""
    return not {"rand", "randn", "poisson"}.isdisjoint(re.findall(r"\b\w+(?=\()", code))


def _assignments(code: str) -> Iterator[str]:
    """Names of the variables that lines of Brian2 code assign to."""
    for line in re.split(r"[;\n]", code):
        if match := re.match(r"\s*(\w+)\s*(\*\*|//|[-+*/%])?=(?!=)", line):
            yield match[1]


def writes_to(synapses: Any, variable: str, *, of_spikes: bool = True) -> str | None:
    """What of the synapses' own code changes a variable, or does so without a spike; or None."""
    driven = synapses.event_driven if of_spikes else None
    moving = set(synapses.equations.diff_eq_names) | set(() if driven is None else driven)
    if variable in moving:
        return f"the equation of {variable!r}"
    codes = _codes(synapses, of_spikes=of_spikes)
    return next((what for what, code in codes if variable in _assignments(code)), None)


def refuse_sums(synapses: Any, weight: str | None) -> None:
    """Raise ValueError for a sum into neurons to which an empty slot, of weight 0, would add."""
    from brian2.parsing.sympytools import str_to_sympy

    for variable, updater in synapses.summed_updaters.items():
        code = updater.expression.code
        if weight is None or _value_at_zero(str_to_sympy(code), weight) != 0:
            raise ValueError(
                f"{synapses.name!r} sums {code!r} into {variable!r} over all synapses, which an "
                "empty slot would add to: let it be 0 where the weight is, as "
                "'w * s : 1 (summed)' is."
            )
        if (what := writes_to(synapses, weight, of_spikes=False)) is not None:
            raise ValueError(
                f"{what} of {synapses.name!r} changes {weight!r} in all synapses at any time, in "
                f"empty slots too, which are then summed into {variable!r}: let spikes change it, "
                "in on_pre or on_post."
            )


def _value_at_zero(expression: Any, weight: str) -> Any:
    symbols = {s.name: s for s in expression.free_symbols}
    return expression.subs(symbols[weight], 0) if weight in symbols else expression


def _refuse_runner(synapses: Any, runner: Any) -> None:
    """Code that is run regularly may move the synapses' own variables, without chance."""
    code = getattr(runner, "abstract_code", None)
    if code is not None and getattr(runner, "when", None) is not None:
        outside = [
            v for v in _assignments(code)
            if v in synapses.variables and synapses.variables.indices[v] != "_idx"
        ]  # fmt: skip
        if not outside and not _draws(code):
            return
    raise ValueError(
        f"{runner.name!r} of {synapses.name!r} runs over all synapses, and draws random numbers or "
        "writes into neurons there: empty slots would take part."
    )
