"""``rewire fit``: what graphs take on neuromorphic hardware, and by what they do not fit.

Only the command line's words are here; the work is imported when the command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from .choice import Choice
from .printing import console, new_table, print_json

ANY = Choice()


def fit(
    place: Path,
    /,
    *limits: str,
    target: str = "spinnaker1",
    choice: Choice = ANY,
    limits_file: Annotated[Path | None, Parameter(name="--limits")] = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Compute whether networks fit on neuromorphic hardware: memory, cores, fan-in, weight bits.

    A network that does not fit says by what, and at which density it would; the exit code is 0 all
    the same.

    Parameters
    ----------
    place
        The folder of a run (all its cells that are finished), RUN/cells/HASH, or a file of a graph.
    limits
        key=value pairs that replace limits of the target: chips=48 core_bytes=none
    target
        spinnaker1 [default], spinnaker1-stdp (plastic synapses), spinnaker2, loihi1, loihi2,
        generic (the limits that you state), or the name of an installed one.
    limits_file
        A JSON or TOML file of limits; the pairs come after it.
    json
        A list of all graphs, with every number, the limits' sources, and what is assumed.
    """
    from .opened.fitted import fitted, target_of

    goal = target_of(target, limits_file, limits)
    fits = list(fitted(place, choice, goal))
    if json:
        print_json([{**names, **one.to_dict()} for names, _, one in fits], indent=1)
    elif len(fits) == 1:
        _, title, one = fits[0]
        print(f"{title}: {one}")
    else:
        _print(fits)


def _print(fits: list[tuple[dict[str, Any], str, Any]]) -> None:
    """One row for each graph, and what the first that does not fit says."""
    from rich.markup import escape

    names = ("graph", "fits", "neurons", "synapses", "cores", "chips", "bytes", "largest error")
    table = new_table(*names, "by what it does not fit")
    words = {True: "yes", False: "no", None: "not known"}
    for _, title, one in fits:
        numbers = (one.neurons, one.synapses, one.cores, one.chips, one.bytes)
        errors = [p.weights.largest for p in one.projections if p.weights is not None]
        error = f"{max(errors):.3g}" if errors else ""
        broken = dict.fromkeys(f"{o.limit} of {o.where}" for o in one.overflows)
        table.add_row(
            escape(title), words[one.fits], *(f"{n:,}" for n in numbers), error,
            escape(", ".join(broken)),
        )  # fmt: skip
    page = console()
    page.print(f"Target: {fits[0][2].target.title}", highlight=False, markup=False)
    page.print(table)
    page.print("One graph alone (RUN/cells/HASH) says all; so does --json.", highlight=False)
