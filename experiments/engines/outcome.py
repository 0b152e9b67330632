"""What becomes of a cell: its events, its status, its outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import RewireError, after_signal, signal_name

Event = dict[str, Any]
Emit = Callable[[Event], None]
Status = Literal["finished", "skipped", "failed", "blocked", "stopped", "waiting"]

# work(cell, folder, parents' folders by role, emit, should_stop)
Work = Callable[[Any, Path, dict[str, Path], Emit, Callable[[], bool]], None]


@dataclass(frozen=True)
class Outcome:
    """How one cell ended.

    ``finished`` now, ``skipped`` because it was finished before, ``failed`` with an exit code,
    ``blocked`` by a parent that failed, ``stopped`` by a signal, or still ``waiting`` for its turn
    at that moment.
    """

    cell: str
    status: Status
    exit_code: int = 0
    attempts: int = 0
    seconds: float = 0.0
    kind: str = ""
    message: str = ""

    @property
    def ok(self) -> bool:
        return self.status in ("finished", "skipped")


class Interrupted(RewireError):
    """A signal stopped the run; every cell that had started has a checkpoint to continue from."""

    def __init__(self, signum: int, outcomes: dict[str, Outcome]) -> None:
        n_finished = sum(outcome.ok for outcome in outcomes.values())
        super().__init__(
            f"stopped by {signal_name(signum)} with {n_finished} of {len(outcomes)} cells "
            "finished; the same command continues"
        )
        self.signum = signum
        self.exit_code = after_signal(signum)
        self.outcomes = outcomes


def exit_code(outcomes: Mapping[str, Outcome]) -> int:
    """What the command should return: 0, or the code of the first cell that failed.

    >>> exit_code({"a": Outcome("a", "finished"), "b": Outcome("b", "failed", 4)})
    4
    """
    return next((o.exit_code for o in outcomes.values() if o.status == "failed"), 0)
