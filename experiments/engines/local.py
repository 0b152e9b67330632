"""The local engine: cells trained by single-thread workers forked from one warm parent.

Importing torch and reading the data cost more than many a training, so the parent does both once
and forks: one child per cell, which shares those pages until it writes to them, trains with one
thread, and leaves with ``os._exit``. A cell is a resumable process, which makes the rest simple: a
child that is killed starts again where its last checkpoint was, and the same command run again
skips what is finished and continues what is not.

What ``work(cell, folder, parents, emit, should_stop)`` may rely on, and must do:

- ``folder`` exists and no other process has it: its lock is held until this process is dead.
- It draws every random number from seeds of its own; a fork inherits the parent's generators.
- ``emit(event)`` never blocks. A parent that cannot keep up loses ``eval`` events, never a result:
  those are in the folder.
- ``should_stop()`` costs less than a microsecond; once it is true, ``work`` finishes its
  step, writes a checkpoint and returns.

What the parent must not do before the fork: train (autograd refuses to run in a child of a process
whose own backward pass has started device threads) or touch CUDA (a forked child cannot use a
context it inherits; `prepare_parent` lets ``torch.cuda.is_available`` ask the driver without one).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..threads import one_thread
from .attempt import _attempt
from .fork import (
    _frozen_heap,
    _import_what_children_would,
    _refuse_cuda_before_fork,
    fork_available,
)
from .outcome import Event, Interrupted, Outcome, Work
from .pool import _Pool
from .run import _Run, is_finished
from .schedule import Cell
from .stopping import _StopSignals


def run_cells(
    cells: Sequence[Cell],
    *,
    out: Path,
    workers: int,
    work: Work,
    finished: Callable[[Path], bool] = is_finished,
    on_event: Callable[[str, Event], None] | None = None,
    on_tick: Callable[[], None] | None = None,
    grace: float = 20.0,
    retries: int = 2,
) -> dict[str, Outcome]:
    """Train all cells that are not finished yet and say how each one ended, by hash.

    ``workers`` children train at a time, one thread each, always the ready cells with the longest
    remaining path of weights first. With ``workers=0``, or where processes cannot fork, the cells
    are trained one by one in this process: for a debugger, and without protection from crashes.

    A child that a signal killed is started again up to ``retries`` times. An error ends its cell
    alone: it is written to the folder's error.json, the cells that need this one are ``blocked``,
    all others go on. SIGINT, SIGTERM and SIGHUP ask the children once to finish their step and
    write a checkpoint, wait up to ``grace`` seconds, and raise `Interrupted`; another SIGINT ends
    them at once. Whatever ends this process, its children end with it.

    ``on_event(hash, event)`` gets what the cells emit, and the engine's own
    ``{"event": "start", "attempt": n}`` and ``{"event": "outcome", "status": ..., ...}``;
    ``on_tick()`` is called about ten times a second. Both run in this thread.
    """
    run = _Run(cells, out, work, finished, on_event, on_tick)
    run.settle_finished()
    if not run.schedule.remaining:
        return run.ordered()
    pooled = workers > 0 and fork_available()
    with _StopSignals() as stop, one_thread():
        try:
            if pooled:
                _refuse_cuda_before_fork()
                _import_what_children_would()
                with _frozen_heap(stop):
                    _Pool(run, stop, min(workers, len(run.cells)), grace, retries).drive()
            else:
                _drive_in_process(run, stop)
        except KeyboardInterrupt:
            if not stop.signum:
                raise
    for hash in run.schedule.remaining:
        run.outcomes[hash] = Outcome(hash, "waiting")
    if stop.signum:
        raise Interrupted(stop.signum, run.ordered())
    return run.ordered()


def _drive_in_process(run: _Run, stop: _StopSignals) -> None:
    while not stop.signum and (cell := run.schedule.pop()):
        hash = cell.hash
        run.tell(hash, {"event": "start", "attempt": 1})
        started = time.monotonic()

        def emit(event: Event, hash: str = hash) -> None:
            run.tell(hash, event)
            run.tick()

        code = _attempt(run, cell, emit, lambda: bool(stop.signum), log=False)
        seconds = time.monotonic() - started
        run.settle(run.ended(cell, code, stopping=bool(stop.signum), attempts=1, seconds=seconds))
