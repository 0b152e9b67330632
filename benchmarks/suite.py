"""What the suites share: bars, where and with what a result was measured, and the command line."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from benchmarks.timing import load, machine

Result = dict[str, float | str | int | None]
PACKAGES = ("neurorewire", "torch", "numpy", "brian2")


@dataclass(frozen=True)
class Bar:
    """What a measured number has to reach, or to stay below."""

    sense: Literal[">=", "<="]
    value: float

    def met(self, measured: float) -> bool:
        """Whether a measured number is on the right side."""
        return measured >= self.value if self.sense == ">=" else measured <= self.value

    def __str__(self) -> str:
        return f"{self.sense} {self.value:g}"


Bars = Mapping[str, Bar]


def at_least(value: float) -> Bar:
    return Bar(">=", value)


def at_most(value: float) -> Bar:
    return Bar("<=", value)


def provenance() -> Result:
    """The machine, how busy it is, the versions and the date."""
    found: Result = {"machine": machine(), "load": load(), "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found | {"date": date.today().isoformat()}


def with_bars(result: Result, bars: Bars, quick: bool) -> Result:
    """The result, and ``NAME.bar`` and ``NAME.met`` for each name with a bar.

    ``met`` is null where nothing was measured: by a quick run, or without the peer.
    """
    out = dict(result)
    for name, bar in bars.items():
        value = result.get(name)
        measured = isinstance(value, int | float) and not quick
        out[f"{name}.bar"] = str(bar)
        out[f"{name}.met"] = bar.met(float(value)) if measured else None  # type: ignore[arg-type]
    return out


def unmeasured(bars: Bars, why: str) -> Result:
    """A suite that cannot run here: nulls, and the reason."""
    return {**dict.fromkeys(bars), "why": f"not measured: {why}"}


def reason(result: Mapping[str, object], name: str) -> str:
    """Why a number is null: what the row says whose name is the longest part of this one, or the
    suite's row ``why``."""
    suite, dot, own = name.rpartition(".")
    rows = {k.removeprefix(suite + dot): v for k, v in result.items() if k.startswith(suite + dot)}
    said = {k: v for k, v in rows.items() if isinstance(v, str) and v.startswith("not measured")}
    part = max((k for k in said if k in own), key=len, default="why")
    return said.get(part, "not measured")


def verdict(result: Mapping[str, object], name: str) -> str:
    """Of a name with a bar: met, MISSED, or why it was not measured."""
    if result.get(name) is None:
        return reason(result, name)
    met = result.get(f"{name}.met")
    return {True: "met", False: "MISSED"}.get(met, "quick: not measured")  # type: ignore[call-overload]


def table(result: Mapping[str, object]) -> str:
    """A line for each number: its name, the bar, what was measured, and whether it is met."""
    names = [n for n in result if not n.endswith((".bar", ".met"))]
    width = max(map(len, names), default=0)
    lines = []
    for name in names:
        value = result[name]
        shown = f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
        bar = result.get(f"{name}.bar")
        judged = f"{bar!s:>9}  {verdict(result, name)}" if bar else ""
        lines.append(f"{name:{width}}  {shown:>10}  {judged}".rstrip())
    return "\n".join(lines)


def page(result: Mapping[str, object]) -> str:
    """The bars as a table in Markdown: what has to be reached, what was, and the verdict."""
    lines = ["| number | bar | measured | |", "|---|---|---|---|"]
    for name in (n.removesuffix(".bar") for n in result if n.endswith(".bar")):
        value = result.get(name)
        shown = f"{value:.3g}" if isinstance(value, float) else "-"
        lines.append(f"| `{name}` | {result[f'{name}.bar']} | {shown} | {verdict(result, name)} |")
    return "\n".join(lines)


def command(
    name: str,
    doc: str | None,
    measure: Callable[..., Result],
    bars: Bars,
    arguments: Sequence[str] | None = None,
    **options: Mapping[str, Any],
) -> int:
    """``python -m benchmarks.NAME [--json] [--quick]``: measure, and print one flat object.

    options: further arguments by name, each with what ``add_argument`` takes; ``measure`` is
    called with ``quick`` and these.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=doc,
                                     formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    parser.add_argument("--quick", action="store_true", help="seconds, small: measures nothing")
    for option, how in options.items():
        parser.add_argument(f"--{option.replace('_', '-')}", **how)
    given = vars(parser.parse_args(arguments))
    as_json, quick = given.pop("json"), given["quick"]
    found = provenance() | {"threads": 1, "quick": int(quick)}
    result = with_bars(measure(**given) | found, bars, quick)
    print(json.dumps(result, indent=1) if as_json else table(result))
    return 0
