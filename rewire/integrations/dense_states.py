"""States of a model with dense weights, which trainers save and load beside a session.

A trainer's checkpoint holds the model as if it were dense, absent weights at 0, in both torch
worlds: whoever has no session can load it. A hook on the model brings such a state onto the edges
that a session has.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..session import Session
from ..worlds.sparse.edge_state import SUFFIX

State = dict[str, Any]


@contextmanager
def resuming(resumes: bool) -> Iterator[None]:
    """Within it a session may start anywhere where a run is resumed: it goes back to another
    topology at once, so nobody is to hear of zeros that the start would make edges of."""
    with warnings.catch_warnings():
        if resumes:
            warnings.filterwarnings("ignore", message=".*exact zeros, as after pruning")
        yield


def dense_state(net: Session, state: Mapping[str, Any], prefix: str = "") -> State:
    """A state of the session's model with dense weights, absent ones 0.

    state: of a module that holds the model under ``prefix``.
    """
    out = dict(state)
    graph = net.graph
    for i, projection in enumerate(graph.projections):
        name = prefix + projection.name
        out.pop(name + SUFFIX, None)
        values = out.get(name)
        if values is not None and tuple(values.shape) != tuple(projection.shape):
            dense = torch.zeros(projection.size, dtype=values.dtype)
            dense[graph.local(i)] = values.detach()
            out[name] = dense.view(projection.shape)
    return out


class DenseStates:
    """A hook on a module that loads dense states into the session's model.

    prefix: of the session's model in the module. adopt: called with a state that is loaded, before
    anything is read of it; lets the session go back to the topology that the state is of, if it
    knows it.

    Raises ValueError for a state with weights at absent synapses.
    """

    def __init__(
        self, net: Session, module: nn.Module, prefix: str, adopt: Callable[[State], None]
    ):
        self._net, self._prefix, self._adopt = net, prefix, adopt
        self._open = False
        self._handle = module.register_load_state_dict_pre_hook(self._load)

    def remove(self) -> None:
        """Take the hook off."""
        self._handle.remove()

    def _load(self, module: nn.Module, state: State, outer: str, *rest: Any) -> None:
        if self._open or self._net.restoring:  # the session loads the model itself
            return
        self._open = True
        try:
            self._adopt(state)
        finally:
            self._open = False
        self._lay(state, outer + self._prefix)

    def _lay(self, state: State, prefix: str) -> None:
        """Bring dense weights onto the edges, in place."""
        graph, own = self._net.graph, self._net.world.model.state_dict()
        for i, projection in enumerate(graph.projections):
            name = prefix + projection.name
            dense = state.get(name)
            if not isinstance(dense, Tensor) or tuple(dense.shape) != tuple(projection.shape):
                continue  # a list of edges, which says itself which those are
            flat, local = dense.detach().reshape(-1), graph.local(i)
            others = int((flat != 0).sum()) - int((flat[local.to(flat.device)] != 0).sum())
            if others:
                raise ValueError(
                    f"{name!r} of the state that is loaded has {others:,} weights at synapses that "
                    "are absent in the session, and the checkpoint says nothing of the session "
                    "that they belong to: load one that was saved with it, or begin anew with "
                    "initial='nonzero'."
                )
            if projection.name + SUFFIX in own:
                state[name] = flat[local]
                state[name + SUFFIX] = own[projection.name + SUFFIX]
