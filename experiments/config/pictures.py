"""What the table ``data`` may do to pictures while they are trained on."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from rewire.names import short, unknown

from .values import Table

USUAL = 4  # pixels of a shift that is named without a number, as for CIFAR in the papers
NAMES: dict[str, dict[str, Any]] = {
    "flip-shift": {"flip": True, "shift": USUAL},
    "flip": {"flip": True},
    "shift": {"shift": USUAL},
}


class Augment(Table):
    """How a picture differs each time it is trained on."""

    flip: Annotated[bool, Field(description="left for right, every second time")] = False
    shift: Annotated[
        int, Field(ge=0, le=64, description="pixels, at most, along each side; what comes in is 0")
    ] = 0

    @model_validator(mode="after")
    def _does_something(self) -> "Augment":
        if not (self.flip or self.shift):
            raise ValueError("neither flips nor shifts: leave it out, or set flip or shift")
        return self


def _named(value: Any) -> Any:
    """``"flip-shift"``, or ``["flip", "shift"]``, as the table that it is short for."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list):
        return value
    table: dict[str, Any] = {}
    for name in names:
        if not isinstance(name, str) or name not in NAMES:
            raise ValueError(unknown("augmentation", name, NAMES) if isinstance(name, str) else
                             f"should be a name or a table, found {short(name)}")  # fmt: skip
        table |= NAMES[name]
    return table


Augmented = Annotated[
    Augment | None,
    BeforeValidator(_named),
    WithJsonSchema({"anyOf": [{"enum": list(NAMES)}, {"type": "array"}, {"type": "object"}]}),
]
