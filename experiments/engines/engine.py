"""The interface of an engine: where cells run, and nothing else.

An engine starts attempts at cells somewhere (in this process, in forked workers, on a cluster) and
says with which exit code each of them ended. Which cell comes next, how often a killed one is
started again, what a signal does, statuses and events are the same for every engine: `run_cells`
asks an engine for its five members and does all the rest.

A package adds one under the entry point ``rewire.engines``: a name, and a subclass of `Engine` that
is made from the number of workers. docs/extending.md has one of twenty lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .outcome import Emit, Work
    from .schedule import Cell


@dataclass(frozen=True, eq=False)
class Job:
    """One attempt at one cell.

    `attempt.attempt` does it, in whichever process that is called. An engine that cannot carry
    ``work`` to where the cell shall run starts ``rewire cell RUN HASH`` there.
    """

    cell: Cell
    number: int  # of the attempt, from 1
    folder: Path  # RUN/cells/HASH
    parents: Mapping[str, Path]  # role -> folder of a finished cell
    work: Work
    emit: Emit  # in the process that called `run_cells`: what the cell reports goes here
    should_stop: Callable[[], bool]  # there too: whether the run was asked to stop


class Ended(NamedTuple):
    """An attempt that is over. exit_code: a negative one is the signal that killed it."""

    job: Job
    exit_code: int


class Engine(ABC):
    """Starts attempts and says how they ended. Entered before the first and closed after the last.

    All methods are called from one thread.
    """

    def __init__(self, workers: int) -> None:
        self.capacity = workers  # how many attempts `run_cells` keeps going at a time

    @abstractmethod
    def start(self, job: Job) -> None:
        """Begin an attempt, or raise OSError while the system has no room for another one."""

    @abstractmethod
    def poll(self) -> Sequence[Ended]:
        """Wait a moment, about a tenth of a second, pass on what cells report, say what ended.

        Of an attempt that ended, all events go to ``job.emit`` before it is returned, once.
        """

    @abstractmethod
    def stop(self, *, now: bool = False) -> None:
        """Ask all attempts to write a checkpoint and end; with ``now``, kill them.

        They are returned by `poll` as always. May be called when nothing runs.
        """

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind: whatever still runs is killed, and is dead on return."""

    def __enter__(self) -> Engine:
        """What has to be done once before the first attempt; the engine itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
