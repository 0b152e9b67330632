"""Branches of a ticket: trained anew from a finished run with one thing changed, each a class.

An experiment plans a cell for each of them behind the cell that it branches off; ``rewire branch``
adds one to a finished run. What each does is a function of :mod:`rewire.branches`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ..graph import Graph
from ..rule import Rule
from ..rule_budget import Kept, budget_of
from ..strategy import Plain
from ..streams import Stream
from . import operations

TICKETS = """
@inproceedings{frankle2019lottery,
  title = {The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks},
  author = {Frankle, Jonathan and Carbin, Michael},
  booktitle = {International Conference on Learning Representations},
  eprint = {1803.03635},
  archiveprefix = {arXiv},
  year = {2019},
}
"""
EARLY = """
@inproceedings{frankle2020early,
  title = {The Early Phase of Neural Network Training},
  author = {Frankle, Jonathan and Schwab, David J. and Morcos, Ari S.},
  booktitle = {International Conference on Learning Representations},
  eprint = {2002.10365},
  archiveprefix = {arXiv},
  year = {2020},
}
"""
REWINDING = """
@inproceedings{renda2020comparing,
  title = {Comparing Rewinding and Fine-tuning in Neural Network Pruning},
  author = {Renda, Alex and Frankle, Jonathan and Carbin, Michael},
  booktitle = {International Conference on Learning Representations},
  eprint = {2003.02389},
  archiveprefix = {arXiv},
  year = {2020},
}
"""
MODES = """
@inproceedings{frankle2020linear,
  title = {Linear Mode Connectivity and the Lottery Ticket Hypothesis},
  author = {Frankle, Jonathan and Dziugaite, Gintare Karolina and Roy, Daniel M. and
    Carbin, Michael},
  booktitle = {International Conference on Machine Learning},
  eprint = {1912.05671},
  archiveprefix = {arXiv},
  year = {2020},
}
"""
TRANSFERS = """
@inproceedings{morcos2019one,
  title = {One ticket to win them all: generalizing lottery ticket initializations across datasets
    and optimizers},
  author = {Morcos, Ari S. and Yu, Haonan and Paganini, Michela and Tian, Yuandong},
  booktitle = {Advances in Neural Information Processing Systems},
  eprint = {1906.02773},
  archiveprefix = {arXiv},
  year = {2019},
}
"""

Origin = Literal["initial", "early", "fresh"]


@dataclass(frozen=True, eq=False)
class Ticket:
    """What a finished run left, for a branch to start from.

    graph:   its edges.
    initial: weights of the initialisation at every possible synapse, (possible,).
    early:   those of the step that it rewinds to; the initialisation where it rewinds to step 0.
    fresh:   those of another initialisation.
    final:   those at the end of the dense training, where there was one.
    other:   the edges of another ticket, where the branch names one.
    """

    graph: Graph
    initial: Tensor | None = None
    early: Tensor | None = None
    fresh: Tensor | None = None
    final: Tensor | None = None
    other: Graph | None = None

    def weights(self, origin: str, graph: Graph) -> Tensor:
        """The weights of that origin at the edges of a graph, (E,)."""
        values = getattr(self, origin)
        if values is None:
            raise ValueError(f"this ticket has kept no {origin} weights.")
        return values[graph.keys]


@dataclass(frozen=True, kw_only=True)
class Branch(Plain):
    """No rule, but a training that starts from a ticket: its edges by :meth:`mask`, its weights by
    :meth:`weights`, and everything else (biases, buffers, schedule, order of data) from ``begins``.

    begins: "fresh", another initialisation, at step 0; "early", the state that the ticket rewinds
        to, at that step; "end", the end of the dense training.
    moments: whether the optimiser's state of that step is kept; it is not where weights change.
    restores: whether a branch from the "end" takes back the schedule of the rate and the data.
    asks_dense: whether it asks for a ticket that began as a dense training.
    pretrains: whether its weights come from another task, before anything else.
    copies: whether it copies what it branches off, which may then be a dense training, and trains
        as that does.
    kept: how many edges it has, compared with the ticket: "exact" as many, or "reported".
    data: the name of another data set to train on, where it is about that.
    other: the label of a second rule whose ticket it takes, where it is about two.
    """

    kind: ClassVar[str] = "branch"
    begins: ClassVar[Literal["fresh", "early", "end"]] = "early"
    moments: ClassVar[bool] = False
    restores: ClassVar[bool] = True
    asks_dense: ClassVar[bool] = False
    pretrains: ClassVar[bool] = False
    copies: ClassVar[bool] = False
    kept: ClassVar[Kept] = "exact"
    data: ClassVar[str] = ""
    other: ClassVar[str] = ""

    @property
    def at_last_rate(self) -> bool:
        """Whether it trains on at the learning rate of the dense training's last step."""
        return self.begins == "end" and not self.restores

    @property
    def once(self) -> bool:
        """Whether it is the same at all densities of a ticket, and trained once for all."""
        return False

    @property
    def anywhere(self) -> bool:
        """Whether every world that can rewind can start it: its weights are fresh, or just those
        that the ticket was trained from."""
        return self.begins == "fresh" or (self.moments and not self.asks_dense)

    def starts_at(self, rule: Rule) -> int:
        """The step that it begins at of what ``rule`` left: the one that the rule rewinds to."""
        return max(rule.saves, default=0)

    def keeps_moments(self, rule: Rule) -> bool:
        """Whether the optimiser goes on from that step's moments, as the ticket of ``rule`` did."""
        return self.moments and getattr(rule, "optimiser", "rewound") == "rewound"

    def mask(self, ticket: Ticket, rng: Stream) -> Graph:
        """The edges to train: the ticket's, unless the branch is about them."""
        return ticket.graph

    def weights(self, ticket: Ticket, graph: Graph, rng: Stream) -> Tensor:
        """The weights of those edges to start from, (E,)."""
        origin = {"fresh": "fresh", "early": "early", "end": "final"}[self.begins]
        return ticket.weights(origin, graph)

    def unfit(self, rule: Rule) -> str | None:
        """Why this cannot branch off what ``rule`` left, or None."""
        if self.asks_dense and not budget_of(rule).visits:
            return f"needs the end of a dense training, which {rule.name} does not begin with"
        return None


