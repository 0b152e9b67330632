"""The errors on lines as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, StoreError
from .line import Barrier
from .pairs import Pair

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png", ".pdf")
PARTED = {"test": "-", "train": "--", "validation": ":"}
MOST = 12  # lines that one picture can tell apart


def draw(measured: Sequence[tuple[Pair, Barrier]], file: Path) -> None:
    """Draw every line into a file: error in % against the place between the two networks.

    Raises ConfigError for a file that is no picture, or more lines than can be told apart;
    StoreError where it cannot be written.
    """
    from rewire.pictures.style import drawing

    check_file(file)
    if len(measured) > MOST:
        raise ConfigError(
            f"{len(measured)} lines are more than the {MOST} that one picture can tell apart: "
            "choose with --rule, --density or --seed"
        )
    with drawing(standalone=True):
        metadata = {"Date": None} if file.suffix.lower() == ".svg" else {}
        picture(measured).savefig(file, metadata=metadata, dpi=200, bbox_inches="tight")


def check_file(file: Path) -> None:
    if file.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{file}: a picture is a file {', '.join(SUFFIXES)}")
    if not file.parent.is_dir():
        raise StoreError(f"{file}: there is no folder {file.parent} to write to")


def picture(measured: Sequence[tuple[Pair, Barrier]]) -> Figure:
    """Error in % against the place between the two networks; training error dashed."""
    from rewire.pictures.style import THEME, new_figure

    figure = new_figure(6.4, 4.0)
    axes = figure.add_axes((0.1, 0.13, 0.55, 0.82))
    colours = [pair[0] for name, pair in THEME.items() if name not in ("ink", "muted", "grid",
                                                                      "paper", "grey")]  # fmt: skip
    for i, (pair, barrier) in enumerate(measured):
        for j, (part, errors) in enumerate(barrier.errors.items()):
            axes.plot(
                barrier.alphas,
                [100 * error for error in errors],
                linestyle=PARTED[part],
                color=colours[i % len(colours)],
                label=_title(pair) if j == 0 else None,
            )
    parts = list(dict.fromkeys(part for _, barrier in measured for part in barrier.errors))
    words = {"-": "solid", "--": "dashed", ":": "dotted"}
    axes.set_xlabel("place between the two networks")
    axes.set_ylabel("error, % (" + ", ".join(f"{p} {words[PARTED[p]]}" for p in parts) + ")")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize=8)
    return figure


def _title(pair: Pair) -> str:
    at = "" if pair.density in (None, 1.0) else f" at {pair.density:g}"
    step = "" if pair.step is None else f", k = {pair.step}"
    return f"{pair.first.label}{at}{step}, seed {pair.first.seed}"
