"""Numbers as a sentence says them."""

from __future__ import annotations

import math


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction as a percentage with a thin space: 95.9 %; a dash for what there is none of."""
    if math.isnan(fraction):
        return "–"
    return f"{100 * fraction:.{digits}f}\u202f%"


def signed(fraction: float) -> str:
    """A difference of fractions in percentage points, with its sign: +0.78, −1.20."""
    return f"{100 * fraction:+.2f}".replace("-", "−")


def plain(value: float) -> str:
    """One digit after the point, and a real minus."""
    return f"{value:.1f}".replace("-", "−")


def density_words(density: float) -> str:
    """5 % of the edges."""
    return f"{100 * density:.3g}\u202f% of the edges"


def times(ratio: float) -> str:
    """3.4x, 0.06x."""
    return f"{ratio:.2g}\u202f×" if ratio < 9.95 else f"{ratio:.0f}\u202f×"
