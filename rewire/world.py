"""What a world is: where the weights live, and all that a session asks of it.

A world of one's own is a subclass of :class:`World` with a name, a space and three methods; what
else it can do it says by overriding one more member. What it cannot do a session refuses before
the first step, by the names of the rule and the world.

>>> import torch, rewire
>>> class Shrinking(rewire.World):
...     name = "shrinking"
...
...     def __init__(self, space):
...         self.space, self.weight = space, torch.ones(space.possible)
...
...     def begin(self, graph):  # hold these edges
...         self.weight = torch.zeros(self.space.possible)
...         self.weight[graph.keys] = graph["weight"]
...
...     def read(self, graph):  # their weights now
...         return graph.with_columns({"weight": self.weight[graph.keys]})
...
...     def step(self, graph):  # one step of the world's own
...         self.weight *= 0.5
>>> units = [rewire.Population("in", 6), rewire.Population("out", 4)]
>>> weight = rewire.Projection("weight", "in", "out", "linear", (4, 6))
>>> world = Shrinking(rewire.Space(units, [weight]))
>>> start = rewire.Graph(world.space, torch.arange(12))
>>> session = rewire.Session(world, start, rewire.SET(fraction=0.25, when=rewire.every(2)))
>>> for _ in range(2):
...     session.step()
>>> session.graph["weight"].unique().tolist()  # newborns, and those that shrank twice
[0.0, 0.25]
>>> rewire.Session(world, start, rewire.RigL(), span=10)  # doctest: +ELLIPSIS
Traceback (most recent call last):
ValueError: RigL needs the signal 'growth', which the shrinking world does not offer here ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from .coverage import Coverage
from .graph import Edit, Graph, Space
from .names import did_you_mean
from .signals import Signal, Signals, registered

if TYPE_CHECKING:
    from .when import Clock

Loss = Callable[[Tensor, Tensor], Tensor]  # (outputs, targets) -> scalar


class World(ABC):
    """A torch model, a Brian2 network, a regression, or nothing at all: it holds the weights.

    A subclass sets ``name`` and ``space`` and defines :meth:`begin`, :meth:`read` and, where its
    weights move by themselves, :meth:`step`. Everything else has a default that works.

    name:      under which its signals are registered and an experiment finds it.
    space:     the populations and projections whose synapses it holds.
    can_skip:  whether ``step`` may be left out where a rule takes its place (``Rule.skips_step``);
               where not, the step is made and the rule edits after it.
    gains:     whether edges may be silent: their weight multiplied by the column ``gain``.
    dt:        seconds that one step stands for; None: no time, and rules with rates per second
               are refused.
    births:    values of columns at birth that hold in this world, whatever a rule declares.
    w_max:     the largest magnitude of a weight, to which what rules write is clipped; None: any.
    probe:     data for signals that need passes of their own; None: those are not offered.
    ranks:     the processes that train this network together, each on its part of the data; None:
               this one alone.
    trains:    which edges a step moves, where some are silent: set by the session from
               :attr:`rewire.Rule.trains`, read where ``gains`` is True.
    weighted:  whether its synapses have weights of their own; where not, rules see 1, and those
               that write weights are refused.
    coverage:  which parameters of its model are sparse; None for a world without a model.
    straight:  set by the session while it makes a step that nothing but the rules' edits follows:
               new weights may then wait where ``read`` finds them, until ``write`` replaces them
               or ``settle`` asks for them. A world may leave it unread.
    """

    name: ClassVar[str]
    can_skip: ClassVar[bool] = False
    gains: ClassVar[bool] = False

    space: Space
    dt: float | None = None
    births: Mapping[str, Any] = {}
    w_max: float | None = None
    probe: Any = None
    ranks: Any = None
    trains: str = "all"
    straight: bool = False
    weighted: bool = True
    coverage: Coverage | None = None

    # -- what every world defines -----------------------------------------------------------------

    @abstractmethod
    def begin(self, graph: Graph) -> None:
        """Hold exactly the edges of this graph, with its column ``weight``."""

    @abstractmethod
    def read(self, graph: Graph) -> Graph:
        """The graph with the weights as they are now; before :meth:`begin`, those to start with."""

    def step(self, graph: Graph) -> Any:
        """Let the weights of these edges move by one step of training; what it returns (a loss) the
        session's ``step`` returns. By default nothing moves."""
        return None

    # -- steps and edits --------------------------------------------------------------------------

    def advance(
        self,
        graph: Graph,
        skip: bool,
        scaler: Any = None,
        closure: Callable[[], Any] | None = None,
    ) -> tuple[bool, Any]:
        """One step: (whether it was made, what it returns). ``skip`` leaves it out.

        scaler, closure: of torch's optimisers; worlds that have none refuse them.
        """
        if scaler is not None or closure is not None:
            raise ValueError(
                f"the {self.name} world makes its steps itself: call step() without a scaler or a "
                "closure."
            )
        return True, None if skip else self.step(graph)

    def write(self, before: Graph, after: Graph, edit: Edit) -> None:
        """Match the graph after an edit. By default the world begins with it anew, at O(edges)."""
        self.begin(after)

    def settle(self) -> None:
        """Let weights be where they belong, where they wait (see ``straight``)."""
        return

    def simulate(self, timesteps: int) -> None:
        """From now on a pass of a model that simulates time makes this many time steps, 0: its own
        number. Called where a rule's state has an entry ``timesteps``."""
        return

    def watch(self, needs: frozenset[str]) -> None:
        """Set up what the signals that a run needs are made of; called once, before step 0."""
        return

    def require(self, signal: str, population: str) -> None:
        """Raise ValueError where the units of a population never have a signal that the world
        offers of others; called by rules as they start."""
        return

    def want_grads(self, wanted: bool) -> None:
        """Before each step: whether a rule will ask for the signals ``grad`` or ``growth``."""
        return

    # -- what others write ------------------------------------------------------------------------

    def check(self) -> list[str]:
        """What does not hold of the promise that absent synapses are 0, a sentence for each."""
        return []

    def enforce(self) -> int:
        """Set to 0 what is to be 0; returns how many numbers were not."""
        return 0

    def note(self) -> None:
        """What is held now was written by the session: writes of others come after it."""
        return

    # -- what rules may ask -----------------------------------------------------------------------

    @property
    def offered(self) -> Mapping[str, Signal]:
        """The signals that can be asked here, by name: those registered under the world's name,
        but for those that need a probe where there is none."""
        known = registered(self.name)
        if self.probe:
            return known
        return {name: signal for name, signal in known.items() if not signal.needs_probe}

    @property
    def offers(self) -> frozenset[str]:
        """Names of the signals that can be asked here."""
        return frozenset(self.offered)

    def signals(self, graph: Graph) -> Signals:
        """What rules may ask, of this graph."""
        return Signals(self, graph)

    def lr(self, graph: Graph, keys: Tensor | None) -> float | Tensor | None:
        """The learning rate of these synapses, of the graph's edges where no keys are given: one
        number where they share it, else (k,). None: the world has none."""
        return None

    def holding(self, graph: Graph) -> World:
        """This world as if it held another graph, to ask it for signals. By default refused."""
        raise ValueError(
            f"the {self.name} world cannot show signals as if it held another graph, which pruning "
            "before training asks for: define its method holding(graph)."
        )

    # -- what it refuses --------------------------------------------------------------------------

    @classmethod
    def can_serve(cls, needs: frozenset[str], columns: frozenset[str]) -> bool:
        """Whether some world of this kind offers these signals and can hold these columns."""
        silent_fits = cls.gains or "gain" not in columns
        return silent_fits and needs <= registered(cls.name).keys()

    @classmethod
    def unsupported(cls, columns: frozenset[str]) -> str | None:
        """Why these columns cannot live here, or None."""
        if "gain" in columns and not cls.gains:
            return "it has no forward pass to multiply a gain into"
        return None

    @classmethod
    def remedy(cls, missing: Sequence[str]) -> str:
        """What to do about signals that are not offered here, as a sentence that begins with a
        space; nothing where nothing can be done."""
        known = registered(cls.name)
        if all(name in known and known[name].needs_probe for name in missing):
            return " It is computed from data: pass probe=rewire.Probe(batches, loss)."
        return ""

    # -- going back, and stopping -----------------------------------------------------------------

    def state(self) -> Mapping[str, Tensor]:
        """The tensors that training goes on from, by name; they are written in place to go back.

        A world that does not define it (or :meth:`snapshot`) refuses rules that rewind.
        """
        raise ValueError(
            f"the {self.name} world cannot save what it holds: define its method state()."
        )

    @property
    def can_go_back(self) -> bool:
        """Whether saved states can be brought back."""
        kind = type(self)
        return kind.state is not World.state or kind.snapshot is not World.snapshot

    def snapshot(self) -> dict[str, Any]:
        """All that training depends on, copied: tables ``model`` and ``optimiser`` of tensors."""
        copies = {name: tensor.detach().clone() for name, tensor in self.state().items()}
        return {"model": copies, "optimiser": {}}

    def restore(self, saved: Mapping[str, Any], parts: frozenset[str], graph: Graph) -> None:
        """Bring back the saved ``parts`` ("model", "optimiser"), for the edges of ``graph``."""
        if "model" in parts:
            self.load(saved)
            self.begin(self.read(graph))

    @torch.no_grad()
    def load(self, saved: Mapping[str, Any]) -> None:
        """Stand where a snapshot was taken; the session then begins with its graph."""
        for name, tensor in self.state().items():
            tensor.copy_(saved["model"][name])

    # -- in experiments ---------------------------------------------------------------------------

    @classmethod
    def from_options(cls, options: Mapping[str, Any], seed: int) -> Self:
        """The world that an experiment's table of options describes: by default what the class
        makes of them and of ``seed``. ValueError for an option that it does not take."""
        parameters = signature(cls).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for name in options:
            if name not in parameters and not takes_any:
                names = [n for n in parameters if n != "seed"]
                raise ValueError(
                    f"the {cls.name} world has no option {name!r}{did_you_mean(name, names)}; "
                    f"it takes {', '.join(names)}."
                )
        return cls(**options, seed=seed)  # type: ignore[call-arg]

    def measure(self, graph: Graph) -> Mapping[str, float]:
        """Numbers that an experiment records of this world, by name: a loss, an error."""
        return {}


