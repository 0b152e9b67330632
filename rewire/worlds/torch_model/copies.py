"""Copies of a model that a session trains: who averages into them by position is told so.

An average of weights by position (``torch.optim.swa_utils.AveragedModel``, timm's ``ModelEma``, the
callbacks of trainers) mixes synapses that have nothing to do with each other where the model is
lists of edges, and is dense where the model is under masks. All of them begin with a deep copy of
the model, which is noticed here: it is refused while an object that averages is being made, and
any other copy is watched for numbers that its own training did not write.
"""

from __future__ import annotations

import gc
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any
from weakref import WeakSet, ref

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ...graph import Graph
from .followers import followers

MARK = "_rewire_origin"  # the attribute of a module that owns sparse weights
AVERAGER = re.compile(r"Averag(ed|er|ing)|MovingAverage|EMA|Ema(?![a-z])|SWA")  # in class names
DEPTH = 60  # frames from a deep copy of a parameter's module up to who asked for it
NEAR = 4  # frames from a copy of one parameter up to the method that makes a list of them
Places = list[tuple[int, str]]  # numbers of sparse parameters, and their names in a module

_quiet = 0  # how many copies of our own are being made


@contextmanager
def own_copy() -> Iterator[None]:
    """Within it the model is copied by this library, which knows what it does."""
    global _quiet
    _quiet += 1
    try:
        yield
    finally:
        _quiet -= 1


def owners(
    model: nn.Module, parameters: Sequence[Tensor]
) -> dict[nn.Module, list[tuple[int, str]]]:
    """The modules that own these parameters: (number of the parameter, name in the module)."""
    numbers = {id(p): i for i, p in enumerate(parameters)}
    owned: dict[nn.Module, list[tuple[int, str]]] = {}
    for module in model.modules():
        for attribute, p in module._parameters.items():
            if id(p) in numbers:
                owned.setdefault(module, []).append((numbers[id(p)], attribute))
    return owned


class Origin:
    """On a module that owns sparse weights: a deep copy of it is noticed."""

    def __init__(self, copies: Copies, module: nn.Module, weights: Places):
        self.copies, self.module, self.weights = ref(copies), ref(module), weights

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        copies, copied = self.copies(), memo.get(id(self.module()))
        if copies is not None and copied is not None and not copies.copied_whole(memo):
            copies.note(copied, self.weights)

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()


def _nothing() -> None:
    return None


class Copies:
    """The deep copies of a session's model.

    session: whose copies are none of these: they have a session of their own.
    changes: names of the rules that change the edges; without any, positions are as good as keys.
    """

    def __init__(self, session: Any, model: nn.Module, parameters: Sequence[Tensor]):
        self._session = ref(session)
        self._world: str = session.world.name
        self.changes = ", ".join(r.name for r in session.rules if not _never(r))
        self._modules = list(owners(model, parameters).items())
        self._watched: list[tuple[ref[nn.Module], Places, list[tuple[int, str]], Tensor]] = []
        if self.changes:
            self._refuse_earlier(session.graph)
            self._watch_followers(model, parameters, session.topology)
        for module, weights in self._modules:
            module.__dict__[MARK] = Origin(self, module, weights)
        _ALL.add(self)

    def _refuse_earlier(self, graph: Graph) -> None:
        """Raise ValueError for an average that was made of this model before it was sparse, as
        trainers do whose callbacks are set up before the optimizer."""
        if any(_is_of(average.module, graph) for average in averagers()):
            raise ValueError(self._refusal("AveragedModel"))
        if (name := _averaging_callback(sys._getframe(2))) is not None:
            raise ValueError(self._refusal(name))

    def _watch_followers(
        self, model: nn.Module, parameters: Sequence[Tensor], keys: Tensor
    ) -> None:
        """Watch the networks beside the model that follow it, copies from before."""
        for follower in followers(model, parameters):
            paths = {module: path for path, module in follower.network.named_modules()}
            targets = dict(follower.target.named_modules())
            for module, weights in self._modules:
                target = targets.get(paths.get(module, "."))
                if target is not None:
                    self._watched.append((ref(target), weights, [], keys))

    def _refusal(self, name: str) -> str:
        return (
            f"{name} averages weights by position, and {self.changes} moves edges: the average "
            f"would {self._harm}. Use net.averaged(decay=...), which averages each edge by its "
            "key since its birth; copy.deepcopy alone is fine."
        )

    def note_parameter(self, name: str, holds: Callable[[Any], bool]) -> None:
        """An object of a class of this name copies a weight by itself. Raises ValueError where this
        session's world holds it, and edges will move."""
        session = self._session()
        if self.changes and session is not None and not _quiet and holds(session.world):
            raise ValueError(self._refusal(name))

    def close(self) -> None:
        """Notice no more copies."""
        _ALL.discard(self)
        for module, _ in self._modules:
            module.__dict__.pop(MARK, None)
        self._watched.clear()

    def copied_whole(self, memo: dict[int, Any]) -> bool:
        """Whether a copy is this library's own, or has a session of its own."""
        session = self._session()
        return bool(_quiet) or session is None or not self.changes or any(
            id(whole) in memo for whole in (session, session.world)
        )  # fmt: skip

    def note(self, copied: nn.Module, weights: Places) -> None:
        """A module was copied. Raises ValueError while something that averages is being made."""
        if (name := _averager(sys._getframe(2))) is not None:
            raise ValueError(self._refusal(name))
        session = self._session()
        assert session is not None
        self._watched.append((ref(copied), weights, [], session.topology))

    @property
    def _harm(self) -> str:
        mixes = "mix synapses that have nothing to do with each other"
        return mixes if self._world == "sparse" else "have weights at absent synapses"

    def look(self, graph: Graph) -> None:
        """Warn of copies into which something wrote numbers of several topologies."""
        kept = []
        for module_ref, weights, before, keys in self._watched:
            module = module_ref()
            if module is None:
                continue
            parameters = [
                (i, p) for i, name in weights if (p := module._parameters.get(name)) is not None
            ]
            now = [_contents(p) for _, p in parameters]
            trains = any(p.grad is not None for _, p in parameters)
            if now == before or not before or trains:
                if not trains:
                    kept.append((module_ref, weights, now, keys))
                continue
            if torch.equal(keys, graph.keys) or not self._mixed(graph, parameters):
                kept.append((module_ref, weights, now, keys))
                continue
            warnings.warn(
                "numbers were written into a deep copy of this model after its edges had changed "
                f"({self.changes}). An average of both would {self._harm}: use "
                "net.averaged(decay=...), which averages each edge by its key.",
                stacklevel=4,
            )
            self._watched = []
            return
        self._watched = kept

    def _mixed(self, graph: Graph, parameters: Sequence[tuple[int, Tensor]]) -> bool:
        """Whether a copy cannot be what the model is now. Of lists of other edges it never is; a
        dense one is where nothing but the edges of now weighs."""
        for i, p in parameters:
            dense = graph.projections[i].shape == tuple(p.shape)
            if not dense or bool((p.detach().cpu()[~graph.mask(i)] != 0).any()):
                return True
        return False


