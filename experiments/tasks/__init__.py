"""Tasks by name: what a model is trained for and judged by.

>>> [metric.title for metric in available()["regression"].metrics]
['R²', 'mean squared error']

A task of your own is a subclass of :class:`Task` under the entry point ``rewire.tasks``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewire.names import unknown

from .. import installed
from ..errors import ConfigError
from ..metric import ACCURACY, Metric
from .actor_critic import ActorCritic
from .built_in import Classification, Frames, NextToken, Regression
from .task import IGNORED, Task
from .translation import Translation

__all__ = ["ACCURACY", "IGNORED", "ActorCritic", "Classification", "Frames", "Metric", "NextToken",
           "Regression", "Task", "Translation", "available", "metric_of", "of_table",
           "table_of"]  # fmt: skip

ENTRY_POINTS = "rewire.tasks"
TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "regression": Regression,
    "next-token": NextToken,
    "frames": Frames,
    "translation": Translation,
    "actor-critic": ActorCritic,
}


def available() -> dict[str, type[Task]]:
    """All tasks by name, those of installed packages included.

    Raises ConfigError for a package that cannot be used.
    """
    return installed.available("task", ENTRY_POINTS, TASKS, Task)  # type: ignore[type-abstract]


def of_table(table: str | Mapping[str, Any]) -> Task:
    """The task that a name, or a table ``{name = ..., metric = ...}``, describes.

    >>> of_table({"name": "next-token", "metric": "bits"}).judged_by.title
    'bits per token'

    Raises ValueError for a name, or a field, that is none.
    """
    fields = {"name": table} if isinstance(table, str) else dict(table)
    name = fields.pop("name", None)
    tasks = TASKS if name in TASKS else available()  # a broken package costs its own name only
    if name not in tasks:
        raise ValueError(unknown("task", name, tasks))
    return tasks[name].from_table(fields)


def table_of(task: Task) -> dict[str, Any]:
    """The table that `of_table` reads back to an equal task.

    >>> table_of(Regression(metric="mse"))
    {'name': 'regression', 'metric': 'mse'}
    >>> table_of(Regression())
    {'name': 'regression'}
    """
    tasks = TASKS if type(task) in TASKS.values() else available()
    name = next((name for name, cls in tasks.items() if cls is type(task)), None)
    if name is None:
        raise ConfigError(
            f"{type(task).__name__} is registered under no name: name it under the entry point "
            f"{ENTRY_POINTS}"
        )
    fields = task.to_table()
    if fields.get("metric") == task.metrics[0].key:
        del fields["metric"]
    return {"name": name, **fields}


def metric_of(row: Mapping[str, Any]) -> Metric:
    """The metric that a row of results is judged by; accuracy where the row names no task.

    Raises ConfigError where the row is of a task that is not installed.
    """
    name = row.get("task")
    if name is None:
        return ACCURACY
    tasks = TASKS if name in TASKS else available()
    for metric in tasks[name].metrics if name in tasks else ():
        if metric.key == row.get("metric"):
            return metric
    raise ConfigError(
        f"these results are of the task {name!r} and the metric {row.get('metric')!r}, which are "
        "not installed: install the package that brings them"
    )
