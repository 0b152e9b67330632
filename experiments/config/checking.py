"""One table of an experiment file against its class: what pydantic finds, as sentences."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rewire.names import did_you_mean, short, unknown

from .optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    ConstantSchedule,
    CosineSchedule,
    MilestoneSchedule,
    RMSprop,
    StepSchedule,
)
from .pictures import Augment
from .problems import Problems
from .schema import Data, Spikes
from .seeds import SeedsApart
from .values import Table

_TABLES: dict[tuple[str, ...], tuple[str, dict[str, type[Table]]]] = {
    ("optimizer",): ("optimiser", {
        name: cls
        for cls in (SGD, Adam, AdamW, RMSprop, Adagrad)
        for name in cls.model_fields["name"].annotation.__args__  # type: ignore[union-attr]
    }),
    ("schedule",): ("kind of schedule", {
        "constant": ConstantSchedule, "step": StepSchedule,
        "milestones": MilestoneSchedule, "cosine": CosineSchedule,
    }),
}  # fmt: skip


_NESTED: dict[str, type[Table]] = {"data": Data, "spikes": Spikes, "seeds_apart": SeedsApart}


def _keys(cls: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in cls.model_fields.items()]


def _problem(error: ErrorDetails, root: type[Table]) -> tuple[str, str]:
    """One of pydantic's errors as (path, sentence)."""
    loc = [part for part in error["loc"]]
    table: type[Table] = root
    if loc and tuple(loc[:1]) in _TABLES:
        kinds = _TABLES[(str(loc[0]),)][1]
        if len(loc) > 1 and loc[1] in kinds:  # pydantic writes the union's tag into the path
            table = kinds[str(loc.pop(1))]
    elif loc and loc[:2] == ["data", "augment"]:
        table = Augment
    elif loc and loc[0] in _NESTED:
        table = _NESTED[str(loc[0])]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
    kind, value = error["type"], error.get("input")
    if kind == "extra_forbidden":
        names = _keys(table)
        return path, f"unknown key{did_you_mean(str(loc[-1]), names)}; it takes {', '.join(names)}"
    if kind == "missing":
        return path, "is missing"
    if kind == "union_tag_invalid":
        noun, kinds = _TABLES[(str(loc[0]),)]
        return path, unknown(noun, error["ctx"]["tag"], kinds)
    if kind == "union_tag_not_found":
        noun, kinds = _TABLES[(str(loc[0]),)]
        which = error["ctx"]["discriminator"].strip("'")
        return path, f"needs '{which}', the {noun}: one of {', '.join(kinds)}"
    if kind == "value_error":
        return path, str(error["ctx"]["error"])
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return path, f"should be a table, found {short(value)}"
    expected = error["msg"].removeprefix("Input ").replace("valid ", "")
    return path, f"{expected}, found {short(value)}"


def check(cls: type[Table], tree: Any) -> tuple[Any, Problems]:
    """The object that a table describes, None where something is wrong with it, and what is."""
    try:
        return cls.model_validate(tree), Problems()
    except ValidationError as error:
        return None, Problems(_problem(e, cls) for e in error.errors(include_url=False))
