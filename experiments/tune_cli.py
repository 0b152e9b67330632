"""``rewire tune``: an equal search for the fields of an experiment's rules.

Only the command line's words are here; the work is imported when the command runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from .errors import ConfigError
from .printing import console, new_table, print_json


def tune(
    experiment: str,
    /,
    *overrides: str,
    trials: int | None = None,
    flops: float | None = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    workers: Annotated[int | None, Parameter(name=["--workers", "-j"])] = None,
    engine: str = "local",
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Search for the fields of an experiment's rules, with an equal budget for every rule.

    Trials are chosen by validation data, on seeds that the experiment does not use. Writes
    OUT/tuned.toml, an experiment for `rewire run`, and OUT/tuning.html. Ctrl-C stops after a
    checkpoint, and the same command continues.

    Parameters
    ----------
    experiment
        A TOML or JSON file, or the name of a preset; its table tune says how to search.
    overrides
        key=value pairs that replace what the file says: rules=[SET,RigL] tune.seeds=2
        tune.optimizer=[lr]
    trials
        Trials of each rule, the experiment's own fields being the first [default: 20].
    flops
        What each rule may spend, in dense trainings at each density and seed [default: as many as
        trials].
    out
        The folder of the search [default: runs/NAME-tuning].
    workers
        Processes of one thread each [default: one per core]; 0 trains in this process.
    engine
        Where the trainings run: local [default], or the name of an installed engine.
    json
        Progress and trials as JSON lines.
    """
    if workers is not None and workers < 0:
        raise ConfigError(f"--workers is {workers}; it takes a number of processes, 0 or more")
    from . import provenance, tuning
    from .config import first_look

    first_look.refuse_mistakes(experiment, overrides)

    tuned = tuning.tune(
        experiment,
        overrides,
        trials=trials,
        flops=flops,
        out=out,
        workers=workers,
        engine=engine,
        progress="json" if json else "auto",
        command=provenance.command_line(),
        warn=lambda text: print(f"rewire: {text}", file=sys.stderr),
    )
    _print(tuned, json)
    return 0


def _print(tuned: Any, json: bool) -> None:
    """The chosen trial of each rule, and where the rest is."""
    if json:
        for table in tuned.tree["tuned"]:
            print_json({"event": "tuned", **table})
        print_json({"event": "tuning", "out": str(tuned.out), "file": str(tuned.file),
                    "page": str(tuned.page)})  # fmt: skip
        return
    metric = tuned.metric
    table = new_table("rule", "trials", "dense trainings", "default", "tuned")
    for one in tuned.rule_spaces:
        done, best = tuned.of(one.label), tuned.chosen(one.label)
        scores = ("failed" if t.score is None else metric.text(t.score) for t in (done[0], best))
        table.add_row(one.label, str(len(done)), f"{sum(map(tuned.cost, done)):.3g}", *scores)
    page = console()
    page.print(f"\nValidation {metric.title} on the seeds of the trials:", highlight=False)
    page.print(table)
    page.print(f"Page: {tuned.page}", soft_wrap=True, highlight=False)
    page.print(f"Next: rewire run {tuned.file}", soft_wrap=True, highlight=False)
