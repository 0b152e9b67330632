"""What a new synapse carries besides its weight: traces, parameters and delays.

Brian2 keeps all of it in arrays with one number for each synapse, and a slot that comes from
another neuron would keep those of the synapse that it held before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

Birth: TypeAlias = "Any | Callable[[np.ndarray, np.ndarray], Any]"


class Births:
    """The values of a new synapse: the variables that follow differential equations (clock-driven
    or event-driven), the parameters, and the delays of each pathway that has one a synapse.

    synapses: connected Brian2 Synapses.
    weight:   name of the weight, which is the rule's to say.
    births:   name -> number, Quantity or function ``(pre, post) -> (k,)`` of the numbers of the
              neurons, (k,) int64, in the synapses' source and target group; a plain number is in
              SI units. "delay" is that of the pathway "pre", "NAME.delay" that of another.
    filled:   (N,) which synapses are in use now.

    What ``births`` does not name: a variable with a differential equation starts at 0; a parameter
    or delay at the value that all synapses in use share now.

    Raises ValueError for names and units that do not fit, and where the synapses in use differ (or
    an equation's variable stands at another value than 0 in all of them), so that a value must be
    named.
    """

    def __init__(
        self, synapses: Any, weight: str | None, births: Mapping[str, Birth], filled: np.ndarray
    ):
        self._synapses = synapses
        self._variables = {name: synapses.variables[name] for name in equations_of(synapses)}
        parameters = _parameters_of(synapses) - {weight}
        self._variables |= {name: synapses.variables[name] for name in sorted(parameters)}
        self._delayed = {
            _delay_name(pathway): pathway
            for pathway in synapses._pathways
            if not pathway._delays.scalar
        }
        self._variables |= {name: p._delays for name, p in self._delayed.items()}
        self._refuse_unknown(births, weight)
        self._born = {
            name: _checked(name, births[name], variable)
            if name in births
            else self._default(name, variable, filled)
            for name, variable in self._variables.items()
        }
        self._try_functions(filled)
        self.look()

    @property
    def values(self) -> dict[str, Birth]:
        """What each variable starts at: a number in SI units, or the function that was given."""
        return dict(self._born)

    def look(self) -> None:
        """Take hold of the arrays, which are views into Brian2's own."""
        self._arrays = {name: v.get_value() for name, v in self._variables.items()}
        last = self._synapses.variables.get("lastupdate")
        self._last_update = None if last is None else last.get_value()

    @property
    def delays(self) -> dict[str, np.ndarray]:
        """The delays of the pathways that have one for each synapse, (N,) seconds, as births name
        them."""
        return {name: self._arrays[name] for name in self._delayed}

    @property
    def any(self) -> bool:
        """Whether a synapse carries anything besides its weight."""
        return bool(self._arrays) or self._last_update is not None

    def give(self, slots: np.ndarray, pre: np.ndarray, post: np.ndarray) -> list[Any]:
        """Let synapses, (k,) numbers, be new ones of these pairs of neurons, (k,).

        Returns the pathways in which a delay has changed.
        """
        delayed = []
        for name, array in self._arrays.items():
            born = self._born[name]
            values = self._computed(name, pre, post) if callable(born) else born
            pathway = self._delayed.get(name)
            if pathway is not None and np.any(array[slots] != values):
                delayed.append(pathway)
            array[slots] = values
        if self._last_update is not None:
            self._last_update[slots] = self._synapses.clock.t_
        return delayed

    def empty(self, slots: np.ndarray) -> None:
        """Let slots hold no synapse: what follows differential equations rests at 0."""
        for name in equations_of(self._synapses):
            self._arrays[name][slots] = 0

    def _computed(self, name: str, pre: np.ndarray, post: np.ndarray) -> np.ndarray:
        values = _checked(name, self._born[name](pre, post), self._variables[name])
        if np.shape(values) not in ((), pre.shape):
            raise ValueError(
                f"births[{name!r}] gave an array of shape {np.shape(values)} for {len(pre)} pairs: "
                "return one number for each, or one for all."
            )
        return np.broadcast_to(values, pre.shape)

    def _try_functions(self, filled: np.ndarray) -> None:
        """Find out before step 0 whether the functions give what fits."""
        synapses = self._synapses
        rows = np.flatnonzero(filled)
        rows = rows if len(rows) else np.arange(min(1, len(filled)))
        pre, post = (
            synapses.variables[name].get_value()[rows].astype(np.int64) - group.start
            for name, group in (("_synaptic_pre", synapses.source),
                                ("_synaptic_post", synapses.target))
        )  # fmt: skip
        for name, born in self._born.items():
            if callable(born):
                self._computed(name, pre, post)

    def _refuse_unknown(self, births: Mapping[str, Birth], weight: str | None) -> None:
        synapses = self._synapses
        for name in births:
            if name == weight:
                raise ValueError(
                    f"births names the weight, {name!r}, which a new synapse has from its rule: "
                    "set the rule's field birth, or Wiring's birth=."
                )
            if name in self._variables:
                continue
            shared = {_delay_name(p) for p in synapses._pathways if p._delays.scalar}
            if name in shared:
                raise ValueError(
                    f"births names {name!r}, but all synapses of {synapses.name!r} share that "
                    "delay: leave delay= out of Synapses(...), and set it after connect()."
                )
            raise ValueError(
                f"births names {name!r}, which {synapses.name!r} does not have for each synapse; "
                f"it has {sorted(self._variables)}."
            )

    def _default(self, name: str, variable: Any, filled: np.ndarray) -> Any:
        """Of what nobody names: 0 where an equation moves it, else what all synapses share."""
        held = variable.get_value()
        held = held[filled] if filled.any() else held
        lowest, highest = (held.min(), held.max()) if len(held) else (0, 0)
        moves = name in equations_of(self._synapses)
        if moves and (lowest == 0 or lowest != highest):
            return 0
        if not moves and lowest == highest:
            return lowest.item() if isinstance(lowest, np.generic) else lowest
        what = "a new one would start at 0" if moves else "nothing says which a new one has"
        spread = f"from {lowest:.6g} to {highest:.6g}" if lowest != highest else f"at {lowest:.6g}"
        raise ValueError(
            f"{name!r} of {self._synapses.name!r} stands {spread} in its synapses, and {what}: "
            f"say births={{{name!r}: VALUE}}, or a function of the pair, lambda pre, post: VALUES."
        )


def equations_of(synapses: Any) -> list[str]:
    """Variables that follow differential equations, clock-driven or event-driven."""
    driven = synapses.event_driven
    names = set(synapses.equations.diff_eq_names)
    return sorted(names | (set() if driven is None else set(driven.diff_eq_names)))


def _parameters_of(synapses: Any) -> set[str]:
    """Parameters with one value for each synapse, but for those that Brian2 computes itself."""
    updater = synapses.subexpression_updater  # of what is "constant over dt", line by line
    lines = [] if updater is None else updater.abstract_code.splitlines()
    computed = {line.partition("=")[0].strip() for line in lines}
    return (
        {
            name
            for name in synapses.equations.parameter_names
            if name in synapses.variables
            and not synapses.variables[name].scalar
            and synapses.variables.indices[name] == "_idx"
        }
        - computed
        - {"lastupdate"}
    )


def _delay_name(pathway: Any) -> str:
    return "delay" if pathway.objname == "pre" else f"{pathway.objname}.delay"


def in_base_units(what: str, value: Any, dimensions: Any) -> Any:
    """A number, an array or a Quantity as plain numbers in SI units.

    Raises ValueError for a Quantity of other dimensions than those.
    """
    from brian2.units.fundamentalunits import (
        DIMENSIONLESS,
        Quantity,
        get_unit,
        have_same_dimensions,
    )

    if isinstance(value, Quantity) and not have_same_dimensions(value.dim, dimensions):
        of = "no unit" if dimensions is DIMENSIONLESS else f"the unit {get_unit(dimensions)}"
        raise ValueError(f"{what} is {value}, but the variable has {of}.")
    return np.asarray(value)[()]


def _checked(name: str, value: Birth, variable: Any) -> Any:
    """A value in SI units that the variable can hold; functions are as they are."""
    if callable(value):
        return value
    plain = in_base_units(f"births[{name!r}]", value, variable.dim)
    lower = 0 if variable.name == "delay" else -np.inf
    if not (np.all(np.isfinite(plain)) and np.all(plain >= lower)):
        raise ValueError(
            f"births[{name!r}] must be finite{' and 0 or more' if lower == 0 else ''}, got {value}."
        )
    return plain
