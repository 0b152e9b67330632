"""Threads of torch around a fork: what must not run on several, and why."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


def single_thread() -> int | None:
    """Sets torch, if it is there at all, to one thread; returns how many it had."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    before: int = torch.get_num_threads()
    if before != 1:
        torch.set_num_threads(1)
    return before


@contextmanager
def one_thread() -> Iterator[None]:
    """Same thread count, same bytes; and no pool of threads that a fork would leave behind.

    A child of a process whose OpenMP threads have started waits for them for ever as soon as it
    uses several itself. What runs before the fork (a model checked, data loaded) runs in this.
    """
    before = single_thread()
    try:
        yield
    finally:
        if before is not None and before != 1:
            sys.modules["torch"].set_num_threads(before)
