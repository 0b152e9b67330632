"""Steps until a network validates as well as the dense network of its seed ever does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]

OWN = "early_stop_step"  # of a level's least validation loss
LEAST = "dense_least_val_loss"
STEPS = "steps_to_dense_loss"
TITLES = {OWN: "early stop step", STEPS: "steps to dense loss"}


def with_steps_to_dense_loss(rows: Iterable[Row], evals: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows of trainings with two columns more, after `OWN`; other rows as they are.

    `LEAST`: the least validation loss of the dense network of the row's seed; None without one,
    and where a level has no evaluations to hold against it.
    `STEPS`: the step of the level's first evaluation at that loss or below; None where none is.
    Both networks are evaluated at the same steps, so a step is known to within those.

    >>> rows = [{"cell": "d", "rule": "Dense", "seed": 0, "level": 0, "early_stop_step": 20},
    ...         {"cell": "s", "rule": "SET", "seed": 0, "level": 0, "early_stop_step": 30}]
    >>> losses = {"d": {10: 0.5, 20: 0.3, 30: 0.4}, "s": {10: 0.6, 20: 0.5, 30: 0.2}}
    >>> evals = [{"cell": cell, "level": 0, "step": step, "val_loss": loss}
    ...          for cell, curve in losses.items() for step, loss in curve.items()]
    >>> [(row["rule"], row["steps_to_dense_loss"]) for row in with_steps_to_dense_loss(rows, evals)]
    [('Dense', 20), ('SET', 30)]
    """
    rows, curves = list(rows), _curves(evals)
    dense = _dense_rows(rows, curves)
    return [_extended(row, _curve(row, dense, curves), _least(row, dense, curves))
            if OWN in row else dict(row) for row in rows]  # fmt: skip


def steps_text(row: Row) -> str:
    """`STEPS` of a row, as text: "never" where the dense network's loss is not reached.

    >>> steps_text({STEPS: 1200, LEAST: 0.1}), steps_text({STEPS: None, LEAST: 0.1})
    ('1,200', 'never')
    """
    if row.get(STEPS) is not None:
        return f"{row[STEPS]:,}"
    return "" if row.get(LEAST) is None else "never"


Curves = Mapping[tuple[str, int], list[tuple[int, float]]]


def _curves(evals: Iterable[Row]) -> Curves:
    """Steps and validation losses of each (cell, level), in order of time."""
    curves: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for event in evals:
        if event.get("val_loss") is not None:
            point = (event["step"], event["val_loss"])
            curves.setdefault((event["cell"], event["level"]), []).append(point)
    return curves


def _dense_rows(rows: Iterable[Row], curves: Curves) -> dict[int, Row]:
    """By seed the row of the first dense network that the run lists."""
    dense: dict[int, Row] = {}
    for row in rows:
        if OWN in row and row["rule"] == "Dense" and (row["cell"], row["level"]) in curves:
            dense.setdefault(row["seed"], row)
    return dense


def _least(row: Row, dense: Mapping[int, Row], curves: Curves) -> float | None:
    if row["seed"] not in dense:
        return None
    one = dense[row["seed"]]
    return min(loss for _, loss in curves[one["cell"], one["level"]])


def _curve(row: Row, dense: Mapping[int, Row], curves: Curves) -> list[tuple[int, float]]:
    """Evaluations of a row's level: the dense network's, where a ladder begins with it."""
    own = curves.get((row["cell"], row["level"]), [])
    one = dense.get(row["seed"])
    if own or one is None:
        return own
    same = all(row.get(name) == one.get(name) for name in (OWN, "val_loss", "edges"))
    return curves[one["cell"], one["level"]] if same else []


def _extended(row: Row, curve: list[tuple[int, float]], least: float | None) -> dict[str, Any]:
    least = least if curve else None  # without evaluations nothing is known of the level
    reached = (step for step, loss in curve if least is not None and loss <= least)
    columns = {LEAST: least, STEPS: next(reached, None)}
    extended: dict[str, Any] = {}
    for name, value in row.items():
        extended[name] = value
        if name == OWN:
            extended |= columns
    return extended
