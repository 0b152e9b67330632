"""The graphs of a cell: saved at the ends of levels, replayed from its edit log between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rewire.checkpoint import CheckpointError
from rewire.edit_log import History, Record, parse, read
from rewire.graph import Edit, Graph

from ..errors import ConfigError, StoreError
from ..store import CellStore
from .followed import graph_of_cell


@dataclass(frozen=True, eq=False)
class Recorded:
    """What a cell left behind. name: what messages call it. events: those of metrics.jsonl."""

    name: str
    files: CellStore
    status: str
    config: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]


def graph_at(cell: Recorded, step: int | None, level: int | None) -> Graph:
    """See `OpenedCell.graph`."""
    files = cell.files
    if step is not None and level is not None:
        raise ConfigError(
            f"step={step} and level={level} were both given: a level's graph is that of its end; "
            "give one of them"
        )
    ends = level_ends(cell)
    if step is None:
        return _saved(cell, level_of(cell, ends, level))
    if len(files.starts) > 1:  # a branch: trainings one after the other, that never rewire
        raise ConfigError(
            f"{cell.name} trains from {len(files.starts)} starts, and steps are counted from each: "
            f"give level=, one of {_numbers(ends)}"
        )
    if step == 0 and 0 not in ends.values():
        return start_of(cell, None)
    for number, end in ends.items():
        if end == step:
            return _saved(cell, number)
    _check_replayable(cell)
    last = _end(cell, ends)
    if not 0 <= step <= last:
        raise ConfigError(f"{cell.name} has the steps 0 to {last}; step {step} was asked for")
    for _, graph in _replayed(cell, start_of(cell, None), iter([step])):
        return graph
    raise AssertionError


def graphs_of(cell: Recorded, every: int, level: int | None) -> Iterator[tuple[int, Graph]]:
    """See `OpenedCell.graphs`."""
    if every < 1:
        raise ConfigError(f"every={every}: it is a number of steps, 1 or more")
    files, ends = cell.files, level_ends(cell)
    end = ends[level_of(cell, ends, level)] if level is not None else _end(cell, ends)
    if len(files.starts) > 1:
        return iter([(0, start_of(cell, level)), (end, _saved(cell, level_of(cell, ends, level)))])
    _check_replayable(cell)
    steps = iter([*range(0, end, every), end])
    return _checked(cell, ends, _replayed(cell, start_of(cell, None), steps))


def start_of(cell: Recorded, level: int | None) -> Graph:
    """The topology that a cell, or a level of a branch, started from."""
    files = cell.files
    starts = files.starts
    if not starts:
        raise StoreError(f"{files.path}: has no start-*.safetensors, the topology it began with")
    number = starts[0]
    if len(starts) > 1:
        if level not in starts:
            raise ConfigError(
                f"{cell.name} trains from several starts: look for it with density=, or take "
                f"graph(level=), one of {_numbers(starts)}"
            )
        number = level
    with reading(files):
        tree, meta = files.read_start(number)
        return graph_of_cell(tree["keys"], meta, cell.config)


def history_of(cell: Recorded) -> History:
    """See `OpenedCell.history`."""
    files = cell.files
    if len(files.starts) > 1:
        raise ConfigError(
            f"{cell.name} trains from several starts and never rewires: it has no log"
        )
    _check_finished(cell)
    start = start_of(cell, None).keys
    with reading(files):
        records = parse(files.edit_log.read())
    formed, dropped = (sum(len(x) for x in xs) for xs in (
        [r.add for r in records], [r.drop for r in records]
    ))  # fmt: skip
    return History(start, _rule_names(cell), records, formed, dropped)


def level_ends(cell: Recorded) -> dict[int, int]:
    """The levels whose graph was saved: number -> steps in all at its end."""
    files, ends = cell.files, dict[int, int]()
    totals: dict[int, int] = {}
    for event in cell.events:
        if event["event"] == "eval":
            totals[event["level"]] = event["total"]
        elif event["event"] == "level":
            ends[event["level"]] = totals.get(event["level"], event.get("step") or 0)
    saved = set(files.levels)
    return {level: end for level, end in ends.items() if level in saved}


def level_of(cell: Recorded, ends: Mapping[int, int], level: int | None) -> int:
    if level is None:
        _check_finished(cell, f"; graph(level=) reads one of {_numbers(ends)}" if ends else "")
        if not ends:
            raise ConfigError(f"{cell.name} saved no connectivity: it has no level with a graph")
        return max(ends)
    if level not in ends:
        raise ConfigError(f"{cell.name} has no saved level {level}; it has {_numbers(ends)}")
    return level


def _saved(cell: Recorded, level: int) -> Graph:
    with reading(cell.files):
        tree, meta = cell.files.read_level(level)
        graph = graph_of_cell(tree["keys"], meta, cell.config)
        return graph.with_columns({"weight": tree["weight"]})


def _replayed(cell: Recorded, start: Graph, steps: Iterator[int]) -> Iterator[tuple[int, Graph]]:
    """The topology that computes each of some rising steps.

    A spiking network is written down after the edits of its last step, others before: rules act
    while it runs, and at the end of a training's step.
    """
    files, graph = cell.files, start
    own = 1 if cell.config.get("kind") == "spiking" else 0
    with reading(files), files.edit_log.reader() as log:
        records = read(log)
        record = next(records, None)
        for step in steps:
            while record is not None and record.total < step + own:
                graph = graph.apply(_edit_of(record))
                record = next(records, None)
            yield step, graph


def _checked(
    cell: Recorded, ends: Mapping[int, int], graphs: Iterator[tuple[int, Graph]]
) -> Iterator[tuple[int, Graph]]:
    """The same graphs; each that was saved too must be the saved one."""
    saved = {end: level for level, end in ends.items()}
    for step, graph in graphs:
        if step in saved and not np.array_equal(graph.array, _saved(cell, saved[step]).array):
            raise StoreError(
                f"{cell.files.path}: the edit log leads to other edges at step {step} than level "
                f"{saved[step]} was saved with: one of the two files is not this cell's"
            )
        yield step, graph


def _edit_of(record: Record) -> Edit:
    return Edit(drop=record.drop.astype(np.int64), add=record.add)


def _end(cell: Recorded, ends: Mapping[int, int]) -> int:
    totals = [e["total"] for e in cell.events if e["event"] == "eval"]
    return max([*totals, *ends.values()], default=0)


def _check_finished(cell: Recorded, instead: str = "") -> None:
    if cell.status != "finished":
        raise StoreError(
            f"{cell.files.path}: the cell is {cell.status}, and its edit log may lag behind: run "
            f"its experiment to the end{instead}"
        )


def _check_replayable(cell: Recorded) -> None:
    """Raise where the log does not say which edges computed."""
    _check_finished(cell)
    if _silences(cell):
        raise ConfigError(
            f"{cell.name}: its rule keeps silent edges, which fall silent and come back without an "
            f"edit: only the ends of levels are known, steps {_numbers(level_ends(cell).values())}"
        )


def _silences(cell: Recorded) -> bool:
    from rewire.rule import silences

    return any(silences(rule) for rule in _rules(cell))


def _rule_names(cell: Recorded) -> list[str]:
    """As the session named them, by number."""
    rule = cell.config.get("rule")
    alone = rule.get("rule") if isinstance(rule, Mapping) else rule
    return [f"{i}.{rule.name}" for i, rule in enumerate(_rules(cell))] or [f"0.{alone}"]


def _rules(cell: Recorded) -> tuple[Any, ...]:
    """The rules of a training's session; none where another kind of cell has its own table."""
    from ..trainings.settings import settings

    if cell.config.get("kind") != "rule":
        return ()
    return settings(cell.config).rule.parts


@contextmanager
def reading(files: CellStore) -> Iterator[None]:
    """A file that is not what the store writes becomes a StoreError that names the cell."""
    try:
        yield
    except CheckpointError as error:
        raise StoreError(str(error)) from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StoreError(f"{files.path}: {type(error).__name__}: {error}") from error


def _numbers(values: Any) -> str:
    return ", ".join(map(str, values)) or "none"
