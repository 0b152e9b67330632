"""What a run says of its events, in words: one answer for lines and for the display."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from .engines.outcome import Event, Outcome
from .engines.schedule import Cell


def duration(seconds: float | None) -> str:
    """Rounded for reading; ``?`` for None.

    >>> duration(8.2), duration(125), duration(11400)
    ('8 s', '2 min 05 s', '3 h 10 min')
    """
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _significant(value: float) -> str:
    return f"{value:.3g}"


# key of an event -> what it is called, and how it is written: of topographic maps, trainings and
# networks run in spikes, in the order they are shown
MEASURES: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "sigma_aff_conn": ("sigma", _significant),
    "ad_conn": ("AD", _significant),
    "rate_hz": ("rate in Hz", _significant),
    "ff_synapses": ("feed-forward synapses", lambda value: f"{value:,}"),
    "density": ("density", lambda value: f"{value:.4g}"),
    "test_accuracy": ("test", _percent),
    "spiking_accuracy": ("spikes", _percent),
    "ann_accuracy": ("activations", _percent),
    "val_accuracy": ("validation", _percent),
    "images_per_second": ("images/s", lambda value: f"{value:.0f}"),
}

PARTS = {"test": "test", "val": "validation"}  # of the columns of a task's metric


def measures(event: Event) -> dict[str, str]:
    """What an ``eval`` or ``level`` event measured: the values that it has, by name.

    >>> measures({"event": "level", "density": 0.05, "test_accuracy": 0.9512, "val_accuracy": None})
    {'density': '0.05', 'test': '95.12 %'}
    >>> measures({"event": "level", "test_r2": 0.4512, "test_r2_at_early_stop": 0.46})
    {'test r2': '0.4512'}
    """
    # whatever else a cell of somebody's sends under such a key, the display must not end the run
    known = {
        name: write(event[key])
        for key, (name, write) in MEASURES.items()
        if isinstance(event.get(key), Real)
    }
    return known | {
        f"{PARTS[part]} {key}": f"{event[name]:.4g}"
        for name in event
        for part, _, key in [name.partition("_")]
        if name not in MEASURES and isinstance(event[name], Real) and part in PARTS
        and key != "loss" and not key.endswith("_at_early_stop")
    }  # fmt: skip


def time_of(event: Event) -> str:
    """When in its cell an event of kind ``level`` was: at a simulated time, or after a level."""
    if "simulated_seconds" in event:
        return f"after {event['simulated_seconds']:g} s"
    return f"level {event.get('level', 0)}"


def seed_and_density(cell: Any) -> tuple[str, str]:
    """As text; empty where a cell has none, as an attribute or in its configuration."""
    config = getattr(cell, "config", None)

    def value_of(name: str) -> Any:
        value = getattr(cell, name, None)
        return config.get(name) if value is None and isinstance(config, Mapping) else value

    seed, density = value_of("seed"), value_of("density")
    return "" if seed is None else str(seed), "" if density is None else f"{density:.4g}"


def name_of(cell: Cell) -> str:
    """``DeepR  seed 1  density 0.05``, from whatever the cell tells of itself."""
    parts = [str(cell.label)]
    for name, text in zip(("seed", "density"), seed_and_density(cell), strict=True):
        if text and f"{name} " not in parts[0]:
            parts.append(f"{name} {text}")
    return "  ".join(parts)


def sentence(cell: Cell, event: Event) -> str | None:
    """An event that is worth a line of its own; None for the others."""
    name = name_of(cell)
    match event.get("event"):
        case "level":
            values = ", ".join(f"{title} {text}" for title, text in measures(event).items())
            return f"{name}  {time_of(event)}: {values}"
        case "start" if event.get("attempt", 1) > 1:
            return f"{name}: was killed, attempt {event['attempt']}"
        case "outcome":
            match event["status"]:
                case "finished":
                    return f"{name}: finished in {duration(event['seconds'])}"
                case "failed":
                    return f"{name}: FAILED, {event['kind']}: {event['message']}"
                case "blocked":
                    return f"{name}: not run, it {event['message']}"
                case "stopped":
                    return f"{name}: stopped"
    return None


def by_status(outcomes: Mapping[str, Outcome]) -> dict[str, int]:
    """How many cells ended in each way."""
    counts: dict[str, int] = {}
    for outcome in outcomes.values():
        counts[outcome.status] = counts.get(outcome.status, 0) + 1
    return counts


def conclusion(outcomes: Mapping[str, Outcome], seconds: float) -> str:
    """The last line of a run.

    >>> conclusion({"a": Outcome("a", "skipped"), "b": Outcome("b", "failed", 4)}, 65)
    '1 finished before, 1 failed; 1 min 05 s'
    """
    titles = {"skipped": "finished before"}
    parts = [f"{n} {titles.get(status, status)}" for status, n in by_status(outcomes).items()]
    return f"{', '.join(parts) or 'no cells'}; {duration(seconds)}"
