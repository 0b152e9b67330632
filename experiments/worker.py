"""A worker that is a process of its own: ``rewire cell RUN HASH``, for engines without a fork.

It plans the run's experiment again, so that a folder and a hash are all that has to reach another
machine. Events go to standard output as JSON lines, what is printed to the cell's log; the exit
code is that of the attempt. The run's lock is its caller's.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rewire.names import unknown

from . import kinds, store
from .engines.child import live
from .engines.engine import Job
from .errors import ConfigError


def run_cell(run: Path, hash: str) -> int:
    """Attempt one cell of a run in this process; returns its exit code.

    Raises ConfigError where the folder holds no experiment or no such cell, StoreError where it is
    damaged.
    """
    described = store.Run(run).experiment()
    if described is None:
        raise ConfigError(f"{run} holds no experiment: give the folder of a run")
    experiment = kinds.parse(described["config"])
    cells = {cell.hash: cell for cell in kinds.plan(experiment)}
    if hash not in cells:
        raise ConfigError(unknown("cell", hash, cells))
    cell, folder = cells[hash], run / "cells" / hash
    parents = {role: run / "cells" / parent for role, parent in cell.parents.items()}
    job = Job(cell, 1, folder, parents, kinds.work(experiment), lambda event: None, lambda: False)
    return live(job, _events_out(), os.getppid())


def _events_out() -> int:
    """A copy of standard output, which the cell's log will replace."""
    pipe = os.dup(1)
    if stat.S_ISFIFO(os.fstat(pipe).st_mode):  # a terminal's would be the shell's, too
        os.set_blocking(pipe, False)
    return pipe
