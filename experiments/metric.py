"""The number that a task is judged by: its columns, its direction, and how it is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A number that outputs are judged by, besides the loss.

    key: in the names of columns, ``test_KEY`` and ``val_KEY``. title: in sentences and on axes.
    lower: whether lower is better. percent: whether it is a fraction that is shown in per cent.

    >>> ACCURACY.test, ACCURACY.text(0.9512)
    ('test_accuracy', '95.12 %')
    >>> Metric("bits", "bits per character", lower=True).text(1.5)
    '1.5'
    """

    key: str
    title: str
    lower: bool = False
    percent: bool = False

    @property
    def test(self) -> str:
        """Column of the test set, after the last step of a level."""
        return f"test_{self.key}"

    @property
    def at_early_stop(self) -> str:
        """Column of the test set, at the point of least validation loss."""
        return f"test_{self.key}_at_early_stop"

    @property
    def validation(self) -> str:
        """Column of the validation set, in results and in learning curves."""
        return f"val_{self.key}"

    @property
    def train(self) -> str:
        """Column of the training set, after the last step of a level."""
        return f"train_{self.key}"

    @property
    def factor(self) -> int:
        """What a value is multiplied by where it is drawn."""
        return 100 if self.percent else 1

    @property
    def best(self) -> Literal["lowest", "highest"]:
        return "lowest" if self.lower else "highest"

    @property
    def worst(self) -> Literal["lowest", "highest"]:
        return "highest" if self.lower else "lowest"

    @property
    def heading(self) -> str:
        """The title as the beginning of a heading."""
        return self.title[:1].upper() + self.title[1:]

    def rank(self, value: float) -> float:
        """A number that is smaller the better the value is; the largest for no number."""
        if math.isnan(value):
            return math.inf
        return value if self.lower else -value

    def axis(self, part: str, *, hint: bool = True) -> str:
        """The label of an axis of values on a part of the data; hint: which way is better, where
        that is down.

        >>> ACCURACY.axis("test"), Metric("r2", "R²").axis("validation")
        ('test accuracy, %', 'validation R²')
        """
        unit = ", %" if self.percent else ""
        return f"{part} {self.title}{unit}{', lower is better' if self.lower and hint else ''}"

    def number(self, value: float) -> str:
        """A value as a table has it, without a unit; a dash for NaN.

        >>> ACCURACY.number(0.9512), Metric("mse", "mean squared error").number(0.01236)
        ('95.12', '0.01236')
        """
        if math.isnan(value):
            return "–"
        return f"{100 * value:.2f}" if self.percent else f"{value:.4g}".replace("-", "−")

    def text(self, value: float) -> str:
        """A value with its unit, in plain text."""
        return f"{100 * value:.2f} %" if self.percent else f"{value:.4g}"

    def difference(self, value: float) -> str:
        """A difference with its sign: in percentage points, or to three digits.

        >>> ACCURACY.difference(0.0078), Metric("r2", "R²").difference(-0.012)
        ('+0.78', '−0.012')
        """
        if self.percent:
            return f"{100 * value:+.2f}".replace("-", "−")
        return f"{value:+.3g}".replace("-", "−")


ACCURACY = Metric("accuracy", "accuracy", percent=True)
