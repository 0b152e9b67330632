"""The one loop: every experiment, in every world, is a session.

``attach`` puts rules on a model and optimiser in the user's own loop; ``train`` runs the loop for
rules that rewind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from . import history as log
from .budget import counts_for, random_graph
from .graph import NOTHING, Edit, Graph, Rewind, Space
from .history import History
from .limits import Limit, limited
from .rule import Clock, Rule, State
from .rules.combined import parts_of
from .select import largest
from .signals import Signals, registered
from .streams import Stream, rng_for
from .substrates.masked import Masked, Probe

if TYPE_CHECKING:
    from torch import nn

    from .substrates.sparse import Sparse


class World(Protocol):
    """A substrate: a torch model, a Brian2 network, or nothing at all.

    It holds the weights. ``offers`` names its signals; ``can_skip`` says whether a step of its own
    can be left out; ``dt`` is what one step stands for, in seconds, or None; ``births`` are the
    columns' values at birth that hold in this world, whatever a rule declares.

    ``straight`` is set while a step is made that nothing but the rules' edits follows: what
    ``advance`` made of the weights may then wait where ``read`` finds it, until ``write`` replaces
    it or ``settle`` asks for it. A world whose weights never wait leaves both as they are here.
    """

    name: str
    can_skip: bool
    dt: float | None
    births: Mapping[str, Any]
    space: Space
    straight: bool

    @property
    def offers(self) -> frozenset[str]: ...
    def unsupported(self, columns: frozenset[str]) -> str | None: ...
    def watch(self, needs: frozenset[str]) -> None: ...
    def want_grads(self, wanted: bool) -> None: ...
    def begin(self, graph: Graph) -> None: ...
    def advance(self, graph: Graph, skip: bool, scaler: Any, closure: Any) -> tuple[bool, Any]: ...
    def read(self, graph: Graph) -> Graph: ...
    def write(self, before: Graph, after: Graph, edit: Edit) -> None: ...
    def settle(self) -> None: ...
    def signals(self, graph: Graph) -> Signals: ...
    def snapshot(self) -> Mapping[str, Any]: ...
    def restore(self, saved: Mapping[str, Any], parts: frozenset[str], graph: Graph) -> None: ...


class Trainable(World, Protocol):
    """A world that can make a whole training step of a classifier, and show saved states."""

    @property
    def forms(self) -> Mapping[str, str]: ...
    def learn(
        self, graph: Graph, x: Tensor, y: Tensor, rows: Tensor | None, skip: bool
    ) -> float: ...
    def evaluate(self, x: Tensor, y: Tensor) -> tuple[float, int]: ...
    def model_state(self) -> dict[str, Tensor]: ...
    def show(self, state: Mapping[str, Tensor]) -> None: ...
    def load(self, saved: Mapping[str, Any]) -> None: ...


class Session:
    """The state of one run: the graph, the clock, and what each rule remembers.

    world:   where the weights live.
    graph:   the starting topology; its weights are read from the world.
    rules:   one rule or several, applied in this order at each tick.
    span:    steps in a round; None where the loop's length is not known (then rules that act at
             the end, or at fractions of the training, are refused).
    seed:    of every random number that the rules draw.
    rewinds: whether the loop around can go back to saved states.
    limits:  what holds whatever the rules do, see :mod:`rewire.limits`.

    Raises ValueError before step 0 for rules that this world, or this loop, cannot serve.
    """

    def __init__(
        self,
        world: World,
        graph: Graph,
        rules: Rule | Sequence[Rule],
        *,
        span: int | None = None,
        seed: int = 0,
        rewinds: bool = False,
        limits: Sequence[Limit] = (),
    ):
        self.world = world
        self.limits = tuple(limits)
        if limits and world.space.limits != self.limits:
            world.space = limited(world.space, limits)
        self.rules = parts_of((rules,) if isinstance(rules, Rule) else rules)
        self.names = [f"{i}.{r.name}" for i, r in enumerate(self.rules)]
        self.seed = seed
        self._endless = span is None
        self.clock = Clock(0, 2**62 if span is None else span, dt=world.dt)
        self.schedule_step = self.data_step = 0
        self.stopped = False
        self.saves = frozenset[int]().union(*(r.saves for r in self.rules))
        self.saved: dict[int, Any] = {}
        self.last_rewind: Rewind | None = None
        self._check(rewinds)

        needs = frozenset[str]().union(*(r.needs for r in self.rules))
        world.watch(needs)
        self._wants = [bool({"grad", "growth"} & r.needs) for r in self.rules]
        self._may_want = any(self._wants)
        self._may_skip = any(r.skips_step for r in self.rules)
        births: dict[str, Any] = {"weight": 0.0}
        for rule in self.rules:
            births |= rule.births(seed)
            if rule.silences:  # in a world that holds silent edges: others have refused it
                world.trains = rule.trains  # type: ignore[attr-defined]
        given = [limit.births(world.space, seed) for limit in self.limits] + [world.births]
        for fixed in given:
            births |= {name: birth for name, birth in fixed.items() if name in births}
        self._graph = world.read(self._under_limits(graph))
        for limit in self.limits:
            if (first := limit.first(self._graph, seed)) is not None:
                self._graph = self._graph.with_columns({"weight": first})
        for name, birth in births.items():
            self._graph = self._graph.with_birth(name, birth)
        self.states: list[State] = []
        for rule, name in zip(self.rules, self.names, strict=True):
            edit, state = rule.start(
                self._graph, world.signals(self._graph), rng_for(seed, f"{name}/start")
            )
            self._graph = self._graph.apply(edit)
            self.states.append(state)
        self._check_start()
        world.begin(self._graph)
        self.history = History(self._graph.keys, self.names)
        self._due: list[int] = []
        self._planned = False
        self.skipped = False  # whether a rule took the place of the last step
        self._keep_if_asked()

    def _check(self, rewinds: bool) -> None:
        offers = self.world.offers
        silencing = [r.name for r in self.rules if r.silences]
        if len(silencing) > 1:
            raise ValueError(
                f"{' and '.join(silencing)} both set the gain of every edge: one rule may."
            )
        for rule in self.rules:
            if rule.branch:
                raise ValueError(
                    f"{rule.name} is a branch, not a rule: it starts anew from a finished run's "
                    "edges. Attach Static() with initial=<that graph>, or use it in an experiment."
                )
            missing = sorted(rule.needs - offers)
            if missing:
                raise ValueError(
                    f"{rule.name} needs the signal {', '.join(map(repr, missing))}, which the "
                    f"{self.world.name} world does not offer here (it offers {sorted(offers)})."
                    + _remedy(self.world.name, missing)
                )
            if rule.timed and self.world.dt is None:
                raise ValueError(
                    f"{rule.name} has a rate per second, and a step of the {self.world.name} world "
                    "stands for no time: give it a number per step instead (StructuralPlasticity: "
                    "attempts= for rate=)."
                )
            why = self.world.unsupported(frozenset(rule.columns))
            if why is not None:
                raise ValueError(f"{rule.name} cannot live in the {self.world.name} world: {why}.")
            if rule.rewinds and not rewinds:
                raise ValueError(
                    f"{rule.name} goes back to saved steps of training, which a loop of your own "
                    "cannot do for it. Use rewire.train, or an experiment file."
                )
            if self._endless and _needs_span(rule):
                raise ValueError(
                    f"{rule.name} acts at the end, or at a fraction, of the training, whose length "
                    "is not known: pass steps= to attach."
                )
            why = rule.unsuited(None if self._endless else self.clock.span)
            if why is not None:
                raise ValueError(f"{rule.name} cannot be trained so: {why}.")
            for limit in self.limits:
                why = limit.unsuited(rule, self.world)
                if why is not None:
                    raise ValueError(f"{rule.name} cannot live under {limit!r}: {why}.")

    def _under_limits(self, graph: Graph) -> Graph:
        """The same edges in the world's space, which has the limits."""
        if not self.limits or graph.space is self.world.space:
            return graph
        return Graph(self.world.space, graph.keys, graph.columns, graph.births)

    def _check_start(self) -> None:
        """Refuse rules whose first edges break a limit."""
        if not self.limits:
            return
        try:
            self._graph.check_limits()
        except ValueError as error:
            rules = " and ".join(rule.name for rule in self.rules)
            named = ", ".join(map(repr, self.limits))
            raise ValueError(
                f"{rules} cannot live under {named} from these edges: {error} Start from fewer "
                "edges, or allow more."
            ) from None

    # -- one step -------------------------------------------------------------------------------

    def plan(self) -> bool:
        """Move the clock by one step and find the rules that are due.

        Returns whether one of them takes the place of the world's own step.
        """
        step, span, round_, total, dt = self.clock
        if self.stopped or step >= span:
            raise RuntimeError(
                f"this session ended after {self.clock.step} of {self.clock.span} steps; nothing "
                "is left to do. Attach again to train on."
            )
        clock = self.clock = Clock(step + 1, span, round_, total + 1, dt)
        self._due = [i for i, r in enumerate(self.rules) if r.when(clock)]
        self._planned = True
        skips = self._may_skip and any(self.rules[i].skips_step for i in self._due)
        self.skipped = skips and self.world.can_skip
        return self.skipped

    @property
    def wants_grads(self) -> bool:
        """Whether a due rule will ask for gradients."""
        return self._may_want and any(self._wants[i] for i in self._due)

    @property
    def trains_silent(self) -> bool:
        """Whether the world's step moves silent edges too."""
        return any(r.silences and r.trains not in ("live", "none") for r in self.rules)

    def unplan(self) -> None:
        """Take the last plan back: the world made no step (an overflow in mixed precision)."""
        c = self.clock
        self.clock = c._replace(step=c.step - 1, total=c.total - 1)
        self._planned = False

    def tick(self) -> None:
        """Let every due rule edit the graph; carry out a rewind where one asks for it."""
        if not self._planned:
            raise RuntimeError("nothing was stepped since the last tick: call step() once a batch.")
        self._planned = False
        self.schedule_step += 1
        self.data_step += 1
        for i in self._due:
            shown = self.world.read(self._graph)
            rng = Stream(self.seed, self.names[i], self.clock.total)
            edit, self.states[i] = self.rules[i].update(
                shown, self.world.signals(shown), self.states[i], rng, self.clock
            )
            if edit is NOTHING:
                self._graph = shown
                continue
            self.history.note(self.clock, i, edit)
            if edit.rewind is not None:
                self._go_back(i, shown, edit)
                break
            self._edit(shown, edit)
            if edit.stop:
                self.stopped = True
                break
        if self.limits:
            self._hold_weights("edits")
        if self.saves:
            self._keep_if_asked()

    def _hold_weights(self, after: str) -> None:
        """Make the weights what the limits let them be, after the world's step or rules' edits."""
        for i, limit in enumerate(self.limits):
            if limit.connects:
                continue
            shown = self.world.read(self._graph)
            rng = rng_for(self.seed, f"limit/{i}.{limit.name}/{after}", self.clock.total)
            weight = limit.held(shown, self.seed, rng)
            if weight is not None:
                self._edit(shown, Edit(set={"weight": weight}))

    def edit(self, edit: Edit) -> None:
        """Carry out an edit of one's own, between two steps; the log knows no rule that made it.

        Raises ValueError for one that adds or drops synapses: those are a rule's to make.
        """
        if edit.n_add or edit.n_drop or edit.rewind is not None:
            raise ValueError(
                "synapses come and go by rules, which the log names: set columns only."
            )
        self._edit(self.world.read(self._graph), edit)

    def _edit(self, shown: Graph, edit: Edit) -> None:
        self._graph = shown.apply(edit)
        self.world.write(shown, self._graph, edit)

    def _go_back(self, asking: int, shown: Graph, edit: Edit) -> None:
        rewind = edit.rewind
        assert rewind is not None
        if rewind.restore & {"model", "optimiser", "rules"}:
            saved = self.saved.get(rewind.step)
            if saved is None:
                raise RuntimeError(
                    f"{self.rules[asking].name} asks for step {rewind.step}, which was not kept "
                    f"(kept: {sorted(self.saved)}); a rule names such steps in Rule.saves."
                )
            self.world.restore(saved, rewind.restore, shown)
            if "rules" in rewind.restore:
                self.states = [
                    mine if j == asking else theirs
                    for j, (mine, theirs) in enumerate(
                        zip(self.states, saved["rules"], strict=True)
                    )
                ]
        restored = self.world.read(shown)
        self._edit(restored, edit)
        if rewind.again:
            self.clock = self.clock._replace(step=rewind.step, round=self.clock.round + 1)
        if "schedule" in rewind.restore:
            self.schedule_step = rewind.step
        if "data" in rewind.restore:
            self.data_step = rewind.step
        self.last_rewind = rewind

    def _keep_if_asked(self) -> None:
        step = self.clock.step
        if step in self.saves and self.clock.round == 0 and step not in self.saved:
            self.saved[step] = {**self.world.snapshot(), "rules": list(self.states)}

    # -- looking at it --------------------------------------------------------------------------

    def __repr__(self) -> str:
        c = self.clock
        of = "" if self._endless else f" of {c.span}"
        return (
            f"Session({', '.join(r.name for r in self.rules)} in the {self.world.name} world: "
            f"step {c.step}{of}, round {c.round}, {self.edges:,} edges, density {self.density:.4g})"
        )

    @property
    def done(self) -> bool:
        """Whether the last round is over."""
        return self.stopped or self.clock.step >= self.clock.span

    @property
    def graph(self) -> Graph:
        """The graph with the weights that the world holds now."""
        shown = self.world.read(self._graph)
        return shown.with_columns({"weight": shown["weight"].clone()})

    @property
    def topology(self) -> Tensor:
        """The keys of the edges now, (E,); another tensor after every edit that changed them."""
        return self._graph.keys

    @property
    def edges(self) -> int:
        """Number of live edges now, without reading the weights."""
        return sum(self._graph.live_counts())

    @property
    def counts(self) -> list[int]:
        """Live edges of each projection now."""
        return self._graph.live_counts()

    @property
    def density(self) -> float:
        """Live edges / possible edges over all sparse projections."""
        return self._graph.density

    def masks(self) -> dict[str, Tensor]:
        """The boolean mask of every sparse parameter, live edges, by name."""
        live = self._graph.effective()
        return {p.name: live.mask(i) for i, p in enumerate(live.projections)}

    # -- saving it ------------------------------------------------------------------------------

    def state_dict(self, *, history: bool = True, saved: bool = True) -> dict[str, Any]:
        """Everything of the session that is not in the model or the optimiser.

        Nested dicts and lists of tensors, numbers and strings. ``history`` includes the edit log
        and the keys that it starts from, ``saved`` the snapshots that a rewind needs.
        """
        g = self._graph
        out: dict[str, Any] = {
            "rules": list(self.names),
            "seed": self.seed,
            "projections": [[p.name, p.size] for p in g.projections],
            "clock": [self.clock.step, self.clock.span, self.clock.round, self.clock.total],
            "schedule_step": self.schedule_step,
            "data_step": self.data_step,
            "stopped": self.stopped,
            "keys": g.keys,
            "columns": self._columns(),
            "states": [dict(s) for s in self.states],
            "formed": self.history.formed,
            "dropped": self.history.dropped,
        }
        if history:
            out["start"] = self.history.start
            data = b"".join(r.to_bytes() for r in self.history)
            out["history"] = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else None
        if saved:
            out["saved"] = self.saved
        return out

    def _columns(self) -> dict[str, Tensor]:
        """The columns that nothing else holds: the model has the weights, but for silent edges."""
        if any(r.silences for r in self.rules):
            return self.world.read(self._graph).columns
        return {n: v for n, v in self._graph.columns.items() if n != "weight"}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`, with model and optimiser loaded already.

        Raises ValueError when it was written by other rules or for another model.
        """
        if list(state["rules"]) != self.names:
            raise ValueError(
                f"this state was saved by the rules {list(state['rules'])}; the session has "
                f"{self.names}."
            )
        if state["seed"] != self.seed:
            raise ValueError(
                f"this state was saved under seed {state['seed']}; the session has seed "
                f"{self.seed} and would draw other numbers. Attach with seed={state['seed']}."
            )
        mine = [[p.name, p.size] for p in self._graph.projections]
        if [list(p) for p in state["projections"]] != mine:
            raise ValueError(
                f"this state belongs to another model: its projections are "
                f"{state['projections']}, this model's are {mine}."
            )
        keys = state["keys"]
        step, span, round_, total = state["clock"]
        self.clock = Clock(step, self.clock.span if self._endless else span, round_, total,
                           self.world.dt)  # fmt: skip
        self.schedule_step, self.data_step = state["schedule_step"], state["data_step"]
        self.stopped = state["stopped"]
        held = Graph(self._graph.space, keys, state["columns"], self._graph.births)
        self._graph = held if "weight" in state["columns"] else self.world.read(held)
        self.states = list(state["states"])
        self.saved = dict(state.get("saved", self.saved))
        self.history = History(state.get("start", keys), self.names)
        if state.get("history") is not None:
            self.history.records = log.parse(bytes(state["history"].numpy()))
        self.history.formed, self.history.dropped = state["formed"], state["dropped"]
        self._planned = False
        self.world.begin(self._graph)

    # -- driving it ------------------------------------------------------------------

    def optimise(self, scaler: Any = None, closure: Callable[[], Any] | None = None) -> Any:
        """The first half of :meth:`step`: the world's own step, gradients masked."""
        if scaler is not None and closure is not None:
            raise ValueError(
                "a scaler and a closure cannot be used together: GradScaler looks for overflows "
                "in gradients that the closure has yet to make. Call backward() before step()."
            )
        skip = self.plan()
        self.world.want_grads(self.wants_grads)
        made, loss = self.world.advance(self._graph, skip, scaler, closure)
        if not made:
            self.unplan()
        elif self.limits:
            self._hold_weights("step")
        return loss

    def learn(self, x: Tensor, y: Tensor, rows: Tensor | None = None) -> float:
        """In place of :meth:`optimise`: a classifier's whole step, the rules left out; the loss.

        Forward pass, mean cross-entropy, backward pass and optimiser step: in the sparse world one
        native call, where its model can be traced. x: (N, ...); y: (N,) int64 classes; rows: (B,)
        int64, the examples of this batch; None takes all.
        """
        skip = self.plan()
        self.world.want_grads(self.wants_grads)
        loss = self.world.learn(self._graph, x, y, rows, skip)  # type: ignore[attr-defined]
        self._hold_weights("step")
        return loss

    def rewire(self) -> None:
        """The second half of :meth:`step`: the rules that are due edit the graph."""
        if self._planned:  # not where mixed precision skipped the step
            self.tick()

    def step(self, scaler: Any = None, closure: Callable[[], Any] | None = None) -> Any:
        """Stand where ``optimizer.step()`` stood: one optimiser step, then the rules' edits.

        scaler: a GradScaler; its ``step`` and ``update`` are called here, and a step that it
        skips is no step for the rules. closure: as for ``optimizer.step``; its loss is returned.
        """
        world = self.world
        world.straight = not (self.limits or self.saves)
        try:
            loss = self.optimise(scaler, closure)
            self.rewire()
        finally:
            world.straight = False
            world.settle()
        return loss


def _remedy(world: str, missing: Sequence[str]) -> str:
    """What to do about signals that a world does not offer, where something can be done."""
    here = registered(world)
    if all(name in here and here[name].needs_probe for name in missing):
        return " It is computed from data: pass probe=rewire.Probe(batches, loss)."
    if world == "sparse" and registered("masked").keys() >= set(missing):
        return " The masked world does: use substrate='masked'."
    return ""


def _needs_span(rule: Rule) -> bool:
    from .when import AtEnd, Last, Schedule, When

    def relative(value: Any) -> bool:
        if isinstance(value, AtEnd | Last):
            return True
        if isinstance(value, When | Schedule):
            bounds = (getattr(value, name, None) for name in ("begin", "stop"))
            return any(isinstance(b, float) and b <= 1 for b in bounds)
        return False

    return any(relative(v) for v in vars(rule).values())


def aimed(
    rules: Rule | Sequence[Rule], density: float | None, distribution: Any
) -> tuple[tuple[Rule, ...], float | None]:
    """The rules that end at, or visit, ``density``, and the density to start from.

    Raises ValueError where a rule prunes down to it and ``distribution`` sets the counts as well.
    """
    rules = (rules,) if isinstance(rules, Rule) else tuple(rules)
    if density is None:
        return rules, None
    if any(r.visits_densities for r in rules):
        return tuple(r.towards((density,)) for r in rules), None
    start = max((r.starts_at(density) for r in rules), default=density)
    if start != density and not isinstance(distribution, str):
        falling = next(r.name for r in rules if r.starts_at(density) != density)
        raise ValueError(
            f"{falling} prunes from density {start:g} to {density:g} and shares that out itself: "
            "leave out the counts or densities by projection."
        )
    return tuple(r.towards((density,)) for r in rules), start


def first_graph(
    world: World,
    density: float | None,
    distribution: str | Mapping[str, float] | Sequence[int],
    initial: str | Graph,
    seed: int,
) -> Graph:
    """The topology to start from: given, or counts by ``distribution`` and places by ``initial``.

    "random": uniform in each projection. "magnitude": the largest weights of the model as it is.
    """
    space = world.space
    if isinstance(initial, Graph):
        mine = [(p.name, p.shape) for p in space.projections]
        theirs = [(p.name, p.shape) for p in initial.projections]
        if mine != theirs:
            raise ValueError(f"the initial graph joins {theirs}, the model has {mine}.")
        return Graph(space, initial.keys)
    if initial not in ("random", "magnitude"):
        raise ValueError(f"initial must be 'random', 'magnitude' or a Graph, got {initial!r}.")
    if density is None and isinstance(distribution, str):
        density = 1.0
    counts = counts_for(space, density, distribution)
    if counts == space.sizes:
        return Graph.full(space)
    if initial == "random":
        return random_graph(space, counts, rng_for(seed, "topology"))
    full = world.read(Graph.full(space))
    ranges = list(zip(space.bounds[:-1], space.bounds[1:], strict=True))
    rows = largest(full["weight"], counts, ranges, magnitude=True, what="|weight|")
    return Graph(space, rows)


def _start_of(
    world: World,
    rule: Rule | Sequence[Rule],
    density: float | None,
    distribution: str | Mapping[str, float] | Sequence[int],
    initial: str | Graph,
    seed: int,
) -> tuple[tuple[Rule, ...], Graph]:
    """The rules and the topology to start from: whole where a rule is to prune it itself."""
    rules, density = aimed(rule, density, distribution)
    if any(r.prunes_at_start for r in rules):
        if density is not None or not isinstance(distribution, str):
            counts = counts_for(world.space, density, distribution)
            rules = tuple(r.aimed(counts) for r in rules)
        density, distribution = None, "erk"
    return rules, first_graph(world, density, distribution, initial, seed)


Substrate = Literal["masked", "sparse", "auto"]


def masked_only(rule: Rule) -> bool:
    """Whether a rule needs what the sparse world lacks: silent edges, or a signal that a package
    brings for the masked world alone (no rule here does)."""
    from .substrates import sparse

    return rule.silences or not rule.needs <= registered(sparse.Sparse.name).keys()


def torch_world(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    substrate: Substrate = "masked",
    seed: int = 0,
    rules: Sequence[Rule] = (),
    **options: Any,
) -> Masked | Sparse:
    """A torch model and its optimiser as a world for these rules: options as for :func:`attach`."""
    if substrate == "auto" and any(map(masked_only, rules)):
        substrate = "masked"
    if substrate == "masked":
        return Masked(model, optimizer, **options)
    if substrate not in ("sparse", "auto"):
        raise ValueError(f"substrate is 'masked', 'sparse' or 'auto', got {substrate!r}.")
    from .substrates.sparse import Sparse

    return Sparse(model, optimizer, choose=substrate, seed=seed, **options)


def attach(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rule: Rule | Sequence[Rule],
    *,
    density: float | None = None,
    seed: int = 0,
    steps: int | None = None,
    distribution: str | Mapping[str, float] | Sequence[int] = "erk",
    initial: str | Graph = "random",
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    embeddings: bool = False,
    positions: Mapping[str, Tensor | None] | None = None,
    probe: Probe | None = None,
    substrate: Substrate = "masked",
    limits: Sequence[Limit] = (),
) -> Session:
    """Make a model sparse, and let ``rule`` rewire it in your own training loop.

    >>> import torch, rewire
    >>> model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 2))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> net = rewire.attach(model, optimizer, rule=rewire.DeepR(), density=0.1, seed=0)
    >>> model(torch.randn(8, 20)).sum().backward()
    >>> net.step()  # where optimizer.step() was
    >>> net.edges, net.graph.possible
    (66, 660)

    rule: a rule, or several in the order in which they act.
    density: edges / possible edges over all sparse weights; None keeps every edge. Rules that
        prune end at it: those that do so at the start (SNIP) begin with every edge, others
        (GMP, GraNet) with as many as they say.
    steps: length of the training, for rules that act at its end or at fractions of it.
    distribution: how the density is spread over layers: "erk", "er", "uniform", "balanced",
        densities by parameter name, or counts.
    initial: "random", "magnitude" (a trained model keeps its largest weights), or a Graph.
    include, exclude: patterns of parameter names; by default the weights of all linear,
        convolutional, recurrent and attention layers are sparse; embeddings=True adds those.
    positions: places of units in the sheet by population, (size, 2), for rules with distance.
    probe: data for rules that look at it in passes of their own (SNIP, GraSP, OBD, WoodFisher).
    substrate: "masked", dense weights under masks; "sparse", on the CPU, lists of edges that are
        all it computes with (a model on the "meta" device gets its weights here); "auto" chooses
        for each layer by its density, see ``net.world.forms``, and masked for rules with silent
        edges. Rules that prune at the start (SNIP) look at the model while it is dense; the edges
        that they leave are held as lists.
    limits: what holds whatever the rules do: caps on fan-in, fan-out, distance and memory, signs
        and precision of weights; see :mod:`rewire.limits`.

    Raises ValueError before the first step for whatever cannot work.
    """
    world = torch_world(
        model,
        optimizer,
        substrate,
        seed,
        (rule,) if isinstance(rule, Rule) else rule,
        include=include,
        exclude=exclude,
        embeddings=embeddings,
        positions=positions,
        probe=probe,
    )
    world.space = limited(world.space, limits)
    rules, graph = _start_of(world, rule, density, distribution, initial, seed)
    return Session(world, graph, rules, span=steps, seed=seed, limits=limits)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rule: Rule | Sequence[Rule],
    *,
    loss: Callable[[nn.Module, Any], Tensor],
    data: Callable[[int], Any] | Iterable[Any],
    steps: int,
    density: float | None = None,
    seed: int = 0,
    schedule: Callable[[int], float] | None = None,
    on_step: Callable[[Session, float], None] | None = None,
    on_round: Callable[[Session], None] | None = None,
    **options: Any,
) -> Session:
    """Train under rules that go back to saved steps (IMP), or under any others.

    loss: (model, batch) -> scalar.
    data: step -> batch, counted from 0, so that a rewind meets the same batches again; or an
        iterable, which starts afresh where it ends and at every rewind of the data.
    steps: optimiser steps in a round.
    density: for rules that prune the density to end at (their ``to``); for others the one to keep.
    schedule: step -> factor on the optimiser's learning rates, as LambdaLR.
    on_step: called after each optimiser step, before the rules, with the session and the loss.
    on_round: called at the end of each round, before the rules act on it.
    options: as for :func:`attach` (distribution, initial, include, exclude, limits, ...).

    Returns the session, at the end of the last round.
    """
    names = ("include", "exclude", "embeddings", "positions", "probe")
    substrate = options.pop("substrate", "masked")
    given = {k: options.pop(k) for k in names if k in options}
    given["rules"] = (rule,) if isinstance(rule, Rule) else rule
    world = torch_world(model, optimizer, substrate, seed, **given)
    distribution, initial = options.pop("distribution", "erk"), options.pop("initial", "random")
    limits = options.pop("limits", ())
    world.space = limited(world.space, limits)
    if options:
        raise TypeError(f"train() does not take {', '.join(map(repr, options))}.")
    rules, graph = _start_of(world, rule, density, distribution, initial, seed)
    net = Session(world, graph, rules, span=steps, seed=seed, rewinds=True, limits=limits)
    rates = [group["lr"] for group in optimizer.param_groups]
    batches = data if callable(data) else _Replay(data)
    while not net.done:
        if schedule is not None:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(net.schedule_step)
        optimizer.zero_grad(set_to_none=True)
        value = loss(model, batches(net.data_step))
        value.backward()
        net.optimise()
        if on_step is not None:
            on_step(net, value.item())
        if on_round is not None and net.clock.step == net.clock.span:
            on_round(net)
        net.rewire()
    return net


class _Replay:
    """An iterable read by step: starts afresh where it ends, and when an earlier step is asked."""

    def __init__(self, data: Iterable[Any]):
        self._data, self._next, self._it = data, 0, iter(data)

    def __call__(self, step: int) -> Any:
        if step < self._next:
            self._next, self._it = 0, iter(self._data)
        while True:
            batch = self._draw()
            self._next += 1
            if self._next > step:
                return batch

    def _draw(self) -> Any:
        try:
            return next(self._it)
        except StopIteration:
            self._it = iter(self._data)
            try:
                return next(self._it)
            except StopIteration:
                raise ValueError("data is empty: train() needs at least one batch.") from None
