"""How every rule looks, on every figure of every report, and how a figure becomes inline SVG."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup, escape
from matplotlib.figure import Figure

from rewire.pictures.style import THEME, Picture, new_figure, to_svg

Numbers = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Look:
    """A rule's colour (a name of :data:`THEME`), marker and line; told apart by any one of them."""

    colour: str
    marker: str
    line: Any = "-"
    size: float = 1.0  # of the marker; thin shapes need more to look as large

    @property
    def hex(self) -> str:
        return THEME[self.colour][0]


DASHED, DOTTED, DASHDOT = (0, (4, 1.6)), (0, (1.2, 1.4)), (0, (5, 1.4, 1.2, 1.4))

# Okabe and Ito's colour-blind-safe colours for the rules; controls are neutral.
RULES = {
    "dense": Look("ink", "_", "-"),
    "static": Look("grey", "s", DASHED),
    "randomreinit": Look("brown", "X", DOTTED, 1.1),
    "imp": Look("vermillion", "o"),
    "deepr": Look("blue", "^"),
    "softdeepr": Look("sky", "v", DASHED),
    "structuralplasticity": Look("green", "D"),
    "set": Look("purple", "P", DASHDOT, 1.15),
    "rigl": Look("orange", "*", size=1.5),
}
OTHERS = [
    Look("indigo", "<", DASHED),
    Look("olive", ">", DASHDOT),
    Look("rose", "p"),
    Look("teal", "h", DOTTED),
    Look("wine", "d", DASHED),
]


def looks(rules: Mapping[str, str]) -> dict[str, Look]:
    """A look for every label, given its rule's name: the rule's own for its first label.

    Rules that have no look of their own, and further labels of one rule, take the others in turn,
    with another line each time round, and another marker once all lines are used: 100 in all.

    >>> looks({"IMP": "IMP", "mine": "IMP"})["IMP"] == RULES["imp"]
    True
    """
    by_label: dict[str, Look] = {}
    names: set[str] = set()
    spare = _others()
    for label, rule in rules.items():
        name = re.sub(r"[^a-z0-9]", "", rule.lower())
        by_label[label] = RULES[name] if name in RULES.keys() - names else next(spare)
        names.add(name)
    return by_label


def _others() -> Iterator[Look]:
    lines: list[Any] = ["-", DASHED, DOTTED, DASHDOT]
    turn = 0
    while True:
        for i, look in enumerate(OTHERS):
            shape = OTHERS[(i + turn // len(lines)) % len(OTHERS)]
            line = lines[(lines.index(look.line) + turn) % len(lines)]
            yield replace(look, marker=shape.marker, size=shape.size, line=line)
        turn += 1


def theme_css() -> str:
    """The colours as CSS variables: light, dark by the reader's preference, light on paper."""
    light, dark = ("".join(f"--{name}:{pair[i]};" for name, pair in THEME.items()) for i in (0, 1))
    return (
        f":root{{color-scheme:light dark;{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        f".as-file{{{light}}}"
    )


@dataclass(frozen=True)
class Inline:
    """A figure in a page: its ``<svg>`` element, and the numbers that it is drawn of."""

    svg: Markup
    numbers: Numbers

    def __html__(self) -> str:
        return self.svg


def numbers_of(figure: Figure) -> Numbers:
    """The rows that a figure is drawn of; none of a figure that does not say."""
    return figure.numbers if isinstance(figure, Picture) else ()


def inline(figure: Figure, name: str, alt: str) -> Inline:
    """The figure as an ``<svg>`` element for a page: themed by CSS variables, no outside reference.

    ``name`` prefixes its ids, so that figures of one page do not meet; ``alt`` is what a reader
    who cannot see it hears.
    """
    svg = to_svg(figure)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    head, _, body = svg.partition(">")
    box = re.search(r'viewBox="([^"]+)"', head)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    body = re.sub(r' id="rule:([^"]*)"', r' data-rule="\1"', body)
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body)
    body = re.sub(r"#[0-9a-f]{6}\b", lambda m: _VARIABLES.get(m[0], m[0]), body)
    body = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", body)
    body = re.sub(r' d="[^"]+"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    svg = Markup(
        f'<svg viewBox="{box[1] if box else "0 0 1 1"}" role="img" aria-label="{escape(alt)}">'
        f"{body}".strip()
    )
    return Inline(svg, numbers_of(figure))


_VARIABLES = {light: f"var(--{name})" for name, (light, _) in THEME.items()}


def swatch(look: Look, name: str) -> str:
    """A piece of a rule's line with its marker, for legends."""
    figure = new_figure(0.42, 0.18)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    marker: dict[str, Any] = (
        {} if look.marker == "_" else {"marker": look.marker, "markersize": 6.5 * look.size}
    )
    axes.plot(
        [0.04, 0.5, 0.96],
        [0.5] * 3,
        color=look.hex,
        linestyle=look.line,
        linewidth=1.8,
        markevery=[1],
        markeredgewidth=0,
        **marker,
    )
    svg = str(inline(figure, name, "").svg)
    return svg.replace('role="img" aria-label=""', 'aria-hidden="true"')


def spread(values: Iterable[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near ``values``, ``gap`` apart at least, within [low, high] where they fit.

    >>> spread([1.0, 1.5, 5.0], gap=1.0, low=0.0, high=10.0)
    [0.75, 1.75, 5.0]
    """
    at = list(values)
    order = sorted(range(len(at)), key=at.__getitem__)
    placed: list[list[float]] = []  # clusters: [centre, members]
    for i in order:
        placed.append([at[i], 1])
        while len(placed) > 1 and (
            placed[-1][0] - placed[-2][0] < gap * (placed[-1][1] + placed[-2][1]) / 2
        ):
            centre, members = placed.pop()
            total = placed[-1][1] + members
            placed[-1] = [(placed[-1][0] * placed[-1][1] + centre * members) / total, total]
    result, place = [0.0] * len(at), 0
    for centre, members in placed:
        half = gap * (members - 1) / 2
        centre = min(max(centre, low + half), high - half) if high - low > 2 * half else centre
        for step in range(int(members)):
            result[order[place]] = centre - half + gap * step
            place += 1
    return result