_ALL = WeakSet[Copies]()


def note_copied(holds: Callable[[Any], bool]) -> None:
    """A weight is copied by itself that one world holds. Raises ValueError where the class of who
    does it says that it averages, as those that keep a list of shadow parameters do."""
    name = _averager(sys._getframe(2), NEAR) if _ALL else None
    if name is not None:
        for copies in list(_ALL):
            copies.note_parameter(name, holds)


def _contents(parameter: Tensor) -> tuple[int, str]:
    """What tells whether somebody wrote into a parameter: ``p.data.copy_`` counts no version."""
    return parameter._version, repr(float(parameter.detach().sum()))


def _never(rule: Any) -> bool:
    from ...when import Never

    return isinstance(rule.when, Never)


def _is_of(averaged: nn.Module, graph: Graph) -> bool:
    """Whether a model has the weights that a graph has, at each of its edges."""
    for i, projection in enumerate(graph.projections):
        weights = [
            p.detach().reshape(-1).cpu()[graph.local(i)]
            for name, p in averaged.named_parameters()
            if name.endswith(projection.name) and tuple(p.shape) == projection.shape
        ]
        own = graph["weight"][graph.rows(i)]
        if not any(torch.equal(w.to(own), own) for w in weights):
            return False
    return True


class _Known:
    """The live averages of torch's: looked for where there are references to their class that no
    known one explains, since to look takes as long as a pass of the garbage collector."""

    averages = WeakSet[AveragedModel]()
    others = -1  # references to the class that are not those of its instances


def averagers() -> list[AveragedModel]:
    """All live instances of torch's ``AveragedModel``.

    >>> average = AveragedModel(nn.Linear(2, 2))
    >>> any(one is average for one in averagers())
    True
    """
    references = sys.getrefcount(AveragedModel)
    if references - len(_Known.averages) != _Known.others:
        instances = [o for o in gc.get_referrers(AveragedModel) if isinstance(o, AveragedModel)]
        _Known.averages = WeakSet(instances)
        _Known.others = references - len(instances)
    return list(_Known.averages)


def _averager(frame: FrameType | None, depth: int = DEPTH) -> str | None:
    """The class of an object in whose methods a copy is made, if its name says that it averages."""
    for _ in range(depth):
        if frame is None:
            return None
        code = frame.f_code
        if code.co_argcount and code.co_varnames[0] == "self":  # to look keeps a frame's locals
            name = type(frame.f_locals.get("self")).__name__
            if AVERAGER.search(name):
                return name
        frame = frame.f_back
    return None


def _averaging_callback(frame: FrameType | None) -> str | None:
    """The class of an averaging callback of the trainer that runs now, which copied the model
    before its optimizer was made: Lightning's of stochastic weight averaging."""
    for _ in range(DEPTH):
        if frame is None:
            return None
        named = "trainer" in frame.f_code.co_varnames  # to look at it keeps a frame's locals
        trainer = frame.f_locals.get("trainer") if named else None
        callbacks = getattr(trainer, "callbacks", None)
        for callback in callbacks if isinstance(callbacks, list) else ():
            if AVERAGER.search(type(callback).__name__):
                return type(callback).__name__
        frame = frame.f_back
    return None
