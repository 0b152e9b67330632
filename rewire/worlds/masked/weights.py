"""The dense weights of a model and their masks, written and read by the keys of edges."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ...graph import Graph
from .memory import Addresses, Views, addresses, clear_absent, flat, layout, mask_type, taken

SCARCE = 12  # where fewer than 1 / SCARCE of the synapses exist, gathering them beats a mask


class Extent(Protocol):
    """How many synapses each projection can have, and where its keys begin: of a space."""

    ends: np.ndarray
    sizes: list[int]
    possible: int


class MaskedWeights:
    """Parameters and their masks, one for each projection of a space, which lie alike in memory.

    thin: numbers of the projections that are not full.
    """

    def __init__(self, space: Extent, parameters: Sequence[Tensor]):
        self.ends, self.sizes, self.possible = space.ends, space.sizes, space.possible
        self.parameters = parameters
        kind = mask_type(parameters)
        self.masks = [torch.ones_like(p, dtype=kind) for p in parameters]
        self._layouts = [layout(m) for m in self.masks]
        self.thin: list[int] = []
        self.views = Views()
        self._known: Addresses | None = None  # of the weights, as last seen

    def under(self, masks: list[Tensor]) -> MaskedWeights:
        """The same weights under other masks."""
        other = copy.copy(self)
        other.masks = masks
        return other

    def scarce(self, edges: int) -> bool:
        """Whether so few synapses exist that gathering them beats a mask."""
        return SCARCE * edges < self.possible

    def addresses(self, *, known: bool = False) -> Addresses | None:
        """The weights for the kernels, where they lie now. known: as last seen."""
        last = self._known
        if known:
            return last
        if (
            last is None
            or last.tensors != [p.data_ptr() for p in self.parameters]
            or self.parameters[0].dtype is not last.type
        ):
            self._known = last = addresses(self.parameters)
            if last is not None and last.layouts != self._layouts:  # model.to(memory_format=...)
                for i, p in enumerate(self.parameters):
                    mask = self.masks[i]
                    self.masks[i] = torch.empty_like(p, dtype=mask.dtype).copy_(mask)
                self._layouts = last.layouts
        return last

    # -- masks ------------------------------------------------------------------------------------

    def cover(self, graph: Graph) -> None:
        """Let the masks be those of this graph."""
        for mask in self.masks:
            mask.zero_()
        self.put(self.masks, np.unique(graph.array), 1.0)
        self.find_thin(graph)

    def find_thin(self, graph: Graph) -> None:
        """Note which projections are not full."""
        ends = graph.bounds
        self.thin = [i for i, size in enumerate(self.sizes) if ends[i + 1] - ends[i] < size]

    def mask(self, tensors: list[Tensor], which: list[int]) -> None:
        """Clear what is absent in tensors of these projections, in place."""
        clear_absent(tensors, [self.masks[i] for i in which])

    @torch.no_grad()
    def mask_all(self, stacks: Sequence[Sequence[Tensor | None]]) -> None:
        """Clear what is absent, in place, in what has one tensor, or none, for each projection."""
        for tensors in stacks:
            pairs = [(t, i) for i in self.thin if (t := tensors[i]) is not None]
            if pairs:
                self.mask([t for t, _ in pairs], [i for _, i in pairs])

    def strays(self, tensors: Sequence[Tensor | None]) -> dict[int, int]:
        """How many numbers at absent synapses are not 0, by projection: where any are."""
        counts = dict[int, int]()
        for i in self.thin:
            if (t := tensors[i]) is not None:
                if n := int(((t.detach() != 0) & (self.masks[i] == 0)).sum()):
                    counts[i] = n
        return counts

    def gradient(self, i: int) -> Tensor | None:
        """The gradient of a weight, which lies as the weight does."""
        return self.parameters[i].grad

    def mask_gradients(
        self, graph: Graph, unmasked: Callable[[int], bool] = lambda i: True
    ) -> None:
        """Clear the gradients of absent synapses, in place, where they are not clear yet."""
        pairs = [(g, i) for i in self.thin if (g := self.gradient(i)) is not None and unmasked(i)]
        gradients = [g for g, _ in pairs]
        if pairs and not self._keep_only(gradients, graph):
            self.mask(gradients, [i for _, i in pairs])

    def _keep_only(self, gradients: Sequence[Tensor], graph: Graph) -> bool:
        """Clear those of absent synapses, in place; False where a mask does it faster."""
        if len(gradients) != len(self.parameters) or not self.scarce(len(graph)):
            return False
        fast = addresses(gradients)
        if fast is None:
            return False
        fast.verbs.keep_only(fast.tensors, fast.turned, self.ends, graph.array)
        return True

    # -- numbers at keys --------------------------------------------------------------------------

    def replace(
        self,
        before: Graph,
        after: Graph,
        drop: np.ndarray,
        *,
        whole: bool,
        fast: Addresses | None,
    ) -> None:
        """After an edit: zeros at what was dropped, births at what was added, masks with them.

        whole: all weights are written. fast: the weights for the kernels.
        """
        born, weight = after.born, after.numbers("weight")
        if fast is not None and self.masks[0].dtype is torch.bool:
            fast.verbs.replace(
                fast.tensors, [m.data_ptr() for m in self.masks], fast.turned, self.ends,
                before.array, drop, after.array, born, weight, whole,
            )  # fmt: skip
            return
        dropped, new = np.sort(before.array[drop]), after.array[born]
        self.put(self.parameters, dropped, 0.0)
        self.put(self.parameters, new, weight[born])
        self.put(self.masks, dropped, 0.0)
        self.put(self.masks, new, 1.0)
        if whole:
            self.put(self.parameters, after.array, weight)

    def gather(self, tensors: Sequence[Tensor], graph: Graph, fast: Addresses | None) -> np.ndarray:
        """The numbers of tensors like the weights at the graph's edges, (E,)."""
        if fast is not None:
            return fast.verbs.gather(fast.tensors, fast.turned, self.ends, graph.array)
        local = (graph.local(i).numpy() for i in range(len(tensors)))
        return np.concatenate([
            self.views.gather(t, at) for t, at in zip(tensors, local, strict=True)
        ])  # fmt: skip

    def put(
        self, tensors: Sequence[Tensor | None], keys: np.ndarray, values: np.ndarray | float
    ) -> None:
        """Write one number, or one each, at rising keys; ``tensors`` has one for each projection.

        Where one is None, what falls into its projection is left out.
        """
        if not len(keys):
            return
        fast = addresses(tensors)
        if fast is not None:
            verb = fast.verbs.scatter if isinstance(values, np.ndarray) else fast.verbs.fill
            verb(fast.tensors, fast.turned, self.ends, keys, values)
            return
        for i, local, rows in self._split(keys):
            tensor = tensors[i]
            if tensor is not None:
                own = values[rows] if isinstance(values, np.ndarray) else values
                self.views.scatter(tensor, local, own)

    def numbers_at(self, keys: Tensor, tensors: Sequence[Tensor | None]) -> Tensor:
        """The numbers at keys of tensors like the weights, one for each projection, (k,).

        On the CPU, float64 if any of them is, else float32; 0 where there is no tensor.
        """
        double = any(t is not None and t.dtype is torch.float64 for t in tensors)
        kind = torch.float64 if double else torch.float32
        if len(keys) == self.possible and (keys.diff() == 1).all():  # all, as they lie
            whole = zip(tensors, self.parameters, strict=True)
            return torch.cat([
                (torch.zeros_like(p) if t is None else t).detach().reshape(-1).to(kind)
                for t, p in whole
            ]).cpu()  # fmt: skip
        out = torch.zeros(len(keys), dtype=kind)
        for i, local, rows in self._split(keys.numpy()):
            t = tensors[i]
            if t is not None:
                out[rows] = torch.from_numpy(taken(t, local, flat(t))).to(out)
        return out

    def _split(self, keys: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray | slice]]:
        """(projection, flat indices, rows of ``keys``) of the projections that keys fall in."""
        if len(self.parameters) == 1:
            return [(0, keys, slice(None))]
        which = self.ends.searchsorted(keys, "right") - 1
        out: list[tuple[int, np.ndarray, np.ndarray | slice]] = []
        for i in np.bincount(which).nonzero()[0].tolist():
            rows = (which == i).nonzero()[0]
            out.append((i, keys[rows] - self.ends[i], rows))
        return out
