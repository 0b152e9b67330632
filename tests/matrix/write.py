"""Measure the table of docs/works-with.md: ``python tests/matrix/write.py [--only NAME ...]``."""

from __future__ import annotations

import argparse
import importlib
import sys
from multiprocessing import get_context

import torch
from works_with import table
from works_with.cells import ALL, ALL_FAMILIES, ALL_TRAINERS, Cell, run_pair
from works_with.optimizers import OPTIMIZERS
from works_with.ranks import RANKED, TRAINER, run_ranks


def there(package: str) -> bool:
    try:
        importlib.import_module({"pytorch-optimizer": "pytorch_optimizer"}.get(package, package))
    except ImportError:
        return False
    return True


def packages_of(cell: Cell) -> set[str]:
    return {ALL_FAMILIES[cell.family].package, ALL_TRAINERS[cell.trainer].package,
            OPTIMIZERS[cell.optimizer].package}  # fmt: skip


def measured(pair: list[Cell]) -> table.Measured:
    torch.set_num_threads(1)
    outcomes = run_pair(pair)
    return {table.name_of(c): table.noted(outcomes[c.world]) for c in pair}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="families, trainers, rules or optimizers")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--missing", action="store_true", help="only what is not exact or refused")
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    arguments = parser.parse_args()
    cells = table.load()
    known = {table.name_of(c) for pair in [*ALL, RANKED] for c in pair}
    cells = {n: v for n, v in cells.items() if n in known}
    pairs = [p for p in ALL if not arguments.only or set(arguments.only) & set(p[0])]
    pairs = [] if arguments.page else [p for p in pairs if all(map(there, packages_of(p[0])))]
    if arguments.missing:
        done = {n for n, c in cells.items() if c["verdict"] != "fault"}
        pairs = [p for p in pairs if not done >= {table.name_of(c) for c in p}]
    faults = 0
    with get_context("spawn").Pool(arguments.jobs, maxtasksperchild=400) as pool:
        for i, result in enumerate(pool.imap(measured, pairs, 4), 1):
            cells |= result
            for name, cell in result.items():
                if cell["verdict"] == "fault":
                    faults += 1
                    print(f"FAULT {name}: {cell['why']}", flush=True)
            if not i % 100:
                print(f"{i} of {len(pairs)}", flush=True)
                table.save(cells)
    if not arguments.page and (not arguments.only or TRAINER in arguments.only):
        cells |= {table.name_of(c): table.noted(o) for c, o in run_ranks().items()}
    table.save(cells)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
