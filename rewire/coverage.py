"""Which parameters of a model its rules govern, which stay dense, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LISTED = 8  # names in a warning


@dataclass(frozen=True)
class Dense:
    """A parameter that stays dense.

    reason: why. weight: whether it is a weight (a matrix, a table), not a bias or a scale.
    chosen: whether the user asked for it (a pattern, a frozen weight). hint: what makes it sparse.
    """

    name: str
    size: int
    reason: str
    weight: bool = True
    chosen: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Coverage:
    """What the rules of a session govern of its model.

    sparse: possible synapses of each sparse parameter, by name. dense: all other parameters.

    >>> coverage = Coverage({"fc.weight": 60}, [Dense("fc.bias", 6, "a bias", weight=False)])
    >>> coverage.share, coverage.weights
    (1.0, 60)
    >>> print(coverage)
    60 of 60 weights (100 %) are in sparse parameters
      sparse  fc.weight  60
      dense   1 bias, norm or scale, 6 numbers
    """

    sparse: Mapping[str, int]
    dense: Sequence[Dense] = ()

    @property
    def governed(self) -> int:
        """Possible synapses: weights in sparse parameters."""
        return sum(self.sparse.values())

    @property
    def weights(self) -> int:
        """All weights, in sparse and in dense parameters; biases, norms and scales left out."""
        return self.governed + sum(d.size for d in self.dense if d.weight)

    @property
    def share(self) -> float:
        """Part of all weights that is in sparse parameters."""
        return self.governed / self.weights if self.weights else 1.0

    @property
    def percent(self) -> str:
        """The share in per cent, rounded; 100 for the whole alone.

        >>> Coverage({"fc.weight": 60}).percent, Coverage({"fc.weight": 0}).percent
        ('100 %', '100 %')
        >>> Coverage({"fc.weight": 1}, [Dense("embedding", 249, "an embedding")]).percent
        '0.4 %'
        """
        return "100 %" if self.share == 1.0 else f"{min(100 * self.share, 99.9):.3g} %"

    @property
    def left_out(self) -> list[Dense]:
        """Weights that stay dense though nobody asked for it, the largest first."""
        unasked = [d for d in self.dense if d.weight and not d.chosen]
        return sorted(unasked, key=lambda d: -d.size)

    def warning(self) -> str | None:
        """What to tell the user where less than half of the weights that they did not leave out
        themselves is sparse; else None."""
        left_out = self.left_out
        others = sum(d.size for d in left_out)
        if self.governed >= others:
            return None
        whole = self.governed + others
        listed = ", ".join(f"{d.name!r} ({d.size:,}: {d.reason})" for d in left_out[:LISTED])
        more = f" and {len(left_out) - LISTED} more" if len(left_out) > LISTED else ""
        hints = dict.fromkeys(d.hint for d in left_out if d.hint)
        return (
            f"only {self.governed:,} of {whole:,} weights ({self.governed / whole:.1%}) are in "
            f"sparse parameters; density counts those alone. Dense stay {listed}{more}. "
            + "".join(f"{hint}. " for hint in hints)
            + "To leave weights dense without this warning name them in exclude=; net.coverage "
            "lists all."
        )

    def __str__(self) -> str:
        lines = [
            f"{self.governed:,} of {self.weights:,} weights ({self.percent}) are in sparse "
            "parameters"
        ]
        rows = [("sparse", name, size, "") for name, size in self.sparse.items()]
        rows += [("dense", d.name, d.size, d.reason) for d in self.dense if d.weight]
        width = max((len(name) for _, name, _, _ in rows), default=0)
        digits = max((len(f"{size:,}") for _, _, size, _ in rows), default=0)
        for form, name, size, reason in rows:
            lines.append(f"  {form:<6}  {name:<{width}}  {size:>{digits},}  {reason}".rstrip())
        small = [d for d in self.dense if not d.weight]
        if small:
            what = "bias, norm or scale" if len(small) == 1 else "biases, norms and scales"
            numbers = sum(d.size for d in small)
            lines.append(f"  dense   {len(small)} {what}, {numbers:,} numbers")
        return "\n".join(lines)
