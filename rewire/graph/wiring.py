"""What joins populations besides synapses: sums, concatenations, flattenings, dense layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .following import Pass
from .program import Program, indices, ranges_of


@dataclass(frozen=True)
class Joint:
    """Units that no projection ends at: a sum, a concatenation, a network's input or output."""

    name: str
    size: int


@dataclass(frozen=True, eq=False)
class Link:
    """Units whose values pass on without a weight of the graph.

    Unit ``pre[k]`` of ``source`` to unit ``post[k]`` of ``target``, both (k,) int64; the two are
    names of populations or joints.
    """

    source: str
    target: str
    pre: np.ndarray
    post: np.ndarray

    @property
    def one_to_one(self) -> bool:
        """Whether unit i passes on to unit i alone, for all of them."""
        return np.array_equal(self.pre, self.post) and np.array_equal(
            self.pre, np.arange(len(self.pre))
        )


@dataclass(frozen=True, eq=False)
class Wiring:
    """How a model joins its populations.

    joints: the groups of units that are no population. inputs, outputs: names of the populations or
    joints where the network begins and ends.
    program: the steps of a forward pass that all this was read from, with their geometry; None
    where somebody else says what joins what.
    """

    joints: Sequence[Joint] = ()
    links: Sequence[Link] = ()
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    program: Program | None = None

    @property
    def unknown(self) -> tuple[str, ...]:
        """Operations of the model that could not be followed; nothing joins what they join."""
        return self.program.unknown if self.program is not None else ()

    def plain(self) -> dict[str, Any]:
        """As JSON: the program alone where there is one, which all else is read from.

        >>> one_to_one = Link("a", "b", np.arange(3), np.arange(3))
        >>> Wiring(links=[one_to_one], inputs=["a"], outputs=["b"]).plain()["links"]
        [['a', 'b', [[0, 1, 3]], [[0, 1, 3]]]]
        """
        if self.program is not None:
            return {"program": self.program.plain()}
        return {
            "joints": [[j.name, j.size] for j in self.joints],
            "links": [
                [k.source, k.target, ranges_of(k.pre.tolist()), ranges_of(k.post.tolist())]
                for k in self.links
            ],
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
        }


def traced_wiring(space: Any, program: Program) -> Wiring:
    """How a program joins the populations of a :class:`Space` whose weights it multiplies by."""
    units = Pass.of(space, program)
    joints, links, inputs, outputs = units.joined()
    return Wiring(
        tuple(Joint(*joint) for joint in joints),
        tuple(Link(*link) for link in links),
        inputs,
        outputs,
        program,
    )


def wiring_from_plain(space: Any, tree: Mapping[str, Any]) -> Wiring:
    """The wiring that :meth:`Wiring.plain` wrote, of this space. Raises ValueError for a damaged
    one."""
    if "program" in tree:
        return traced_wiring(space, Program.from_plain(tree["program"]))
    return Wiring(
        tuple(Joint(name, size) for name, size in tree["joints"]),
        tuple(
            Link(source, target, indices(pre).numpy(), indices(post).numpy())
            for source, target, pre, post in tree["links"]
        ),
        tuple(tree["inputs"]),
        tuple(tree["outputs"]),
    )
