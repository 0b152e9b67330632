"""Cells one by one in this process: for a debugger, and without protection from crashes."""

from __future__ import annotations

from collections.abc import Sequence

from .attempt import attempt
from .engine import Ended, Engine, Job


class InProcess(Engine):
    """One attempt at a time; `poll` is where it is done."""

    def __init__(self, workers: int = 1) -> None:
        super().__init__(1)
        self._jobs: list[Job] = []

    def start(self, job: Job) -> None:
        self._jobs.append(job)

    def poll(self) -> Sequence[Ended]:
        jobs, self._jobs = self._jobs, []
        return [Ended(job, attempt(job, job.emit, job.should_stop, log=False)) for job in jobs]

    def stop(self, *, now: bool = False) -> None:
        pass  # the cell in `poll` asks job.should_stop itself

    def close(self) -> None:
        self._jobs = []
