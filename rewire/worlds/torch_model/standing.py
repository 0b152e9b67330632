"""Whether a model is still the one that was attached: its sparse weights in place, and trained."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .activity import Tap
from .group import Notice, is_sharded, of_torch

AGAIN = "net.detach(), then make an optimizer and attach again (initial='nonzero' keeps the edges)"


class Standing:
    """Where a model's sparse parameters were when a session began to listen.

    Compared before every step, so that nobody rewires what another put aside: a frozen weight, one
    that its module computes with no more, one that was moved.
    """

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str],
        parameters: Sequence[Tensor],
        again: str = AGAIN,
    ):
        self._model, self._names, self._again = model, names, again
        number = {id(p): i for i, p in enumerate(parameters)}
        modules = dict(model.named_modules())
        # each module that computes with a sparse weight, and under which name
        self._holders: list[tuple[int, nn.Module, str]] = []
        self._links: list[tuple[nn.Module, str, nn.Module]] = []  # parent, name, child
        followed = set[str]()
        for path, module in modules.items():
            own = [(number[id(p)], module, attribute)
                   for attribute, p in module._parameters.items() if id(p) in number]  # fmt: skip
            self._holders += own
            while own and path and path not in followed:
                followed.add(path)
                parent, _, name = path.rpartition(".")
                self._links.append((modules[parent], name, modules[path]))
                path = parent
        self._memory = [(p.dtype, p.device) for p in parameters]
        self._in_shards = any(map(is_sharded, parameters))  # from the start: whole within a pass

    @property
    def hooked(self) -> bool:
        """Whether somebody's hook runs when a module computes with a sparse weight."""
        return any(
            not isinstance(hook, Tap | Notice) and not of_torch(hook)
            for _, module, _ in self._holders
            for hooks in (module._forward_pre_hooks, module._forward_hooks) if hooks
            for hook in hooks.values()
        )  # fmt: skip

    def sharded(self, parameters: Sequence[Tensor]) -> str | None:
        """What to do about a sparse weight that was sharded over processes since; None where none
        was. parameters: as the world left them."""
        if self._in_shards:
            return None
        for i, module, attribute in self._holders:
            p = module._parameters.get(attribute)
            if p is parameters[i]:
                continue
            if p is None:
                lost = attribute in vars(module)  # FSDP's view of a flat parameter
            else:
                lost = is_sharded(p) or self._gathers()
            if lost:
                return (
                    f"{self._names[i]!r} was sharded over processes after attach (fully_shard, "
                    "FSDP), where its edges cannot be counted: call fully_shard before "
                    "rewire.attach, in the masked world, train with DistributedDataParallel, or "
                    "leave the weight out with exclude=."
                )
        return None

    def _gathers(self) -> bool:
        """Whether fully_shard puts whole weights in their places for a pass."""
        above = [self._model, *(m for _, m, _ in self._holders), *(m for m, _, _ in self._links)]
        return any(kind.__name__ == "FSDPModule" for m in above for kind in type(m).__mro__)

    def problem(self, parameters: Sequence[Tensor]) -> str | None:
        """What was changed since, and what to do; None where nothing was.

        parameters: the sparse ones, as the world left them after its last step.
        """
        for parent, name, child in self._links:
            if parent._modules.get(name) is not child:
                return self._replaced(parent, name, child)
        for i, module, attribute in self._holders:
            if module._parameters.get(attribute) is not parameters[i]:
                return (
                    f"{self._names[i]!r} is another parameter than at attach: it was assigned, "
                    "moved, parametrised, pruned or sharded since, and the rules would rewire one "
                    f"that the model no longer computes with. Do that first: {self._again}."
                )
        for i, p in enumerate(parameters):
            if not p.requires_grad:
                return (
                    f"{self._names[i]!r} was frozen after attach (requires_grad is False), and the "
                    f"rules would rewire it all the same. To leave it as it is: {self._again}, "
                    "which keeps out what is frozen; to train it: requires_grad_(True)."
                )
            dtype, device = self._memory[i]
            if p.dtype is not dtype or p.device != device:
                return (
                    f"{self._names[i]!r} was {dtype} on {device} at attach and is {p.dtype} on "
                    f"{p.device}. Move the model first: {self._again}."
                )
        return None

    def _replaced(self, parent: nn.Module, name: str, child: nn.Module) -> str:
        now = parent._modules.get(name)
        inside = set(child.modules())
        lost = [self._names[i] for i, module, _ in self._holders if module in inside]
        return (
            f"the module {name!r} is {'gone' if now is None else f'another {type(now).__name__}'} "
            f"since attach, and with it {', '.join(map(repr, lost))}, which the rules would rewire "
            f"outside of the model. Replace modules first: {self._again}."
        )
