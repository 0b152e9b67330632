"""Which cells of a run are meant, and which of their graphs; options of the command line, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True)
class Choice:
    """Which cells of a run, and which of their graphs: None says nothing."""

    rule: Annotated[str | None, Parameter(help="Only cells of this label or rule.")] = None
    density: Annotated[float | None, Parameter(help="Only cells at this density.")] = None
    seed: Annotated[int | None, Parameter(help="Only cells of this seed.")] = None
    level: Annotated[
        int | None,
        Parameter(
            help="The graph at the end of this level; by default of the last one, or of the one at "
            "--density."
        ),
    ] = None
    step: Annotated[
        int | None, Parameter(help="The topology of this step, replayed from the edit log.")
    ] = None

    def __str__(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.words.items()) or "any rule, density and seed"

    @property
    def words(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}