class Trainable(World):
    """A world that can make a whole training step, and show saved states.

    clips: the joint norm that :meth:`learn` clips gradients to before it steps, or None.
    """

    clips: float | None = None

    @property
    @abstractmethod
    def forms(self) -> Mapping[str, str]:
        """How each sparse parameter is held, by name: "masked" or "edges"."""

    @abstractmethod
    def learn(
        self,
        graph: Graph,
        x: Tensor,
        y: Tensor,
        rows: Tensor | None,
        skip: bool,
        loss: Loss | None = None,
    ) -> float:
        """Both passes of a loss and, but for ``skip``, a step: the loss of outputs and ``y``, mean
        cross-entropy of classes unless it is given."""

    def outputs(self, x: Tensor) -> Tensor:
        """What the model computes of ``x`` in evaluation mode, without gradients."""
        raise NotImplementedError(f"the {self.name} world shows no outputs.")

    @abstractmethod
    def evaluate(self, x: Tensor, y: Tensor) -> tuple[float, int]:
        """Mean cross-entropy in evaluation mode, and how many examples are classified right."""

    @abstractmethod
    def model_state(self) -> dict[str, Tensor]:
        """Everything of the model, copied."""

    @abstractmethod
    def show(self, state: Mapping[str, Tensor]) -> None:
        """Let the model compute with a state of :meth:`model_state`."""