@dataclass(frozen=True, kw_only=True)
class RandomReinit(Branch):
    """The control of Frankle & Carbin (2019, arXiv:1803.03635, section 2): a ticket's mask with
    fresh weights, trained as the ticket was.

    A branch: an experiment starts it from the masks of a finished IMP cell. In a loop of your
    own, attach ``Static()`` to a new model with ``initial=<the ticket's graph>``.
    """

    source: ClassVar[str] = "Frankle & Carbin 2019, arXiv:1803.03635"
    bibtex: ClassVar[str] = TICKETS
    begins: ClassVar[Literal["fresh", "early", "end"]] = "fresh"


@dataclass(frozen=True, kw_only=True)
class RandomMask(Branch):
    """The ticket's weights at random positions: a control for the positions of its edges.

    scope: "layer" keeps the ticket's count in each layer, "global" only the total, "even" gives
        each layer the same density (the controls of Frankle et al. 2021, arXiv:2009.08576).
    """

    source: ClassVar[str] = "Frankle & Carbin 2019, arXiv:1803.03635"
    bibtex: ClassVar[str] = TICKETS
    moments: ClassVar[bool] = True

    scope: operations.MaskScope = "layer"

    def mask(self, ticket: Ticket, rng: Stream) -> Graph:
        return operations.random_mask(ticket.graph, rng, self.scope)


@dataclass(frozen=True, kw_only=True)
class RandomTicket(RandomMask):
    """Random positions and fresh weights: only the ticket's numbers of edges are kept.

    scope: as of `RandomMask`.
    """

    begins: ClassVar[Literal["fresh", "early", "end"]] = "fresh"
    moments: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class OneShot(Branch):
    """Prune the trained dense network once, to the ticket's number of edges, then rewind.

    scope: "global" ranks all |w| together; "layer" keeps the ticket's count in each layer.
    """

    source: ClassVar[str] = "Frankle & Carbin 2019, arXiv:1803.03635"
    bibtex: ClassVar[str] = TICKETS
    moments: ClassVar[bool] = True
    asks_dense: ClassVar[bool] = True

    scope: Literal["global", "layer"] = "global"

    def mask(self, ticket: Ticket, rng: Stream) -> Graph:
        of, final = ticket.graph, ticket.weights("final", Graph.full(ticket.graph.space))
        counts = len(of) if self.scope == "global" else of.counts().tolist()
        return operations.one_shot(of.space, final, counts)


