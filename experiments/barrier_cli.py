"""``rewire barrier``: the error on the line between two trained networks.

Only the command line's words are here; the work is imported when the command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from .choice import Choice
from .printing import console, new_table, print_json

ANY = Choice()


def barrier(
    places: Annotated[list[Path], Parameter(consume_multiple=True)],
    /,
    *,
    choice: Choice = ANY,
    points: int = 30,
    parts: Annotated[list[str], Parameter(name="--part")] = ["test", "train"],  # noqa: B006
    norms: str = "recomputed",
    examples: int | None = None,
    svg: Path | None = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Measure the error on the straight line between two trained networks, and its barrier.

    Stable: the largest error is less than 2 % above the mean of the two ends (Frankle et al. 2020,
    arXiv:1912.05671). The two have one mask: a network and its Sibling, or copies by seeds_apart.

    Parameters
    ----------
    places
        A run (all its copies: rules and their Siblings), two cells (RUN/cells/HASH), or two runs,
        whose cells of the same label, density and seed are paired.
    points
        Points of the line, both ends included [default: 30].
    parts
        Of the data, --part test --part train (both by default); the verdict is of the first.
    norms
        Statistics of batch norms: recomputed from training data at each point [default], or
        interpolated with the weights.
    examples
        At most as many of each part [default: all].
    svg
        Draw the lines into a file .svg, .png or .pdf.
    json
        As JSON, one pair a line, with the error at each point.
    """
    from .interpolation import between, drawn, pairs_at

    if svg is not None:
        drawn.check_file(svg)
    measured = []
    for pair in pairs_at(places, choice):
        bar = between(
            pair.first,
            pair.second,
            points=points,
            parts=parts,
            norms=norms,  # type: ignore[arg-type]
            examples=examples,
        )
        measured.append((pair, bar))
    if svg is not None:
        drawn.draw(measured, svg)
    if json:
        for pair, bar in measured:
            errors = {f"{part}_errors": list(values) for part, values in bar.errors.items()}
            print_json({**_row(pair, bar), "alphas": list(bar.alphas), **errors})
        return
    _print([_row(pair, bar) for pair, bar in measured])
    if svg is not None:
        console().print(f"{len(measured)} lines in {svg}", soft_wrap=True, highlight=False)


def _row(pair: Any, bar: Any) -> dict[str, Any]:
    heights = {f"{part}_barrier": bar.height(part) for part in bar.errors}
    first = next(iter(bar.errors))
    return {**pair.names, f"{first}_error": bar.ends(first), **heights, "stable": bar.stable}


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape

    names = [name for name in rows[0] if any(row.get(name) is not None for row in rows)]
    table = new_table(*(name.replace("_", " ") for name in names if name != "rule"))
    for row in rows:
        table.add_row(*(escape(_text(n, row.get(n))) for n in names if n != "rule"))
    console().print(table)


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "stable":
        return "stable" if value else "not stable"
    if name.endswith(("_error", "_barrier")):
        return f"{100 * value:.2f} %"
    return f"{value:g}" if isinstance(value, float) else str(value)
