"""The table: outcomes of cells as a file of measurements, and as a page of the docs."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .cells import ALL, MORE_RULES, RULES, WORLDS, Cell, Outcome
from .families import FAMILIES, POLICIES
from .optimizers import OPTIMIZERS
from .ranks import RANKED
from .trainers import TRAINERS

FILE = Path(__file__).parent.parent / "measured.json"
PAGE = Path(__file__).parents[3] / "docs" / "works-with.md"
PACKAGES = ("torch", "transformers", "timm", "snntorch", "norse", "spikingjelly", "lightning",
            "accelerate", "stable-baselines3", "pytorch-optimizer")  # fmt: skip
Measured = dict[str, dict[str, Any]]


def name_of(cell: Cell) -> str:
    return " | ".join(cell)


def noted(outcome: Outcome) -> dict[str, Any]:
    """An outcome as it is written: verdict, the reason of a refusal, the largest difference."""
    note: dict[str, Any] = {"verdict": outcome.verdict}
    if outcome.why:
        note["why"] = outcome.why
    if outcome.verdict == "exact":
        note["apart"] = float(f"{outcome.apart:.0e}")
    return note


def load() -> Measured:
    return json.loads(FILE.read_text(encoding="utf-8"))["cells"] if FILE.exists() else {}


def save(cells: Measured) -> None:
    """Write the measurements, and the page that shows them."""
    lines = [f"{json.dumps(name)}: {json.dumps(cells[name])}" for name in sorted(cells)]
    head = f'{{"versions": {json.dumps(versions())},\n"cells": {{\n'
    FILE.write_text(head + ",\n".join(lines) + "\n}}\n", encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


def versions() -> dict[str, str]:
    out = {}
    for package in PACKAGES:
        try:
            out[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out


class Reasons:
    """Refusals by number: two that differ only in names are one."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def number(self, why: str) -> int:
        kind = re.sub(r"'[^']*'|\d+|\w+ (keeps|mixes|derives|cannot)", "_", why)
        self.texts.setdefault(kind, why)
        return list(self.texts).index(kind) + 1


def page() -> str:
    """The page of the docs, from the measurements that are written."""
    whole = json.loads(FILE.read_text(encoding="utf-8"))
    cells, reasons = whole["cells"], Reasons()
    verdicts = [c["verdict"] for c in cells.values()]
    counts = {v: verdicts.count(v) for v in ("exact", "refused", "fault")}
    apart = {
        world: max((c["apart"] for n, c in cells.items()
                    if c["verdict"] == "exact" and n.split(" | ")[2] == world), default=0.0)
        for world in WORLDS
    }  # fmt: skip
    tables = [
        _families(cells, reasons),
        _policies(cells, reasons),
        _ranks(cells, reasons),
        _optimizers(cells, reasons),
        _rules(cells, reasons),
    ]
    refusals = [f"{i}. {why}" for i, why in enumerate(reasons.texts.values(), 1)]
    used = ", ".join(f"{package} {version}" for package, version in whole["versions"].items())
    return "\n".join([
        INTRODUCTION.format(
            cells=f"{len(cells):,}", exact=f"{counts['exact']:,}",
            refused=f"{counts['refused']:,}", faults=counts["fault"], versions=used,
            masked=f"{apart['masked']:.0e}", sparse=f"{apart['sparse']:.0e}",
        ).rstrip(),
        *[t for t in tables if t],
        "\n## Refusals\n\n" + "\n".join(refusals), "",
    ])  # fmt: skip


INTRODUCTION = """# What works with what

Which models, trainers, optimizers and rules train exactly, and which are refused? Each cell of
these tables is a training that the tests make: a model of a family, a trainer, a world and a
rule, for six steps of the optimizer.

- **exact**: after every step all weights, moments, norms and buffers are those of plain torch
  with the mask applied by hand to gradients, weights and moments; absent synapses hold exactly 0,
  and masks are equal. The reference is plain torch, which trains the same model with the same
  optimizer under the same trainer and takes only the edits from `rewire`. Differences allowed:
  1e-6 (of the largest number of the tensor, at least 1) in the masked world, 1e-5 in the sparse
  one; the largest measured: {masked} and {sparse}. The edges at the end are the same in both
  worlds.
- **refused**: `rewire.attach`, or the first step before it changes anything, raises an error that
  says what to do. The number refers to the list of refusals below.

There is no third kind: {cells} cells, {exact} exact, {refused} refused, {faults} neither.

Measured with {versions}. Models are as small as possible, with dropout on. Many batch norms, and
spikes, amplify rounding errors, so timm's models and some spiking ones are in float64. For
torch's Transformer under `optimizer.step()`, where rounding decides the sign of a weight of 0 and
thereby what SET drops, both worlds are compared by `SET(drop="magnitude")`.
`python tests/matrix/write.py` repeats the measurement (an hour; `--only GPT-2` some rows); the
default tests repeat a part of it and compare.
"""


