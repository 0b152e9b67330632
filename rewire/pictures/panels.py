"""What the pictures share: axes with margins in inches, bins of units, colours of signs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from .style import THEME

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, PAPER, GREY, GRID = (THEME[n][0] for n in ("ink", "muted", "paper", "grey", "grid"))
POSITIVE, NEGATIVE = THEME["blue"][0], THEME["vermillion"][0]
WIDTH = 5.3  # inches: 380 pixels of a page, at 72 to the inch


def panel(
    figure: Figure,
    *,
    left: float,
    bottom: float,
    right: float = 0.1,
    top: float = 0.3,
) -> Axes:
    """Axes with margins in inches."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes(
        (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    )
    axes.tick_params(length=3, width=0.7)
    return axes


def bins(size: int, most: int) -> np.ndarray:
    """The bin of each of ``size`` units, (size,), at most ``most`` bins of consecutive units.

    >>> bins(5, 2).tolist(), bins(3, 10).tolist()
    ([0, 0, 0, 1, 1], [0, 1, 2])
    """
    unit = np.arange(size)
    return unit if size <= most else unit * most // size


def signed_colours(values: np.ndarray, most: float) -> np.ndarray:
    """Colours, (..., 4): white at 0, blue for positive and vermillion for negative values.

    >>> signed_colours(np.array([0.0]), most=1.0)[0].tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    from matplotlib.colors import to_rgb

    strength = np.clip(np.abs(values) / max(most, 1e-300), 0, 1)[..., None] ** 0.6
    end = np.where(values[..., None] >= 0, to_rgb(POSITIVE), to_rgb(NEGATIVE))
    rgb = 1 + (end - 1) * strength
    return np.concatenate([rgb, np.ones((*values.shape, 1))], axis=-1)
