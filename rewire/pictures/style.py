"""Colours and settings of every figure, in pictures and in reports."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

# name -> (light, dark). Each light colour occurs once, because it stands for its name in the SVG.
THEME = {
    "ink": ("#1b1f24", "#e8ebee"),
    "muted": ("#59636e", "#a3adb8"),
    "grid": ("#dfe3e8", "#333a42"),
    "paper": ("#ffffff", "#14181d"),
    "grey": ("#7f8790", "#9ba4ae"),
    "brown": ("#8c6d4f", "#c8a680"),
    "vermillion": ("#d55e00", "#ff8a4c"),
    "blue": ("#0072b2", "#4ba6ee"),
    "sky": ("#45a5dc", "#9fd8ff"),
    "green": ("#009e73", "#34c99e"),
    "purple": ("#b5579a", "#e394cb"),
    "orange": ("#dc9600", "#f5c355"),
    "indigo": ("#44378f", "#a99df5"),
    "olive": ("#8a8a2d", "#c9c95c"),
    "rose": ("#c4566a", "#f28fa0"),
    "teal": ("#3a9d94", "#7fd9d0"),
    "wine": ("#7d2450", "#d77bab"),
}

# Inks on pixels, whose colours are the same in the dark: these stand for no name.
ON_PIXELS, MUTED_ON_PIXELS, WHITE_ON_PIXELS = "#1b1f25", "#59636f", "#fffffe"


def ink_on(colour: Sequence[float]) -> str:
    """The colour of text on pixels, (r, g, b) from 0 to 255: a contrast of 4.5 at least.

    Luminance and contrast as in WCAG 2.2; where neither ink nor white has it, black does.

    >>> ink_on((250, 250, 250)), ink_on((0, 84, 147)), ink_on((85, 125, 175))
    ('#1b1f25', '#fffffe', '#000000')
    """
    readable = (ink for ink in (ON_PIXELS, WHITE_ON_PIXELS) if contrast(ink, colour) >= 4.5)
    return next(readable, "#000000")


def contrast(ink: str, colour: Sequence[float]) -> float:
    """Contrast of a colour of `matplotlib` and one of (r, g, b) from 0 to 255, from 1 to 21.

    >>> round(contrast("white", (0, 0, 0)), 6)
    21.0
    """
    dark, light = sorted((_luminance([255 * c for c in to_rgb(ink)]), _luminance(colour)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Sequence[float]) -> float:
    shares = (c / 255 for c in colour)
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "rewire",
    "text.parse_math": False,  # a label is a text, whatever signs are in it
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": THEME["muted"][0],
    "axes.labelcolor": THEME["ink"][0],
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": THEME["grid"][0],
    "grid.linewidth": 0.7,
    "text.color": THEME["ink"][0],
    "xtick.color": THEME["muted"][0],
    "ytick.color": THEME["muted"][0],
    "xtick.labelcolor": THEME["ink"][0],
    "ytick.labelcolor": THEME["ink"][0],
    "lines.linewidth": 1.6,
    "path.simplify": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@contextmanager
def drawing(*, standalone: bool = False) -> Iterator[None]:
    """Matplotlib's settings for our figures, and back to the caller's afterwards.

    Text stays text inside a page (sharp, selectable, small) and becomes outlines in a file of its
    own, where the reader's fonts are unknown.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        matplotlib.rcParams["svg.fonttype"] = "path" if standalone else "none"
        if standalone:
            matplotlib.rcParams["savefig.facecolor"] = THEME["paper"][0]
        yield


class Picture(Figure):
    """A figure with the numbers that it is drawn of.

    numbers: rows of named values, for a file beside the figure.
    """

    numbers: list[dict[str, Any]]


def new_figure(width: float, height: float) -> Picture:
    """An empty figure; inches, of which the page makes 72 units each."""
    figure = Picture(figsize=(width, height))
    figure.numbers = []
    FigureCanvasSVG(figure)
    return figure


_NO_METADATA = dict.fromkeys(["Creator", "Date", "Format", "Type"])


def to_svg(figure: Figure) -> str:
    """The figure as a whole SVG document; the same bytes for the same figure."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=_NO_METADATA)
    return text.getvalue()
