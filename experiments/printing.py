"""Tables and JSON of the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# --- how things are shown ---

SHOWN = ("label", "seed", "level", "density", "edges", "step", "test_accuracy",
         "test_accuracy_at_early_stop", "val_loss", "updates", "seconds")  # fmt: skip
SHOWN_SPIKING = ("label", "seed", "simulated_seconds", "sigma_aff_conn", "sigma_aff_weight",
                 "ad_conn", "ad_weight", "rate_hz", "ff_synapses", "lateral_synapses",
                 "events_per_s", "seconds")  # fmt: skip

SHOWN_IN_SPIKES = ("label", "seed", "density", "edges", "images", "ann_accuracy",
                   "spiking_accuracy", "spikes_per_image", "events_per_image",
                   "images_per_second")  # fmt: skip


def _is_spiking(rows: Sequence[Mapping[str, Any]]) -> bool:
    return bool(rows) and "simulated_seconds" in rows[0]


def _summary(out: Path) -> tuple[str, Any]:
    """A title, and rules by density: mean test accuracy at the end, its spread over seeds."""
    from statistics import mean, stdev

    from . import store

    rows = [row for row in store.results(out, listed=True) if "spiking_accuracy" not in row]
    if _is_spiking(rows):
        return _spiking_summary(rows)
    found: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        density = row["requested_density"]
        density = 1.0 if density is None and row["rule"] == "Dense" else density
        if density is not None and row["test_accuracy"] is not None:
            at = found.setdefault(row["label"], {})
            at.setdefault(density, []).append(100 * row["test_accuracy"])
    densities = sorted({d for at in found.values() for d in at}, reverse=True)
    seeds = max((len(values) for at in found.values() for values in at.values()), default=0)
    table = _table("rule", *(f"{d:.4g}" for d in densities))
    several = f", mean +- standard deviation over {seeds} seeds" if seeds > 1 else ""
    title = f"\nTest accuracy in %{several}, by density:"
    for label, at in found.items():
        texts = []
        for density in densities:
            values = at.get(density, [])
            spread = f" +- {stdev(values):.2f}" if len(values) > 1 else ""
            texts.append(f"{mean(values):.2f}{spread}" if values else "")
        table.add_row(label, *texts)
    return title, table


def _spiking_summary(rows: Sequence[Mapping[str, Any]]) -> tuple[str, Any]:
    """A title, and the map that each rule ends with: means over seeds, and their spread."""
    from statistics import mean, stdev

    ends = [row for row in rows if row["level"] > 0]
    shown = ("sigma_aff_conn", "ad_conn", "rate_hz", "ff_synapses", "events_per_s")
    table = _table("rule", *(name.replace("_", " ") for name in shown))
    most = 0
    for label in dict.fromkeys(row["label"] for row in ends):
        texts = []
        for name in shown:
            values = [r[name] for r in ends if r["label"] == label and r[name] is not None]
            most = max(most, len(values))
            spread = f" +- {stdev(values):.3f}" if len(values) > 1 else ""
            texts.append(f"{mean(values):.3f}{spread}" if values else "")
        table.add_row(label, *texts)
    several = f", mean +- standard deviation over {most} seeds" if most > 1 else ""
    return f"\nThe map at the end{several}:", table


def _list(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], json: bool) -> int:
    rows = list(rows)
    if json:
        _print_json(rows, indent=1)
        return 0
    table = _table(*columns, left=True)
    for row in rows:
        cells = (row[c] for c in columns)
        table.add_row(*(", ".join(c) if isinstance(c, list) else str(c) for c in cells))
    _console().print(table)
    return 0


def _table(*columns: str, left: bool = False) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", title_justify="left")
    words = ("cell", "rule", "after", "what", "found", "")
    for i, column in enumerate(columns):
        text = left or i == 0 or column in words
        table.add_column(
            column, justify="left" if text else "right", overflow="fold", no_wrap=i == 0
        )
    return table


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name.startswith("test") or name.endswith("accuracy"):
        return f"{100 * value:.2f} %"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(
        value, float) else str(value)  # fmt: skip


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n\n")[0].replace("\n", " ")


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _print_json(value: Any, indent: int | None = None) -> None:
    import json

    print(json.dumps(value, indent=indent, ensure_ascii=False))


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # a file or a pipe has no edge to fold lines at
    return Console(stderr=stderr, width=None if stream.isatty() else 160)