@dataclass(frozen=True, kw_only=True)
class FineTune(Branch):
    """The ticket's mask on the dense training's last weights, trained on at the last learning rate.

    A whole training more; moments start at 0, the order of data goes on. The schedule's factor at
    the dense training's last step holds throughout; one that leaves no rate there (a cosine) is
    refused. Iterative pruning with fine-tuning in every round is ``IMP(restore="nothing")``.
    """

    source: ClassVar[str] = "Renda, Frankle & Carbin 2020, arXiv:2003.02389"
    bibtex: ClassVar[str] = REWINDING
    begins: ClassVar[Literal["fresh", "early", "end"]] = "end"
    restores: ClassVar[bool] = False
    asks_dense: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class RateRewind(FineTune):
    """As `FineTune`, but the learning rate's schedule and the order of data go back to the rewind.

    Without a schedule of the learning rate the two differ in their number of steps alone (and not
    at all where the ticket rewinds to step 0).
    """

    restores: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class Signs(Branch):
    """Magnitudes of one origin with the signs of another (Frankle et al. 2020, arXiv:2002.10365,
    section 5): "initial", "early" (the step of the rewind) or "fresh".

    The default keeps the ticket's signs and draws its magnitudes anew.
    """

    source: ClassVar[str] = "Frankle, Schwab & Morcos 2020, arXiv:2002.10365"
    bibtex: ClassVar[str] = EARLY

    magnitudes: Origin = "fresh"
    signs: Origin = "early"

    def weights(self, ticket: Ticket, graph: Graph, rng: Stream) -> Tensor:
        sizes, signs = (ticket.weights(o, graph) for o in (self.magnitudes, self.signs))
        return operations.signed(sizes, signs)


@dataclass(frozen=True, kw_only=True)
class Shuffle(Branch):
    """The ticket's weights permuted among its edges (Frankle et al. 2020, arXiv:2002.10365, section
    5).

    scope: within the "network", each "layer" or each "filter" (a unit's incoming edges).
    """

    source: ClassVar[str] = "Frankle, Schwab & Morcos 2020, arXiv:2002.10365"
    bibtex: ClassVar[str] = EARLY

    scope: operations.ShuffleScope = "layer"

    def weights(self, ticket: Ticket, graph: Graph, rng: Stream) -> Tensor:
        return operations.shuffled(graph, ticket.weights("early", graph), rng, self.scope)


@dataclass(frozen=True, kw_only=True)
class WeightNoise(Branch):
    """The ticket's weights plus Gaussian noise, then trained.

    times: how many standard deviations (0.5, 1, 2 and 3 are usual).
    sigma: of what: the layer's "initial" weights over all possible synapses (Frankle & Carbin), or
        the "change" w_k - w_0 of its edges (the Early Phase), for tickets that rewind to a
        step k above 0.
    dense: the same noise on the dense network instead, to compare with.
    """

    source: ClassVar[str] = "Frankle, Schwab & Morcos 2020, arXiv:2002.10365"
    bibtex: ClassVar[str] = EARLY

    times: float = 1.0
    sigma: Literal["initial", "change"] = "initial"
    dense: bool = False

    def __post_init__(self) -> None:
        if not self.times >= 0:
            raise ValueError(f"WeightNoise.times is a number from 0 up, got {self.times}.")

    @property
    def once(self) -> bool:
        return self.dense

    def mask(self, ticket: Ticket, rng: Stream) -> Graph:
        return Graph.full(ticket.graph.space) if self.dense else ticket.graph

    def weights(self, ticket: Ticket, graph: Graph, rng: Stream) -> Tensor:
        early, full = ticket.weights("early", graph), Graph.full(graph.space)
        if self.sigma == "initial":
            spread = operations.spread_of(full, ticket.weights("initial", full))[graph.keys]
        else:
            spread = operations.spread_of(graph, early - ticket.weights("initial", graph))
        return operations.noisy(early, self.times * spread, rng)

    def unfit(self, rule: Rule) -> str | None:
        if self.sigma == "change" and not max(rule.saves, default=0):
            return f"needs a rewind above 0: at step 0 the weights of {rule.name} have not changed"
        return super().unfit(rule)


