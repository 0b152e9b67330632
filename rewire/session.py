"""The one loop: every experiment, in every world, is a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from . import caveats
from . import edit_log as log
from .arguments import checked
from .compatibility import as_rules, beyond_limits, check_numbers, problems
from .coverage import Coverage
from .edit_log import History
from .graph import NOTHING, Edit, Graph, Rewind
from .graph.display import to_html
from .limits import Limit, limited
from .listening import Listening
from .names import short
from .rewinding import Rewinding
from .rule import Rule, State, births_of, silences
from .rule_budget import budget_of
from .saving import refuse_other
from .select.choose import refuse_nan
from .streams import Stream, rng_for
from .when import Clock
from .world import Loss, Trainable, World
from .worlds.torch_model.stepping import refuse_accumulating


class Session(Rewinding, Listening):
    """The state of one run: the graph, the clock, and what each rule remembers.

    >>> import torch, rewire
    >>> space = rewire.Space(
    ...     [rewire.Population("in", 6), rewire.Population("out", 4)],
    ...     [rewire.Projection("weight", "in", "out", "linear", (4, 6))],
    ... )
    >>> world = rewire.Bare(space, weights=torch.arange(24.0))
    >>> start = rewire.Graph(space, torch.arange(0, 24, 2))
    >>> session = rewire.Session(world, start, rewire.SET(fraction=0.25), span=1000)
    >>> session
    Session(SET in the bare world: step 0 of 1000, round 0, 12 edges, density 0.5)
    >>> session.step()
    >>> session.clock.step, session.edges
    (1, 12)

    world:   where the weights live.
    graph:   the starting topology; its weights are read from the world.
    rules:   one rule or several, applied in this order at each tick.
    span:    steps in a round; None where the loop's length is not known (then rules that act at
             the end, or at fractions of the training, are refused).
    seed:    of every random number that the rules draw.
    rewinds: whether the loop around can go back to saved states.
    limits:  what holds whatever the rules do, see :mod:`rewire.limits`.
    resumes: whether a saved state is loaded next: rules do not start, and the graph is its.
    scheduler: of torch, of the world's optimizer and not yet stepped: it is stepped here after each
             step, and goes back with a rewind of the schedule. Nobody else may step it.

    Raises ValueError before step 0 for rules that this world, or this loop, cannot serve.
    """

    @checked()
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
        resumes: bool = False,
        scheduler: Any = None,
    ):
        if not isinstance(world, World):
            raise TypeError(f"a world is an instance of a subclass of rewire.World, got {world!r}.")
        check_numbers(span, seed)
        self.world = world
        self.limits = tuple(limits)
        if not all(limit in world.space.limits for limit in self.limits):
            world.space = limited(world.space, limits)
        self.rules = tuple(part for rule in as_rules(rules) for part in rule.parts)
        self.names = [f"{i}.{r.name}" for i, r in enumerate(self.rules)]
        self.seed = seed
        self.endless = span is None
        self.clock = Clock(0, 2**62 if span is None else span, dt=world.dt)
        self.schedule_step = self.data_step = 0
        self.stopped = False
        self.saves = frozenset[int]().union(*(r.saves for r in self.rules))
        self.saved: dict[int, Any] = {}
        self.last_rewind: Rewind | None = None
        if reasons := problems(self.rules, world, world.space.limits, span=span, rewinds=rewinds):
            raise ValueError("\n".join(reason.text for reason in reasons))

        if scheduler is not None:
            self.follow_schedule(scheduler)
        if not resumes:
            caveats.warn(self.rules, span=span)

        if world.ranks is not None:
            world.ranks.agree(self._settings(), "when it is attached")
        needs = frozenset[str]().union(*(r.needs for r in self.rules))
        world.watch(needs)
        self._wants = [bool({"grad", "growth"} & r.needs) for r in self.rules]
        self._may_want = any(self._wants)
        self._may_skip = any(r.skips_step for r in self.rules)
        births: dict[str, Any] = {"weight": 0.0}
        for rule in self.rules:
            births |= births_of(rule, seed)
            if silences(rule):  # in a world that holds silent edges: others have refused it
                world.trains = rule.trains
        fixed_births = [limit.births(world.space, seed) for limit in self.limits] + [world.births]
        for fixed in fixed_births:
            births |= {name: birth for name, birth in fixed.items() if name in births}
        self._graph = world.read(self._under_limits(graph))
        for limit in () if resumes else self.limits:
            if (first := limit.first(self._graph, seed)) is not None:
                self._graph = self._graph.with_columns({"weight": first})
        for name, birth in births.items():
            self._graph = self._graph.with_birth(name, birth)
        self.states: list[State] = [{} for _ in self.rules]
        # the others begin with what those leave that cut at the start, whatever their order
        cut_first = sorted(range(len(self.rules)),
                           key=lambda i: not budget_of(self.rules[i]).at_start)  # fmt: skip
        for i in () if resumes else cut_first:
            edit, self.states[i] = self.rules[i].start(
                self._graph, world.signals(self._graph), rng_for(seed, f"{self.names[i]}/start")
            )
            self._graph = self._graph.apply(edit)
        if (why := beyond_limits(self._graph, self.rules, world.space.limits)) is not None:
            raise ValueError(why)
        world.begin(self._graph)
        self.history = History(self._graph.keys, self.names)
        self._due: list[int] = []
        self._planned = False
        self.skipped = False  # whether a rule took the place of the last step
        self.keep_if_asked()

    def _under_limits(self, graph: Graph) -> Graph:
        """The same edges in the world's space, which has the limits."""
        if not self.world.space.limits or graph.space is self.world.space:
            return graph
        return Graph(self.world.space, graph.keys, graph.columns, graph.births)

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
        return any(silences(r) and r.trains not in ("live", "none") for r in self.rules)

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
        # a rate's schedule ends with the round: whoever trains on does so at its last factor
        self.schedule_step = min(self.schedule_step + 1, self.clock.span - 1)
        self.data_step += 1
        for i in self._due:
            graph = self.world.read(self._graph)
            unread: Any = graph.lazy("weight")
            if unread is None:
                refuse_nan(graph, self.rules[i].name, self.clock.step)
            rng = Stream(self.seed, self.names[i], self.clock.total)
            edit, self.states[i] = self.rules[i].update(
                graph, self.world.signals(graph), self.states[i], rng, self.clock
            )
            if unread is not None and unread.lost:  # among those that the rule has read
                refuse_nan(graph, self.rules[i].name, self.clock.step)
            self._simulate(i)
            if edit is NOTHING:
                self._graph = graph
                continue
            self.history.note(self.clock, i, edit)
            if edit.rewind is not None:
                self._go_back(i, graph, edit)
                break
            self._edit(graph, edit)
            if edit.stop:
                self.stopped = True
                break
        if self.limits:
            self._hold_weights("edits")
        if self.saves:
            self.keep_if_asked()

    def _simulate(self, i: int) -> None:
        """Let the world simulate as many time steps as the state of a rule says, if it does."""
        if "timesteps" in self.states[i]:
            self.world.simulate(self.states[i]["timesteps"])

    def _hold_weights(self, after: str) -> None:
        """Make the weights what the limits let them be, after the world's step or rules' edits."""
        for i, limit in enumerate(self.limits):
            if limit.connects:
                continue
            graph = self.world.read(self._graph)
            rng = rng_for(self.seed, f"limit/{i}.{limit.name}/{after}", self.clock.total)
            weight = limit.held(graph, self.seed, rng)
            if weight is not None:
                self._edit(graph, Edit(set={"weight": weight}))

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
        if edit.n_add:
            self._born(edit.add)

    # -- looking at it --------------------------------------------------------------------------

    def __repr__(self) -> str:
        c = self.clock
        of = "" if self.endless else f" of {c.span}"
        coverage = self.world.coverage
        covered = "" if coverage is None else f" of {coverage.percent} of the model's weights"
        return (
            f"Session({', '.join(r.name for r in self.rules)} in the {self.world.name} world: "
            f"step {c.step}{of}, round {c.round}, {self.edges:,} edges, density {self.density:.4g}"
            f"{covered})"
        )

    def _repr_html_(self) -> str:
        graph = self.graph
        return to_html(graph.space, graph.live_counts(), graph.columns, repr(self))

    @property
    def coverage(self) -> Coverage:
        """Which parameters the rules govern, which stay dense, and why.

        >>> import torch, rewire
        >>> model = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 30))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> net = rewire.attach(model, optimizer, rule=rewire.SET(), density=0.1)
        >>> print(net.coverage)
        120 of 156 weights (76.9 %) are in sparse parameters
          sparse  1.weight  120
          dense   0.weight   36  an embedding
          dense   1 bias, norm or scale, 30 numbers
        >>> net
        Session(SET in the masked world: step 0, round 0, 12 edges, density 0.1 of 76.9 % of the \
model's weights)
        """
        if self.world.coverage is not None:
            return self.world.coverage
        return Coverage({p.name: p.size for p in self._graph.projections})

    @property
    def done(self) -> bool:
        """Whether the last round is over."""
        return self.stopped or self.clock.step >= self.clock.span

    @property
    def graph(self) -> Graph:
        """The graph with the weights that the world holds now."""
        self._look()
        graph = self.world.read(self._graph)
        return graph.with_columns({"weight": graph["weight"].clone()})

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
        self._look()
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
        if any(silences(r) for r in self.rules):
            return self.world.read(self._graph).columns
        return {n: v for n, v in self._graph.columns.items() if n != "weight"}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`. In the sparse world load this before the model and the
        optimizer, whose numbers are of the edges that it brings; in the masked one after or before.
        :func:`rewire.save` keeps all three in one file.

        Raises ValueError when it was written by other rules or for another model.
        """
        refuse_other(self, state)
        keys = state["keys"]
        step, span, round_, total = state["clock"]
        self.clock = Clock(step, self.clock.span if self.endless else span, round_, total,
                           self.world.dt)  # fmt: skip
        self.schedule_step = min(state["schedule_step"], self.clock.span - 1)
        self.data_step = state["data_step"]
        self.stopped = state["stopped"]
        graph = Graph(self._graph.space, keys, state["columns"], self._graph.births)
        self._graph = graph if "weight" in state["columns"] else self.world.read(graph)
        self.states = list(state["states"])
        for i in range(len(self.states)):
            self._simulate(i)
        self.saved = dict(state.get("saved", self.saved))
        self.history = History(state.get("start", keys), self.names)
        if state.get("history") is not None:
            self.history.records = log.parse(bytes(state["history"].numpy()))
        self.history.formed, self.history.dropped = state["formed"], state["dropped"]
        self._planned = self._joined = False
        self.keep_rate(anew=True)
        self.world.begin(self._graph)
        self._foresee()
        self.world.note()

    # -- driving it ------------------------------------------------------------------

    def optimise(self, scaler: Any = None, closure: Callable[[], Any] | None = None) -> Any:
        """The first half of :meth:`step`: the world's own step, gradients masked."""
        if scaler is not None and closure is not None:
            raise ValueError(
                "a scaler and a closure cannot be used together: GradScaler looks for overflows "
                "in gradients that the closure has yet to make. Call backward() before step()."
            )
        if scaler is not None and not hasattr(scaler, "get_scale"):
            raise TypeError(
                f"step() takes a torch.amp.GradScaler, or nothing, got {short(scaler)}: "
                "backward() takes the loss, before it."
            )
        self._look_around()
        skip = self.plan()
        self.world.want_grads(self.wants_grads)
        with self._making():
            stepped, loss = self.world.advance(self._graph, skip, scaler, closure)
        if not stepped:
            self.unplan()
        elif self.limits:
            self._hold_weights("step")
        return loss

    def learn(
        self, x: Tensor, y: Tensor, rows: Tensor | None = None, loss: Loss | None = None
    ) -> float:
        """In place of :meth:`optimise`: a whole training step, the rules left out; the loss.

        Forward pass, loss, backward pass and optimiser step. loss: (outputs, y) -> scalar; None is
        mean cross-entropy, y being (N,) int64 classes, which the sparse world makes in one native
        call, where its model can be traced. x: (N, ...); rows: (B,) int64, the examples of this
        batch; None takes all.

        >>> import torch, rewire
        >>> model = torch.nn.Linear(20, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        >>> net = rewire.attach(model, optimizer, rule=rewire.Static(), density=0.5)
        >>> x, y = torch.ones(8, 20), torch.zeros(8, 1)
        >>> first = net.learn(x, y, loss=torch.nn.functional.mse_loss)
        >>> net.learn(x, y, loss=torch.nn.functional.mse_loss) < first
        True
        """
        assert isinstance(self.world, Trainable)
        self._look_around()
        if self.world.ranks is not None:
            raise RuntimeError(
                "learn() makes its passes in this process alone, and several train this model: "
                "call the model, backward() and step() yourself."
            )
        skip = self.plan()
        self.world.want_grads(self.wants_grads)
        with self._making():
            mean = self.world.learn(self._graph, x, y, rows, skip, loss)
        self._hold_weights("step")
        return mean

    def rewire(self) -> None:
        """The second half of :meth:`step`: the rules that are due edit the graph."""
        stepped = self._planned  # not where mixed precision skipped the step
        if stepped:
            self.tick()
            self.keep_rate()
            self._agree()
            self._stepped()
        self._foresee()
        self.world.note()
        if stepped and self._followers:
            self._tell_followers()

    def step(self, scaler: Any = None, closure: Callable[[], Any] | None = None) -> Any:
        """Stand where ``optimizer.step()`` stood: one optimiser step, then the rules' edits.

        scaler: a GradScaler; its ``step`` and ``update`` are called here, and a step that it
        skips is no step for the rules. closure: as for ``optimizer.step``; its loss is returned.

        After :func:`rewire.attach`, ``optimizer.step()`` by whoever calls it does the same: call
        one of the two for each batch.
        """
        if self._outer is not None:  # accelerate's, say: it knows whether it is to step
            return self._step_outer(scaler, closure)
        refuse_accumulating(getattr(self.world, "optimizer", None))
        world = self.world
        world.straight = not (self.limits or self.saves)
        try:
            loss = self.optimise(scaler, closure)
            self.rewire()
        finally:
            world.straight = False
            world.settle()
        return loss

    def _step_outer(self, scaler: Any, closure: Callable[[], Any] | None) -> Any:
        if scaler is None:
            return self._outer.step() if closure is None else self._outer.step(closure)
        loss = scaler.step(self._outer)
        scaler.update()
        return loss
