"""What a sparse world does about steps and writes of others."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from ..masked.world import WRITTEN
from ..torch_model.base import TorchWorld
from ..torch_model.optimizers import innermost
from .admission import problem_of_list
from .dense_forms import DenseForms
from .edge_numbers import Edges
from .moments import Moments
from .weights import Held, Weight


class Guarded(TorchWorld):
    """Weights in either form hold what the session left in them, or somebody is told.

    _project: whether the optimiser moves weights that have no gradient.
    """

    weights: list[Weight]
    held: Held
    dense_forms: DenseForms
    moments: Moments
    begun: bool
    _project: bool
    _marks: list[int] | None = None  # of the dense weights as the session left them
    _reloads: Any = None  # the hook on the optimiser's load_state_dict

    def take_up(self) -> None:
        """Take up lists of edges that somebody laid in other memory."""
        raise NotImplementedError

    def listen(self, *, dense: bool, hooks: frozenset[int]) -> None:
        """Watch for writes into what is held dense."""
        super().listen(dense=dense, hooks=hooks)
        self._reloads = innermost(self.optimizer).register_load_state_dict_post_hook(self._reloaded)
        self.note()

    def _reloaded(self, optimizer: torch.optim.Optimizer) -> None:
        """Somebody loaded a state of the optimiser's."""
        self._marks = []  # no longer as the session left it

    def holds(self, edges: Edges) -> bool:
        """Whether one of the lists is of these edges, itself and not a copy."""
        return any(w.wires is not None and w.wires.index is edges[1] for w in self.weights)

    def unlisten(self) -> None:
        """Take the hooks off."""
        super().unlisten()
        if self._reloads is not None:
            self._reloads.remove()
        self._marks = self._reloads = None

    def note(self) -> None:
        """What the weights hold now is the session's."""
        if self.standing is not None:
            self._marks = self.dense_forms.marks()

    def guard(self) -> None:
        """Project what others wrote since the last step, and say so."""
        if self.begun:
            self.take_up()
        if self.standing is None or not self.dense_forms.thin:
            return
        if self._marks == self.dense_forms.marks() and not (self.standing.hooked and self.check()):
            return
        problems = self.dense_forms.strays(moments=not self._project)
        self.enforce()
        if problems:
            warnings.warn(" ".join(problems) + WRITTEN, stacklevel=4)

    def look(self) -> None:
        """Writes that leave no mark (``p.data``) are looked for where somebody reads."""
        if self.standing is not None and self.dense_forms.strays(moments=False):
            self._marks = []
            self.guard()
            self.note()

    def mask_of(self, i: int) -> Tensor | None:
        """The mask of a weight that is held dense."""
        return self.weights[i].mask

    def check(self) -> list[str]:
        """Lists of other numbers than one for each edge, and what is not 0 at absent synapses."""
        lists = []
        for i, w in enumerate(self.weights):
            if w.wires is not None:
                keys = self.held.local(i)
                lists += problem_of_list(w, keys, self.held.flat.dtype) or self.moments.odd(w)
        return lists + self.dense_forms.strays(moments=not self._project)

    def enforce(self) -> int:
        """Set weights and moments of absent synapses to 0; returns how many weights were not."""
        return self.dense_forms.enforce()
