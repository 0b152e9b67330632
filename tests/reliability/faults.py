"""What can happen to a file: bytes altered, one bit flipped, no room left."""

import os
import random
import resource
from collections.abc import Callable, Iterator


def mutations(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Truncated, one bit flipped, or a burst of up to 64 random bytes; never the same bytes."""
    rng = random.Random(seed)
    done = 0
    while done < count:
        changed = bytearray(data)
        at = rng.randrange(len(data))
        kind = rng.randrange(3)
        if kind == 0:
            del changed[at:]
        elif kind == 1:
            changed[at] ^= 1 << rng.randrange(8)
        else:
            end = min(len(data), at + rng.randint(1, 64))
            changed[at:end] = rng.randbytes(end - at)
        if changed != data:
            done += 1
            yield bytes(changed)


def flips(data: bytes) -> Iterator[bytes]:
    """The data with each of its bits flipped, one at a time."""
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def with_room(work: Callable[[], object], size: int) -> str:
    """What ``work`` raised, or "done", in a child whose files may not exceed ``size`` bytes."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "died"
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            work()
            said = "done"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(write, said.encode())
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with os.fdopen(read) as pipe:
        return pipe.read()