def _families(cells: Measured, reasons: Reasons) -> str:
    """Rows are families, columns trainers; worlds and rules are one cell where they agree."""
    rows = [n for n in FAMILIES if any(k.startswith(f"{n} | ") for k in cells)]
    out = ["\n## Models and trainers\n",
           f"Rules: {', '.join(RULES)} under `optimizer.step()`; RigL, which looks at\n"
           "gradients "
           "and takes the place of a step, under the other trainers. Optimizer: AdamW. A cell\n"
           "stands for both worlds where they agree.\n",
           "| model | from | " + " | ".join(f"`{t}`" if "(" in t else t for t in TRAINERS) + " |",
           "|---" * (len(TRAINERS) + 2) + "|"]  # fmt: skip
    for family in rows:
        entries = [_entry(cells, reasons, family, trainer) for trainer in TRAINERS]
        out.append(f"| {family} | {FAMILIES[family].package} | {' | '.join(entries)} |")
    return "\n".join(out)


def _entry(cells: Measured, reasons: Reasons, family: str, trainer: str) -> str:
    by_world = {}
    for world in WORLDS:
        found = {r: cells.get(name_of(Cell(family, trainer, world, r))) for r in RULES}
        by_world[world] = _agreed({r: c for r, c in found.items() if c is not None}, reasons)
    if len(set(by_world.values())) == 1:
        return next(iter(by_world.values()))
    return "; ".join(f"{world}: {text}" for world, text in by_world.items() if text)


def _policies(cells: Measured, reasons: Reasons) -> str:
    """Rows are algorithms of stable-baselines3, columns worlds; rules are one cell."""
    out = ["\n## Policies\n",
           f"stable-baselines3's `learn`, which clips; {', '.join(RULES)}.\n",
           "| algorithm | masked | sparse |", "|---|---|---|"]  # fmt: skip
    for algorithm in POLICIES:
        row = []
        for world in WORLDS:
            names = {r: name_of(Cell(algorithm, "stable-baselines3", world, r)) for r in RULES}
            row.append(_agreed({r: cells[n] for r, n in names.items() if n in cells}, reasons))
        if all(row):
            out.append(f"| {algorithm} | {' | '.join(row)} |")
    return "\n".join(out)


def _ranks(cells: Measured, reasons: Reasons) -> str:
    """Rows are rules, columns worlds."""
    out = ["\n## Two ranks\n",
           "The MLP under DistributedDataParallel over two gloo processes. Here exact means: both "
           "ranks\nhold the same bits, and edges and weights (to 1e-6) of one process at the same "
           "global batch.\n`tests/worlds/test_several_processes.py` does so for every rule, and "
           "`test_sharded.py` for\nmodels under `fully_shard` (FSDP2), in the masked world.\n",
           "| rule | masked | sparse |", "|---|---|---|"]  # fmt: skip
    for rule in RULES:
        row = [cells.get(name_of(c)) for c in RANKED if c.rule == rule]
        if all(row):
            out.append(f"| {rule} | {' | '.join(_verdict(c, reasons) for c in row if c)} |")
    return "\n".join(out)


def _optimizers(cells: Measured, reasons: Reasons) -> str:
    """Rows are optimisers, columns worlds."""
    out = ["\n## Optimizers\n",
           "A model of Conv1d, Conv3d and Linear layers, under SET.\n",
           "| optimizer | from | masked | sparse |", "|---|---|---|---|"]  # fmt: skip
    for pair in ALL:
        name = pair[0].optimizer
        found = [cells.get(name_of(cell)) for cell in pair]
        if pair[0].rule == "SET" and name != "AdamW" and all(found):
            verdicts = " | ".join(_verdict(cell, reasons) for cell in found if cell)
            out.append(f"| {name} | {OPTIMIZERS[name].package} | {verdicts} |")
    return "\n".join(out)


def _rules(cells: Measured, reasons: Reasons) -> str:
    """Rows are rules, columns trainers and worlds."""
    trainers = ("optimizer.step()", "GradScaler")
    columns = [f"`{t}`, {w}" if "(" in t else f"{t}, {w}" for t in trainers for w in WORLDS]
    out = ["\n## Rules\n",
           "The MLP, AdamW; rules that look at data get a probe. Rules with silent edges are\n"
           "compared with their definition in `tests/worlds/test_gates.py` instead.\n",
           f"| rule | {' | '.join(columns)} |", "|---" * 5 + "|"]  # fmt: skip
    for rule in RULES | MORE_RULES:
        row = [
            cells.get(name_of(Cell("MLP", trainer, world, rule)))
            for trainer in trainers for world in WORLDS
        ]  # fmt: skip
        if all(row):
            out.append(f"| {rule} | {' | '.join(_verdict(c, reasons) for c in row if c)} |")
    return "\n".join(out)


def _agreed(found: Mapping[str, Mapping[str, Any]], reasons: Reasons) -> str:
    texts: dict[str, list[str]] = {}
    for rule, cell in found.items():
        texts.setdefault(_verdict(cell, reasons), []).append(rule)
    if not texts:
        return ""
    if len(texts) == 1:
        return next(iter(texts))
    return ", ".join(f"{text} ({', '.join(names)})" for text, names in texts.items())


def _verdict(cell: Mapping[str, Any], reasons: Reasons) -> str:
    if cell["verdict"] == "refused":
        return f"refused {reasons.number(cell['why'])}"
    return "**fault**" if cell["verdict"] == "fault" else str(cell["verdict"])