class DenseModel(Protocol):
    """What the signals of a dense model under masks are made of, see :func:`rewire.signals.
    dense_signal`: weights, masks and gradients come one tensor for each projection.

    summed, counted: tensors, and a number of batches or examples, added up over the processes that
    train the network together; as they are where this process trains it alone. time: the numbers
    of time steps that the model simulates, where it does."""

    model: Any
    probe: Any
    time: Any
    masks: list[Tensor]
    parameters: list[Any]

    def effective_weights(self) -> list[Tensor]: ...
    def model_with(self, weights: Sequence[Tensor]) -> Callable[..., Any]: ...
    def probe_gradients(self) -> list[Tensor | None]: ...
    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]: ...
    def counted(self, n: int) -> int: ...
    def numbers_at(self, keys: Tensor, tensors: Sequence[Tensor | None]) -> Tensor: ...


class Run(Protocol):
    """What a world's own loop (``rewire.worlds.brian.drive``) does with a session."""

    world: Any
    seed: int
    clock: Clock
    data_step: int
    schedule_step: int

    @property
    def rules(self) -> Sequence[Any]: ...
    @property
    def endless(self) -> bool: ...
    @property
    def done(self) -> bool: ...
    @property
    def wants_grads(self) -> bool: ...
    def plan(self) -> bool: ...
    def tick(self) -> None: ...
