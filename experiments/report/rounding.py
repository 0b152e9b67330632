"""Numbers as sentences and tables print them: how many digits, which signs and which spaces."""

from __future__ import annotations

import math


def percent(fraction: float, digits: int = 1) -> str:
    r"""A fraction as a percentage with a thin space; a dash for NaN.

    >>> percent(0.9591), percent(0.02, 0), percent(float("nan"))
    ('95.9\u202f%', '2\u202f%', '–')
    """
    if math.isnan(fraction):
        return "–"
    return f"{100 * fraction:.{digits}f}\u202f%"


def density_percent(density: float) -> str:
    """A density as a tick or a key of a figure names it, with a space that every font has.

    >>> density_percent(0.05), density_percent(0.0133)
    ('5 %', '1.33 %')
    """
    return f"{100 * density:.3g} %"


def density_words(density: float) -> str:
    r"""A density as a sentence says it.

    >>> density_words(0.05)
    '5\u202f% of the edges'
    """
    return f"{100 * density:.3g}\u202f% of the edges"


def points(fraction: float) -> str:
    """A difference of fractions in percentage points, with its sign.

    >>> points(0.0078), points(-0.012)
    ('+0.78', '−1.20')
    """
    return signed(100 * fraction)


def signed(value: float) -> str:
    """A difference with its sign and two digits after the point.

    >>> signed(1.5), signed(-0.125)
    ('+1.50', '−0.12')
    """
    return f"{value:+.2f}".replace("-", "−")


def fixed(value: float, digits: int = 2) -> str:
    """A number with a fixed count of digits after the point; a dash for NaN and infinity.

    >>> fixed(1.678), fixed(-3, 1), fixed(float("nan"))
    ('1.68', '−3.0', '–')
    """
    return f"{value:.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


def grouped(value: float) -> str:
    r"""A count in groups of three digits, with thin spaces.

    >>> grouped(12345)
    '12\u202f345'
    """
    return f"{value:,.0f}".replace(",", "\u202f")


def times(ratio: float) -> str:
    r"""A ratio: two significant digits, and whole numbers from 10 on.

    >>> times(3.42), times(0.061), times(12.4)
    ('3.4\u202f×', '0.061\u202f×', '12\u202f×')
    """
    return f"{ratio:.2g}\u202f×" if ratio < 9.95 else f"{ratio:.0f}\u202f×"


def power_of_ten(value: float) -> str:
    """A large number as a multiple of a power of ten.

    >>> power_of_ten(1e12), power_of_ten(2e9), power_of_ten(0)
    ('10¹²', '2·10⁹', '0')
    """
    if not value > 0:
        return "0"
    exponent = math.floor(math.log10(value) + 1e-9)
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    front = round(value / 10**exponent, 1)
    return f"10{raised}" if front == 1 else f"{front:g}·10{raised}"
