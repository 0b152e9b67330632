"""Why the parameters of a torch model that no rule governs stay dense."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from ...coverage import Coverage, Dense
from ...graph import Space
from .declared import Kinds
from .layers import Candidate, candidates, clean, left_out_by, matches, origins_of

EMBEDDINGS = "embeddings=True makes tables of embeddings sparse"
UNKNOWN = (
    "A layer of a kind that is not known can be named: projections={'NAME': KIND} in attach, KIND "
    "being 'linear', 'transposed', 'stacked' or 'stacked_transposed'"
)


def coverage_of(
    model: nn.Module,
    space: Space,
    parameters: Sequence[Tensor],
    *,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    embeddings: bool = False,
    projections: Kinds | None = None,
    positions: object = None,
) -> Coverage:
    """Which parameters are sparse, by the options of discovery, and why the others are not.

    Called while the model's parameters are those that were found.
    """
    sparse = {p.name: p.size for p in space.projections}
    governed = {id(p) for p in parameters}
    known: dict[int, list[Candidate]] = {}
    for candidate in candidates(model, projections):
        for p in (candidate.parameter, *origins_of(candidate.module, candidate.use)):
            known.setdefault(id(p), []).append(candidate)
    owners = {
        f"{prefix}.{name}" if prefix else name: module
        for prefix, module in model.named_modules() for name in module._parameters
    }  # fmt: skip
    dense = []
    for name, p in model.named_parameters():
        if id(p) in governed:
            continue
        uses = known.get(id(p), [])
        reasons = [left_out_by(use, include, exclude, embeddings) for use in uses]
        if not uses and any(matches(clean(name), pattern) for pattern in exclude):
            reasons.append("excluded by pattern")
        itself = any(use.parameter is p for use in uses)
        if isinstance(p, UninitializedParameter) or itself or not _small(name, p, owners[name]):
            dense.append(_weight(clean(name), p, owners[name], [r for r in reasons if r]))
        else:
            dense.append(Dense(clean(name), p.numel(), "a bias, norm or scale", weight=False))
    return Coverage(sparse, tuple(dense))


def _weight(name: str, p: nn.Parameter, owner: nn.Module, reasons: list[str]) -> Dense:
    """A weight that stays dense, for these reasons of all who use it."""
    size = 0 if isinstance(p, UninitializedParameter) else p.numel()
    chosen = [reason for reason in reasons if reason != "embedding"]
    if chosen:
        return Dense(name, size, chosen[0], chosen=True)
    if reasons:
        return Dense(name, size, "an embedding", hint=EMBEDDINGS)
    if not p.requires_grad:
        return Dense(name, size, "frozen", chosen=True)
    return Dense(name, size, f"{type(owner).__name__} is no known kind of layer", hint=UNKNOWN)


def _small(name: str, p: nn.Parameter, owner: nn.Module) -> bool:
    """Whether a parameter is no weight: a vector, a bias, or of a norm."""
    vector = sum(length > 1 for length in p.shape) < 2
    return vector or "bias" in name.rpartition(".")[2] or "Norm" in type(owner).__name__
