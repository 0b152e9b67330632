"""What a network takes on a target, as values and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .rounding import WeightRounding
from .targets import Target


@dataclass(frozen=True)
class ProjectionFit:
    """One projection on a target.

    bytes: of its rows on all cores. padding: of these, what makes rows as long as the longest.
    longest_row: in bytes, header included. weights: None where the graph has none.
    """

    name: str
    source: str
    target: str
    synapses: int
    bytes: int
    padding: int
    longest_row: int
    weights: WeightRounding | None


@dataclass(frozen=True)
class PopulationFit:
    """One population on a target: its cores, and the largest fan-in and fan-out of a neuron.

    cores: 0 where its units come from outside. neurons_per_core: on its fullest core.
    """

    name: str
    neurons: int
    cores: int
    neurons_per_core: int
    fan_in: int
    fan_out: int


@dataclass(frozen=True)
class Overflow:
    """A limit of the target that the network breaks.

    limit: the field of :class:`Target`. where: a population, or the whole network. value: the
    largest there. most: the limit. count: how many neurons or cores break it. remedy: what helps.
    """

    limit: str
    where: str
    value: int
    most: int
    count: int
    remedy: str

    def __str__(self) -> str:
        return (
            f"{self.limit}: {self.value:,} in {self.where}, {self.value - self.most:,} more than "
            f"{self.most:,}; {self.remedy}"
        )


@dataclass(frozen=True)
class Fit:
    """What a network takes on a target.

    overflows: limits that it breaks. unknown: what the graph does not say of the neurons and
    synapses that hardware needs. fitting_density: about the density at which the network fits, None
    where it does fit, or fits at none.
    """

    target: Target
    density: float
    projections: tuple[ProjectionFit, ...]
    populations: tuple[PopulationFit, ...]
    cores: int
    chips: int
    overflows: tuple[Overflow, ...]
    unknown: tuple[str, ...]
    fitting_density: float | None

    @property
    def fits(self) -> bool | None:
        """False where a limit is broken; None where none is, but the graph does not say all."""
        if self.overflows:
            return False
        return None if self.unknown else True

    @property
    def neurons(self) -> int:
        return sum(p.neurons for p in self.populations)

    @property
    def synapses(self) -> int:
        return sum(p.synapses for p in self.projections)

    @property
    def bytes(self) -> int:
        """Of all rows on all cores."""
        return sum(p.bytes for p in self.projections)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "target": self.target.platform,
            "fits": self.fits,
            "neurons": self.neurons,
            "synapses": self.synapses,
            "density": self.density,
            "cores": self.cores,
            "chips": self.chips,
            "bytes": self.bytes,
            "overflows": [asdict(overflow) for overflow in self.overflows],
            "fitting_density": self.fitting_density,
            "unknown": list(self.unknown),
            "populations": [asdict(p) for p in self.populations],
            "projections": [asdict(p) for p in self.projections],
            "limits": self.limits,
            "sources": dict(self.target.sources),
            "assumptions": list(self.target.assumptions),
        }

    @property
    def limits(self) -> dict[str, Any]:
        """The fields of the target that are set."""
        words = ("platform", "title", "sources", "assumptions")
        return {k: v for k, v in self.target.to_table().items() if k not in words}

    def __str__(self) -> str:
        return text(self)


def text(fit: Fit) -> str:
    """The verdict, what each part takes, the limits with their sources, and the assumptions."""
    lines = [verdict(fit), "", *totals(fit), "", *populations(fit), "", *projections(fit)]
    lines += ["", "Limits and layout:", *sources(fit)]
    if fit.target.assumptions:
        lines += ["", "Assumed:", *(f"  {words}" for words in fit.target.assumptions)]
    return "\n".join(lines)


def verdict(fit: Fit) -> str:
    """Whether it fits, and by what it does not."""
    target = fit.target.title
    if fit.fits:
        return f"It fits {target}."
    unsaid = "".join(f"\n  not in the graph: {reason}" for reason in fit.unknown)
    if fit.fits is None:
        return f"It breaks no limit of {target}, as far as the graph says:{unsaid}"
    broken = "\n".join(f"  {overflow}" for overflow in fit.overflows)
    at = fit.fitting_density
    density = (
        "At no density does it fit."
        if at is None
        else f"It would fit at a density of about {at:g} (now {fit.density:.4g}), its synapses "
        "thinned at random."
    )
    return f"It does not fit {target}, by:\n{broken}{unsaid}\n{density}"


def totals(fit: Fit) -> list[str]:
    return [
        f"{fit.neurons:,} neurons, {fit.synapses:,} synapses, {fit.cores:,} cores, "
        f"{fit.chips:,} chips, {fit.bytes:,} bytes of rows"
    ]


def populations(fit: Fit) -> list[str]:
    limits = [
        _most(n) for n in (fit.target.neurons_per_core, fit.target.fan_in, fit.target.fan_out)
    ]
    rows = [
        [p.name, f"{p.neurons:,}", f"{p.cores:,}", f"{p.neurons_per_core:,}", f"{p.fan_in:,}",
         f"{p.fan_out:,}"]
        for p in fit.populations
    ]  # fmt: skip
    names = ["population", "neurons", "cores", "neurons a core", "fan-in", "fan-out"]
    return _table([names, *rows, ["at most", "", "", *limits]])


def projections(fit: Fit) -> list[str]:
    names = ["projection", "synapses", "bytes", "of it padding", "longest row", "levels",
             "largest error", "mean error", "to zero"]  # fmt: skip
    rows = list[list[str]]()
    for p in fit.projections:
        row = [p.name, f"{p.synapses:,}", f"{p.bytes:,}", f"{p.padding:,}", f"{p.longest_row:,}"]
        w = p.weights
        row += (
            [""] * 4
            if w is None
            else [f"{w.levels:,} of {w.distinct:,}", f"{w.largest:.3g}", f"{w.mean:.3g}",
                  f"{w.to_zero:,}"]
        )  # fmt: skip
        rows.append(row)
    return _table([names, *rows])


def sources(fit: Fit) -> list[str]:
    """Each field that is set, with where its value is published."""
    published = dict(fit.target.sources)
    return [
        f"  {name} {_value(value)} ({published.get(name, 'assumed')})"
        for name, value in fit.limits.items()
    ]


def _value(value: int | bool) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:,}"


def _most(limit: int | None) -> str:
    return "" if limit is None else f"{limit:,}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of one width; the first holds text, the others numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
