"""The lists of edges as parts of one memory: again so after copies, pickles and swaps."""

from __future__ import annotations

from typing import Any

import torch

from ..torch_model.activity import Tap, Taps
from ..torch_model.base import TorchWorld
from ..torch_model.group import Ranks, grouped
from .admission import check_list
from .edge_layers import wire
from .edge_weight import lay
from .gradients import Gradients
from .native_step import NativeStep
from .optimizer_state import OptimizerEdges
from .shared_gradients import Nobodys, SharedGradients, check_wrapper
from .twin import EdgeTwin
from .weights import Held, Weight


class CopiedWhole(TorchWorld):
    """A world whose copy holds copies of model, optimiser and edges, and nothing of the original.

    Copying takes each tensor by itself: lists that were parts of one memory are joined again. The
    native plan and what rules see of the last pass (gradients at absent synapses, activity) stay
    behind, as parameters' gradients do in torch.
    """

    again = (
        "attach to net.to_dense(), with an optimizer of its own (initial='nonzero' keeps the edges)"
    )

    held: Held
    weights: list[Weight]
    native: NativeStep
    gradients: Gradients
    taps: Taps
    begun: bool
    shared: SharedGradients | Nobodys | None = None  # by several processes, while they listen

    def __getstate__(self) -> dict[str, Any]:
        if self.begun:
            self.take_up()
        return vars(self)

    def twin(self, *, dense: bool) -> EdgeTwin:
        """A copy of the model, in whose sparse weights others can be put."""
        return EdgeTwin(self.model, self.weights, dense=dense)

    def join_ranks(self, ranks: Ranks) -> None:
        """What rules look at is taken over all ranks. Raises RuntimeError where a
        DistributedDataParallel holds the sparse weights in its buckets."""
        if ranks.wrapper is not None:
            check_wrapper(ranks.wrapper, self.weights)
        if ranks.size > 1:
            self.ranks = self.taps.ranks = self.gradients.ranks = ranks

    def listen(self, *, dense: bool, hooks: frozenset[int]) -> None:
        """Notice what backward passes make, and mask what is held dense as soon as it is made."""
        super().listen(dense=dense, hooks=hooks)
        self.gradients.listen()
        if grouped():
            self.shared = SharedGradients(self.model, self.weights)

    def unlisten(self) -> None:
        """Take the hooks off."""
        super().unlisten()
        self.gradients.unlisten()
        if self.shared is not None:
            self.shared.close()
            self.shared = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.join()

    @torch.no_grad()
    def join(self) -> None:
        """Let lists of edges be parts of the flat memory, and listen to model and optimiser."""
        for i, w in enumerate(self.weights):
            if w.wires is not None:
                wire(w.module, w.attribute, w.wires)
                lay(w.parameter, self.held.flat[self.held.rows(i)])
                w.wires.keeping, w.wires.over = self.gradients.keeping, True
        OptimizerEdges(self.optimizer, self.weights)
        if self.taps._hooks:
            for module in self.model.modules():
                for hooks in (module._forward_pre_hooks, module._forward_hooks):
                    for k in [k for k, hook in hooks.items() if isinstance(hook, Tap)]:
                        del hooks[k]
            self.taps = Taps(self.taps.sites)
            self.taps.listen()

    @torch.no_grad()
    def take_up(self) -> None:
        """Take up lists of edges that somebody laid in other memory (``p.data = averaged``).

        All get new memory: that of before is whoever's who swaps it back.
        """
        flat, size = self.held.flat, self.held.flat.itemsize
        first = flat.data_ptr()
        with torch._C.DisableTorchFunctionSubclass():
            lists = [(self.held.rows(i), w) for i, w in enumerate(self.weights) if w.wires]
            moved = [
                w for rows, w in lists
                if rows.stop > rows.start
                and w.parameter.data_ptr() != first + rows.start * size
            ]  # fmt: skip
            if not moved:
                return
            for w in moved:
                check_list(w, flat.dtype)
            self.held.flat = flat.clone()
            for rows, w in lists:
                self.held.flat[rows] = w.parameter
                w.parameter.data = self.held.flat[rows]
        self.native.rewire()
