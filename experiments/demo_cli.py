"""``rewire demo``: from nothing to a page that tells a story with its own figures.

Only the command line's words are here; the work is imported when the command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .errors import ConfigError
from .printing import console, print_json


def demo(
    *overrides: str,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    workers: Annotated[int | None, Parameter(name=["--workers", "-j"])] = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Run two small examples, sparse networks on digits and a rewiring map, and write a page.

    Runs the presets demo-digits and demo-map (the latter where Brian2 is installed) and writes
    OUT/demo.html. Ctrl-C stops after a checkpoint, and the same command continues.

    Parameters
    ----------
    overrides
        key=value pairs that replace what demo-digits says: seeds=1 steps=300
    out
        The folder of the two runs and the page [default: runs/demo].
    workers
        Processes of one thread each [default: one per core]; 0 trains in this process.
    json
        Progress as JSON lines, and the page's path.
    """
    if workers is not None and workers < 0:
        raise ConfigError(f"--workers is {workers}; it takes a number of processes, 0 or more")
    from . import provenance
    from .demo import demo as tell

    page = tell(
        out, overrides, workers=workers, progress="json" if json else "auto",
        command=provenance.command_line(),
    )  # fmt: skip
    if json:
        print_json({"event": "demo", "page": str(page)})
    else:
        console().print(f"Page: {page}", soft_wrap=True, highlight=False)
    return 0
