"""How a module uses a weight; and layers of one's own, whose weights are said to be synapses.

``@rewire.layer(kernel="transposed")`` before a class says so of all its instances (a package of
your own names its classes under the entry point group ``rewire.layers``), the option
``projections={"experts.up": "stacked"}`` of :func:`rewire.attach` of single parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import entry_points
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

Kinds = Mapping[str, str | tuple[str, int]]  # of parameters, or patterns of their names
M = TypeVar("M", bound=type[nn.Module])

# The sizes of the populations that a weight of each kind joins, by its shape and groups.
SIZES: Mapping[str, Callable[[tuple[int, ...], int], tuple[int, int]]] = {
    "linear": lambda shape, groups: (shape[1], shape[0]),
    "transposed": lambda shape, groups: (shape[0], shape[1]),
    "embedding": lambda shape, groups: (shape[0], shape[1]),
    "conv": lambda shape, groups: (shape[1] * groups, shape[0]),
    "conv_transpose": lambda shape, groups: (shape[0], shape[1] * groups),
    "rnn": lambda shape, groups: (shape[1], shape[0] // groups),
    "attention": lambda shape, groups: (shape[1], shape[0] // groups),
    "stacked": lambda shape, groups: (groups * shape[2], groups * shape[1]),
    "stacked_transposed": lambda shape, groups: (groups * shape[1], groups * shape[2]),
}
AXES = {"conv": (3, 5), "conv_transpose": (3, 5), "stacked": (3, 3), "stacked_transposed": (3, 3)}

_REGISTERED: dict[type[nn.Module], Kinds] = {}


@dataclass(frozen=True)
class Use:
    """One weight of one module: a possible projection.

    source, target: sizes of the populations. source_part, target_part: which populations of the
    module it joins, as suffixes to its name ("" is the one that a chain of layers passes on).
    tap: where the activity of the source population can be seen, "input" or "output" of the
    module, from feature ``at`` on; None where it stays inside. declared: whether somebody said so,
    and the layer itself does not show it.
    """

    attribute: str
    kind: str
    source: int
    target: int
    groups: int = 1
    source_part: str = "in"
    target_part: str = ""
    tap: str | None = "input"
    at: int = 0
    declared: bool = False


def layer(**weights: str | tuple[str, int]) -> Callable[[M], M]:
    """Say which parameters of a module of one's own are synapses, and how they are stored.

    A kind is "linear" (outputs, inputs), "transposed" (inputs, outputs), "stacked" (experts,
    outputs, inputs), "stacked_transposed" (experts, inputs, outputs), "conv", "conv_transpose",
    "embedding", or ("rnn", number of gates). A class of somebody else's is called with:
    ``rewire.layer(weight="linear")(TheirLayer)``.

    >>> import torch, rewire
    >>> @rewire.layer(kernel="transposed")
    ... class Turned(torch.nn.Module):
    ...     def __init__(self, n_in, n_out):
    ...         super().__init__()
    ...         self.kernel = torch.nn.Parameter(torch.randn(n_in, n_out))
    ...
    ...     def forward(self, x):
    ...         return x @ self.kernel
    >>> model = Turned(20, 30)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> net = rewire.attach(model, optimizer, rule=rewire.SET(), density=0.1)
    >>> net.graph.projections[0].kind, net.edges
    ('transposed', 60)
    """
    for name, kind in weights.items():
        _split(name, kind)

    def mark(module: M) -> M:
        _REGISTERED[module] = dict(weights)
        return module

    return mark


def registered_uses(module: nn.Module) -> Iterator[Use]:
    """The weights that the module's class, or one that it is derived from, was said to have."""
    _load_installed()
    kinds = next((_REGISTERED[k] for k in type(module).__mro__ if k in _REGISTERED), {})
    for attribute, kind in kinds.items():
        yield use_of(attribute, kind, module._parameters.get(attribute), type(module).__name__)


@cache
def _load_installed() -> None:
    """Import the layers of installed packages, which register themselves."""
    for point in entry_points(group="rewire.layers"):
        point.load()


def named_kind(name: str, projections: Kinds | None) -> str | tuple[str, int] | None:
    """The kind that ``projections`` gives a parameter, by its name or the first pattern."""
    for pattern, kind in (projections or {}).items():
        if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.weight"):
            return kind
    return None


def use_of(attribute: str, kind: str | tuple[str, int], p: Tensor | None, owner: str) -> Use:
    """How a parameter of this kind is used, between populations of its own. Raises ValueError for
    a shape that the kind cannot have."""
    word, groups = _split(attribute, kind)
    if p is None or isinstance(p, UninitializedParameter):
        return Use(attribute, word, 0, 0, groups, tap=None, declared=True)
    fewest, most = AXES.get(word, (2, 2))
    if word.startswith("stacked"):
        groups = p.shape[0]
    if not fewest <= p.dim() <= most or (word in ("rnn", "attention") and p.shape[0] % groups):
        raise ValueError(
            f"{attribute!r} of {owner} has shape {tuple(p.shape)}, which is no {word!r} weight"
            + (f" of {groups} gates." if groups > 1 and p.dim() == 2 else ".")
        )
    source, target = SIZES[word](tuple(p.shape), groups)
    return Use(attribute, word, source, target, groups, f"{attribute}.in", attribute, None,
               declared=True)  # fmt: skip


def _split(name: str, kind: str | tuple[str, int]) -> tuple[str, int]:
    """The word of a kind, and its groups. Raises ValueError for one that there is not."""
    word, groups = (kind, 1) if isinstance(kind, str) else kind
    if word not in SIZES:
        raise ValueError(f"{name!r} is said to be {word!r}; a weight is one of {', '.join(SIZES)}.")
    return word, groups
