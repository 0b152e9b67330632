"""The command: see the package."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmarks.ranking as package
from rewire.experiments.errors import RewireError

from . import drawing, page
from .runs import summary


def results_of(runs: Sequence[Path], tuned: Sequence[Path] = ()) -> dict[str, Any]:
    """Of the folders of runs, or of one file that was written before."""
    files = [path for path in runs if path.is_file()]
    if files and (len(runs) > 1 or tuned):
        raise ValueError(f"{files[0]} is a result: it stands alone, in the place of its runs.")
    return json.loads(files[0].read_text()) if files else summary(runs, tuned)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ranking",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder, or result")
    parser.add_argument("--tuned", type=Path, nargs="+", default=[], metavar="RUN")
    parser.add_argument("--markdown", action="store_true", help="tables in the place of JSON")
    parser.add_argument("--page", type=Path, help="a page to write anew between its comments")
    parser.add_argument("--picture", type=Path, help="ranks as SVG")
    parser.add_argument("--frontier", type=Path, help="accuracy against costs as SVG")
    given = parser.parse_args(arguments)
    try:
        results = results_of(given.runs, given.tuned)
        if given.page:
            given.page.write_text(page.filled(given.page.read_text(), results))
    except (ValueError, OSError, RewireError) as error:
        print(f"benchmarks.ranking: {error}", file=sys.stderr)
        return 2
    if given.picture:
        given.picture.write_text(drawing.ranks(results))
    if given.frontier:
        given.frontier.write_text(drawing.costs(results))
    print(page.markdown(results) if given.markdown else json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
