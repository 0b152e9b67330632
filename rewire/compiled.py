"""Rules as programs without Python carry them out: what each hands over, and takes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .kernels.random import intervals
from .streams import Stream

if TYPE_CHECKING:
    from .graph import Graph
    from .when import Clock

State = Mapping[str, Any]
Numbers = Sequence[Any] | np.ndarray  # whole numbers where all are, else float64


@dataclass(frozen=True)
class Ahead:
    """What is known of a run before it begins.

    graph, state, clock: at the start. clocks: of the ticks at which the rule is due. stream:
    random numbers of the tick of a clock. clipped: a weight as the world would hold it. ranges:
    numbers of the neurons of these populations among those that spike, (k, 2). place: the end of
    the synapses at which the rate of a population's units is looked at, and where its first unit is
    among the neurons there.
    """

    graph: Graph
    state: State
    clock: Clock
    clocks: Sequence[Clock]
    stream: Callable[[Clock], Stream]
    clipped: Callable[[float], float]
    ranges: Callable[[tuple[str, ...]], np.ndarray]
    place: Callable[[str], tuple[int, int]]

    @property
    def keys(self) -> np.ndarray:
        """The keys of the streams of all ticks, lower half first, (2 * ticks,) uint64."""
        keys = [self.stream(clock).key for clock in self.clocks]
        return np.array([half for key in keys for half in (key % 2**64, key >> 64)], np.uint64)

    def newborn(self, weight: float) -> list[float]:
        """The weight of a new synapse; 0: what the graph's say, which is one for all."""
        return [self.clipped(weight or float(self.graph.births["weight"]))]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Compiled:
    """A rule that programs carry out: as the class of its name in rewire/native/standalone.

    settings: the arrays that its constructor there reads, in its order. state: what the rule
    remembers after the run, from the arrays that the class writes down; None: what it did before.
    rates: populations of whose units it reads the rates. not_compiled: what of it is not carried
    out so, parts of a sentence.
    """

    settings: Callable[[Ahead], list[Numbers]]
    state: Callable[[Ahead, list[np.ndarray]], State] | None = None
    rates: tuple[str, ...] = ()
    not_compiled: Sequence[str] = ()


def normals(noisy: bool) -> np.ndarray:
    """The table of normal numbers as float64, which holds it exactly; none for a rule without."""
    return intervals().astype(np.float64).ravel() if noisy else np.empty(0)


def compiled_of(rule: Any, space: Any) -> Compiled | None:
    """The rule as programs carry it out: what the method ``compiled`` of its class returns.

    None where the class has none of its own, as one that a user makes of a compiled one: nobody
    knows what it changes.
    """
    return rule.compiled(space) if "compiled" in vars(type(rule)) else None


def compiled_names(of: type) -> list[str]:
    """Names of the classes made of one, of which programs know a form.

    >>> from rewire import Rule, rules
    >>> compiled_names(Rule)
    ['DeepR', 'HomeostaticGrowth', 'SET', 'StructuralPlasticity']
    """
    parts: list[type] = of.__subclasses__()
    own = {part.__name__ for part in parts if "compiled" in vars(part)}
    return sorted(own.union(*map(compiled_names, parts)))
