"""Formation and elimination of synapses, as values that a rule exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...fields import Length
from ...graph import Graph
from ...strategy import Strategy

SHEET = 16.0  # the sheet of the published model is 16 units wide; lengths here are in sheet sides


def check_probabilities(of: Any, *names: str) -> None:
    """Raise ValueError where one of these fields is not in [0, 1]."""
    for name in names:
        if not 0 <= getattr(of, name) <= 1:
            raise ValueError(
                f"{type(of).__name__}.{name} is a probability, got {getattr(of, name)}."
            )


@dataclass(frozen=True)
class Formation(Strategy):
    """How likely a partner that was drawn forms a synapse."""

    def chance(self, lateral: bool, apart: np.ndarray | None) -> Any:
        """The probability for pairs of units.

        lateral: whether both are of one population; apart: squared distances on the torus of side
        1, (k,), or one number, or None where units have no place.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class DistanceDependentFormation(Formation):
    """p exp(-d^2 / (2 sigma^2)); p_lateral and sigma_lateral within one population.

    Units without a place form with p whatever the distance; a sigma of infinity makes all do so.
    """

    p: float = 0.16
    sigma: Length = 2.5 / SHEET
    p_lateral: float = 1.0
    sigma_lateral: Length = 1.0 / SHEET

    def __post_init__(self) -> None:
        check_probabilities(self, "p", "p_lateral")

    def law(self, lateral: bool) -> tuple[float, float]:
        """p and -1 / (2 sigma^2)."""
        p, sigma = (self.p_lateral, self.sigma_lateral) if lateral else (self.p, self.sigma)
        return p, -1 / (2 * sigma**2)

    def chance(self, lateral: bool, apart: np.ndarray | None) -> Any:
        p, fall = self.law(lateral)
        return p if apart is None else p * np.exp(apart * fall)


@dataclass(frozen=True)
class UniformFormation(Formation):
    """Every partner forms a synapse with the same probability."""

    p: float = 0.16

    def __post_init__(self) -> None:
        check_probabilities(self, "p")

    def chance(self, lateral: bool, apart: np.ndarray | None) -> Any:
        return self.p if apart is None else np.full(np.shape(apart), self.p)


@dataclass(frozen=True)
class Elimination(Strategy):
    """How likely a synapse whose slot is tried is eliminated."""

    @property
    def most(self) -> float:
        """The most that the probability can be."""
        raise NotImplementedError

    def chances(
        self, graph: Graph, rows: Sequence[int], projections: Sequence[int]
    ) -> Sequence[float]:
        """The probability for each of these rows, which are of these projections."""
        raise NotImplementedError


@dataclass(frozen=True)
class WeightDependentElimination(Elimination):
    """p_depressed for synapses below the threshold, p_potentiated for the others.

    threshold: None stands for half of the projection's mean |weight|, of which |weight| is taken.
    """

    p_depressed: float = 0.0245
    p_potentiated: float = 1.36e-4
    threshold: float | None = None

    def __post_init__(self) -> None:
        check_probabilities(self, "p_depressed", "p_potentiated")

    @property
    def most(self) -> float:
        return max(self.p_depressed, self.p_potentiated)

    def chances(
        self, graph: Graph, rows: Sequence[int], projections: Sequence[int]
    ) -> Sequence[float]:
        weights = graph.values("weight", rows)
        if self.threshold is not None:
            weak = [weight < self.threshold for weight in weights]
        else:
            # half of the projection's mean |weight|: as weights have both signs, by magnitude
            half = {
                i: 0.5 * float(graph["weight"][graph.rows(i)].abs().mean())
                for i in set(projections)
            }
            weak = [abs(w) < half[i] for w, i in zip(weights, projections, strict=True)]
        return [self.p_depressed if yes else self.p_potentiated for yes in weak]


@dataclass(frozen=True)
class UniformElimination(Elimination):
    """Every synapse is eliminated with the same probability, whatever its weight."""

    p: float = 0.0245

    def __post_init__(self) -> None:
        check_probabilities(self, "p")

    @property
    def most(self) -> float:
        return self.p

    def chances(
        self, graph: Graph, rows: Sequence[int], projections: Sequence[int]
    ) -> Sequence[float]:
        return [self.p] * len(rows)


def chance_by_weight(elimination: Elimination) -> tuple[float, float, float] | None:
    """An elimination as a weight, the probability below it, and that from it up; None for others.

    >>> chance_by_weight(UniformElimination(0.5))
    (0.0, 0.5, 0.5)
    """
    match elimination:
        # without a threshold it depends on the mean of all weights, which no single weight tells
        case WeightDependentElimination(weak, strong, threshold) if threshold is not None:
            return threshold, weak, strong
        case UniformElimination(p):
            return 0.0, p, p
    return None
