"""A session's part in steps that others make: a loop of one's own, a trainer, a scaler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from .averaging import Averaged
from .graph import Graph
from .saving import adopt, go_back
from .trackers import Following, Tracker
from .when import Clock
from .worlds.torch_model.base import TorchWorld
from .worlds.torch_model.copies import Copies
from .worlds.torch_model.group import Notice, Ranks, edges_of, grouped, is_sharded, ranks_of
from .worlds.torch_model.optimizers import chain
from .worlds.torch_model.stepping import Stepping, watch_others

_NOTHING = nullcontext()
_LISTENING = WeakSet["Listening"]()  # sessions with hooks on an optimiser


def _stepped_by_another(optimizer: torch.optim.Optimizer) -> None:
    """Raise RuntimeError where an optimiser that no session listens to steps sparse weights."""
    for session in list(_LISTENING):
        session.refuse(optimizer)


class Listening:
    """What a session does for whoever trains its model, and about what they write into it."""

    world: Any
    clock: Clock
    limits: tuple[Any, ...]
    rules: tuple[Any, ...]
    names: list[str]
    states: list[Any]
    seed: int
    endless: bool
    skipped: bool
    done: Any
    graph: Any
    _graph: Graph
    _may_want: bool
    _wants: list[bool]
    plan: Callable[[], bool]
    unplan: Callable[[], None]
    rewire: Callable[[], None]
    wants_grads: Any
    _hold_weights: Callable[[str], None]
    _stepping: Stepping | None = None  # hooks on the optimiser
    _outer: Any = None  # what wraps the optimiser, where something does
    _joined: bool = False  # whether the processes that train this model were looked for
    _wrapper: Any = None  # the DistributedDataParallel that ran the model last
    _notice: Any = None  # the handle of the hook that notices it
    _due: list[int]
    restoring = False  # whether model and session are being loaded from one file
    _followers: tuple[Callable[[Any], None], ...] = ()  # called after each step
    _copies: Copies | None = None  # deep copies of the model, while hooks listen

    def listen(self) -> None:
        """Make every step of the optimiser's one of this session, whoever calls it.

        :func:`rewire.attach` does. A session that listened to the same weights before is detached.
        """
        world = self.world
        if not isinstance(world, TorchWorld) or not world.listens:
            return
        weights = {id(p) for p in world.sparse_parameters()}
        for other in list(_LISTENING):
            if other is not self and weights & {id(p) for p in other.world.sparse_parameters()}:
                other.detach()
        optimizers = chain(world.optimizer)
        self._outer = optimizers[0] if len(optimizers) > 1 else None
        self._stepping = Stepping(self, optimizers)
        self._joined = False  # a copy's world is told anew
        world.listen(dense=self._may_want, hooks=self._stepping.hooks())
        if grouped():
            self._notice = world.model.register_forward_pre_hook(Notice(self))
        self._foresee()
        self._copies = Copies(self, world.model, world.sparse_parameters())
        _LISTENING.add(self)
        watch_others(_stepped_by_another)

    def _making(self) -> AbstractContextManager[None]:
        """Within it the session makes the optimiser's step itself."""
        return self._stepping or _NOTHING

    def detach(self) -> None:
        """Take all hooks off the model and the optimiser: what trains them from now on no longer
        keeps absent synapses at 0."""
        if self._stepping is not None:
            self._stepping.close()
            self.world.unlisten()
        if self._copies is not None:
            self._copies.close()
        if self._notice is not None:
            self._notice.remove()
        self._stepping = self._copies = self._notice = None
        _LISTENING.discard(self)

    def before_step(self, closure: Callable[[], Any] | None) -> Callable[[], Any] | None:
        """A hook of the optimiser: somebody calls its ``step``. Returns the closure to call."""
        self._look_around()
        skip = self.plan()
        try:
            self.world.want_grads(self.wants_grads)
            return self.world.before_step(self._graph, skip, closure)
        except BaseException:
            self.unplan()
            raise

    def after_step(self, *, made: bool) -> None:
        """A hook of the optimiser: the step was made, or not (an overflow, an error)."""
        self.world.after_step(self._graph, self.skipped or not made)
        if not made:
            self.unplan()
            return
        if self.limits:
            self._hold_weights("step")
        self.rewire()
        self.world.settle()

    def refuse(self, optimizer: torch.optim.Optimizer) -> None:
        """Raise RuntimeError for an optimiser, not this session's, that is to step its weights."""
        if self._stepping is None or self._stepping.running:
            return
        steps = {id(p) for group in optimizer.param_groups for p in group["params"]}
        names = [p.name for p in self.world.space.projections]
        for name, p in zip(names, self.world.sparse_parameters(), strict=True):
            if id(p) in steps and p.grad is not None:
                raise RuntimeError(
                    f"{name!r} is sparse under a session whose optimizer is another "
                    f"{type(self.world.optimizer).__name__} than this {type(optimizer).__name__}: "
                    "its step would move synapses behind the rules' back, and go on moving those "
                    "that they drop. Step one optimizer alone, leave the weight out with exclude=, "
                    "attach again with this optimizer, or net.detach() to train it without rules."
                )

    def _look_around(self) -> None:
        """All that is looked at before a step, whoever makes it."""
        self._verify()
        if not self._joined:
            self._join()
        if self._copies is not None:  # averages by position
            self._copies.look(self._graph)
        self._refuse_foreign()

    def _refuse_foreign(self) -> None:
        """Stop where a state of other edges was loaded into the model and not put right."""
        if self._stepping is not None and self.world.states is not None:
            self.world.states.stop()

    def _verify(self) -> None:
        """Is the model still the one that was attached?"""
        if isinstance(self.world, TorchWorld):
            self.world.verify()

    def _join(self) -> None:
        """Before the first step: do several processes train this model, from the same state?"""
        world = self.world
        if isinstance(world, TorchWorld):
            named = world.ranks is not None and world.ranks.wrapper is None
            ranks = None if named else ranks_of(world.model, wrapper=self._wrapper)
            if ranks is not None:
                world.join_ranks(ranks)
            if world.ranks is not None:
                self._agree_at_first(world.ranks)
        self._joined = True

    def runs(self, wrapper: Any) -> None:
        """A forward pass begins, run by a DistributedDataParallel, which the session may not know.
        Raises RuntimeError where the weights were sharded since attach: another optimizer than
        this session's may be the one that steps them."""
        if wrapper is not None and wrapper is not self._wrapper:
            self._wrapper, self._joined = wrapper, False
        if not torch.compiler.is_compiling():
            self._refuse_shards()

    def _refuse_shards(self) -> None:
        """Raise RuntimeError where the weights were sharded since attach."""
        standing = self.world.standing
        if standing is not None and (why := standing.sharded(self.world.left())) is not None:
            raise RuntimeError(why)

    def _settings(self) -> dict[str, Any]:
        """What the ranks of a training are to be told alike."""
        projections = [f"{p.name} {p.shape}" for p in self.world.space.projections]
        return {
            "worlds": self.world.name,
            "seeds": self.seed,
            "rules": [repr(rule) for rule in self.rules],
            "lengths": None if self.endless else self.clock.span,
            "limits": [repr(limit) for limit in self.limits],
            "sparse weights": projections,
        }

    def _agree_at_first(self, ranks: Ranks) -> None:
        """Compare all that the ranks are to have in common before they train on."""
        steps = [self.clock.step, self.clock.round, self.clock.total]
        settings = {**self._settings(), "steps": steps, "edges": edges_of(self._graph)}
        ahead = self.clock.step + 1
        when = "before the first step" if ahead == 1 else f"before step {ahead}"
        ranks.agree(settings, when)
        self.world.guard()  # DistributedDataParallel wrote the first rank's weights
        graph = self.world.read(self._graph)
        columns = {f"columns {n!r}": v for n, v in graph.columns.items() if n != "weight"}
        states = zip(self.names, self.states, strict=True)
        values = {f"states of {name}": state for name, state in states}
        ranks.agree({**columns, "weights": graph["weight"], **values}, when)

    def _agree(self) -> None:
        """After a tick in which rules were due: do all ranks hold the same edges?"""
        if self.world.ranks is not None and self._due:
            names = ", ".join(self.rules[i].name for i in self._due)
            self.world.ranks.agree_on_edges(self._graph, f"after step {self.clock.step} ({names})")

    def _foresee(self) -> None:
        """Tell the world whether a rule will ask for gradients after the coming step, which it
        keeps while backward passes make them."""
        if self._stepping is None or not self._may_want or self.done:
            return
        step, span, round_, total, dt = self.clock
        coming = Clock(step + 1, span, round_, total + 1, dt)
        wanted = any(w and r.when(coming) for w, r in zip(self._wants, self.rules, strict=True))
        self.world.want_grads(wanted)

    @property
    def optimizer(self) -> Any:
        """The optimiser to hand to a trainer: each of its steps is one of this session."""
        return getattr(self.world, "optimizer", None)

    def follow(
        self,
        follower: Tracker | Callable[[Any], None],
        *,
        every: int = 1,
        layers: bool = False,
    ) -> Callable[[], None]:
        """Let a tracker take this session's numbers as it steps; returns a function that ends it.

        follower: a tracker (see :mod:`rewire.trackers`), or a function that is called with this
            session after each step. every: steps between two entries of a tracker. layers: also
            the density of each projection.

        A copy of the session, or one that is loaded, is followed by nobody.
        """
        call: Callable[[Any], None]
        if isinstance(follower, Tracker):
            call = following = Following(follower, every, layers)
            following.begin(self)
        elif callable(follower):
            call = follower
        else:
            raise TypeError(
                "a follower is a tracker, with log() and finish(), or a function of the session, "
                f"got {follower!r}."
            )
        self._followers = (*self._followers, call)

        def end() -> None:
            self._followers = tuple(f for f in self._followers if f is not call)

        return end

    def _tell_followers(self) -> None:
        """A step is over."""
        self.world.settle()
        for call in self._followers:
            call(self)

    def clip(self, max_norm: float, norm_type: float = 2.0) -> Tensor:
        """Clip the gradients of all the model's parameters by their joint norm, which is returned:
        that of edges, biases and norms, in every world. Raises ValueError for a world without a
        model."""
        model = getattr(self.world, "model", None)
        if model is None:
            raise ValueError(f"the {self.world.name} world has no gradients to clip.")
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm, norm_type)
        return norm.full_tensor() if is_sharded(norm) else norm  # type: ignore[attr-defined]

    # -- averages -------------------------------------------------------------------------------

    def averaged(
        self,
        decay: float | None = None,
        *,
        buffers: str = "copied",
        each_step: bool = False,
    ) -> Averaged:
        """An average of the model over its steps, each edge by its key since its birth: of
        exponential weights, or the equal mean. each_step: whether every step from now on is
        averaged; else :meth:`rewire.averaging.Averaged.update` is called where a step is to be.

        >>> import torch, rewire
        >>> model = torch.nn.Linear(20, 10)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> net = rewire.attach(model, optimizer, rule=rewire.SET(), density=0.1)
        >>> average = net.averaged(decay=0.999, each_step=True)
        >>> model(torch.ones(1, 20)).sum().backward()
        >>> optimizer.step()
        >>> average.updates, int(average.model.weight.count_nonzero())
        (1, 20)

        Raises ValueError for a decay outside [0, 1), and for a world without a torch model.
        """
        return Averaged(self, decay, buffers=buffers, each_step=each_step)

    def to_dense(self) -> nn.Module:
        """A copy of the model in torch's own layers, without session, hooks or lists of edges: to
        save, export, compile or quantize. Absent and silent synapses weigh exactly 0, and gains are
        multiplied into the weights.

        >>> import torch, rewire
        >>> model = torch.nn.Sequential(torch.nn.Linear(20, 10), torch.nn.ReLU())
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> net = rewire.attach(model, optimizer, rewire.SET(), density=0.1, world="sparse")
        >>> model[0], net.to_dense()[0]
        (EdgeLinear(in_features=20, out_features=10, bias=True),
         Linear(in_features=20, out_features=10, bias=True))
        >>> int(net.to_dense()[0].weight.count_nonzero())
        20

        Raises ValueError for a world without a torch model.
        """
        if not isinstance(self.world, TorchWorld):
            raise ValueError(f"the {self.world.name} world has no torch model to copy.")
        twin = self.world.twin(dense=True)
        twin.hold(self.graph.effective())
        return twin.model

    def load(self, path: str | Path) -> None:
        """Let model, optimizer and session be what :func:`rewire.save` wrote, edges included: to go
        back to the best checkpoint, say. Averages of :meth:`averaged` start again.

        Raises ValueError, and changes nothing, for a file of another model, optimizer, seed, world
        or other rules.
        """
        go_back(self, path)

    @property
    def averages(self) -> WeakSet[Averaged]:
        """The averages that were made of this session's model, and are still held."""
        return self.__dict__.setdefault("_averages", WeakSet())

    def _born(self, keys: Any) -> None:
        for average in self.averages:
            average.born(keys)

    def _restarted(self) -> None:
        for average in self.averages:
            average.restart()

    def _stepped(self) -> None:
        for average in self.averages:
            if average.each_step:
                average.update()

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Take a state of the model (``model.state_dict()``, of this world or the other) with the
        edges that it is of: as many in each layer as now, at other places. The clock, the rules and
        the moments of edges that are in both stay, the log starts anew. To go back in time as a
        whole, load the session: :meth:`load`.

        Raises ValueError, and changes nothing, for a state that does not say which edges it is of,
        or is of another number of them, and under rules with silent edges.
        """
        adopt(self, state)

    def _look(self) -> None:
        """Before weights are read: did somebody write at absent synapses?"""
        self._refuse_foreign()
        if self._stepping is not None:
            self._refuse_shards()
            self.world.look()

    def check(self) -> None:
        """Raise RuntimeError where an absent synapse has a weight or a moment other than 0, where
        a sparse weight was frozen, replaced or moved since attach or is held by other edges than
        the graph's, and where an edge's weight is NaN."""
        self._verify()
        if problems := self.world.check():
            raise RuntimeError(
                " ".join(problems) + " Something else than this session wrote them: call "
                "net.enforce() to set them to 0, or load the session that they belong to."
            )
        graph = self.world.read(self._graph)
        odd = graph["weight"].isnan() if "weight" in graph.columns else None
        if odd is not None and odd.any():
            counts = {
                p.name: int(odd[graph.rows(i)].sum()) for i, p in enumerate(graph.projections)
            }
            where = ", ".join(f"{n:,} of {name!r}" for name, n in counts.items() if n)
            raise RuntimeError(
                f"weights of {int(odd.sum()):,} edges are NaN ({where}): training diverged, or "
                "something wrote them. Load an earlier state, with a smaller learning rate or "
                "clipped gradients (net.clip)."
            )

    def enforce(self) -> int:
        """Set weights and moments of absent synapses to 0; returns how many weights were not."""
        n = self.world.enforce()
        self.world.note()
        if self._stepping is not None and self.world.states is not None:
            self.world.states.foreign.clear()
        return n

    def __copy__(self) -> Listening:
        raise TypeError(
            "copy.copy of a session would be a second one of the same model, whose steps each "
            "would take for its own: copy.deepcopy copies model, optimizer and session together."
        )

    def __getstate__(self) -> dict[str, Any]:
        own = ("_copies", "_averages", "_wrapper", "_notice")  # of this process and this model
        state = {n: v for n, v in self.__dict__.items() if n not in own}
        return {**state, "_stepping": self._stepping is not None, "_followers": ()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        listens, self._stepping = self._stepping, None
        if listens:
            self.world.unlisten()
            self.listen()
