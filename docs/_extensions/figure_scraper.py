"""Figures of `rewire.pictures` in the gallery: they are matplotlib's, and none of pyplot's.

sphinx-gallery shows what pyplot knows; this finds the figures that a block of code gave a name.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst


def scrape(block: Any, variables: dict[str, Any], conf: dict[str, Any], **options: Any) -> str:
    """The images of a block as reStructuredText: new figures among the program's names."""
    open_ones = {id(plt.figure(number)) for number in plt.get_fignums()}
    paths = []
    for value in variables["example_globals"].values():
        known = getattr(value, "_shown_in_gallery", False) or id(value) in open_ones
        if not isinstance(value, Figure) or known:
            continue
        path = next(variables["image_path_iterator"])
        value.savefig(path, dpi=150)
        value._shown_in_gallery = True  # type: ignore[attr-defined]
        paths.append(path)
    return figure_rst(paths, conf["src_dir"]) if paths else ""


def _get_sg_image_scraper() -> Any:
    """What sphinx-gallery asks a module for that it is given by name."""
    return scrape