@dataclass(frozen=True, kw_only=True)
class Pretrained(Branch):
    """The ticket's mask on weights that were trained on another task from the same initialisation
    (Frankle et al. 2020, arXiv:2002.10365, section 6).

    task: "blurred" inputs, "random_labels" (drawn once), or "rotation": by which of 0, 90, 180 and
        270 degrees was the image turned; its four outputs are the first four, and the output layer
        goes back to its initialisation.
    steps: of that task, dense, with the experiment's optimiser; None: up to the ticket's rewind.
    """

    source: ClassVar[str] = "Frankle, Schwab & Morcos 2020, arXiv:2002.10365"
    bibtex: ClassVar[str] = EARLY
    pretrains: ClassVar[bool] = True

    task: Literal["blurred", "random_labels", "rotation"] = "blurred"
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"Pretrained.steps is 1 or more, got {self.steps}.")

    def unfit(self, rule: Rule) -> str | None:
        if self.steps is None and not max(rule.saves, default=0):
            return f"needs steps=, since {rule.name} goes back to step 0"
        return super().unfit(rule)


@dataclass(frozen=True, kw_only=True)
class Sibling(Branch):
    """A second copy of a training with other SGD noise, from the same state: another order of the
    examples, other augmentation, other dropout (instability analysis, Frankle et al. 2020,
    arXiv:1912.05671, algorithm 1).

    Of a rule with tickets: each ticket again from the state that it was rewound to. Of the dense
    training (``of = "Dense"``): the network again from its state at ``step``. All else is kept:
    mask, weights, moments, buffers, schedule. ``rewire barrier`` measures the error on the line
    between the two.

    step: of a dense training: where the copies part; 0 is the initialisation.
    noise: which sample of noise: 1, 2, ... are as many copies.
    """

    source: ClassVar[str] = "Frankle et al. 2020, arXiv:1912.05671"
    bibtex: ClassVar[str] = MODES
    moments: ClassVar[bool] = True
    copies: ClassVar[bool] = True

    step: int = 0
    noise: int = 1

    def __post_init__(self) -> None:
        if self.step < 0 or self.noise < 1:
            raise ValueError(
                "Sibling.step is 0 or more, and Sibling.noise, the number of the copy, 1 or more: "
                f"got step={self.step}, noise={self.noise}."
            )

    def starts_at(self, rule: Rule) -> int:
        return self.step or super().starts_at(rule)

    def unfit(self, rule: Rule) -> str | None:
        if rule.name == "Dense":
            return None
        if not (budget_of(rule).visits and rule.saves):
            return (
                "copies the dense training, or tickets that were rewound, whose edges stay: "
                f"{rule.name} leaves no state to start a copy from"
            )
        if self.step:
            return f"takes no step= of tickets: their copies start where {rule.name} rewinds to"
        return None


@dataclass(frozen=True, kw_only=True)
class Transfer(Branch):
    """The ticket on another data set: mask and weights of one, trained and tested on the other
    (Morcos et al. 2019, arXiv:1906.02773).

    data: its name; it must have as many inputs and classes. Compare with: a ticket found on that
        data set, and `RandomTicket` there.
    """

    source: ClassVar[str] = "Morcos et al. 2019, arXiv:1906.02773"
    bibtex: ClassVar[str] = TRANSFERS

    data: str = ""  # type: ignore[misc]


@dataclass(frozen=True, kw_only=True)
class MaskAlgebra(Branch):
    """The union or intersection of two tickets, or the complement of one, with the ticket's
    weights.

    operation: "union" or "intersection" with the ticket of the rule labelled ``other``, at the
        same density asked for; "complement": all edges that the ticket does not have.

    The resulting density is reported. `rewire.analysis.overlap` compares the shared edges with
    chance.
    """

    source: ClassVar[str] = "control: masks as sets"
    kept: ClassVar[Kept] = "reported"

    operation: Literal["union", "intersection", "complement"] = "complement"
    other: str = ""  # type: ignore[misc]

    def __post_init__(self) -> None:
        if (self.operation == "complement") == bool(self.other):
            raise ValueError(
                "MaskAlgebra's union and intersection take other=, the label of a second rule with "
                "tickets; its complement takes none."
            )

    def mask(self, ticket: Ticket, rng: Stream) -> Graph:
        if self.operation == "complement":
            return operations.complement(ticket.graph)
        if ticket.other is None:
            raise ValueError(f"MaskAlgebra: no ticket of {self.other!r} was given.")
        combine = operations.union if self.operation == "union" else operations.intersection
        return combine(ticket.graph, ticket.other)
