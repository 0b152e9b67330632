"""A made-up run: `make_run` writes a folder as a run of trainings leaves it."""

import math

import numpy as np
import torch

from rewire.experiments import store
from rewire.graph import Graph, Population, Projection, Space, square_sheet

RULES = ["Dense", "Static", "RandomReinit", "IMP", "DeepR", "SoftDeepR",
         "StructuralPlasticity", "SET", "RigL"]  # fmt: skip
LOSS = dict(zip(RULES, [0, 0.062, 0.035, 0.006, 0.021, 0.026, 0.034, 0.015, 0.011], strict=True))


def lenet(sizes: tuple[int, ...]) -> Space:
    names = ["input", *(f"fc{i}" for i in range(1, len(sizes) - 1)), "output"]
    return Space(
        [
            Population(n, s, None if n == "output" else square_sheet(s))
            for n, s in zip(names, sizes, strict=True)
        ],
        [
            Projection(f"{names[i + 1]}.weight", names[i], names[i + 1], "linear", (b, a))
            for i, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False))
        ],
    )


def mask(space: Space, density: float, rng: np.random.Generator, *, learned: bool) -> torch.Tensor:
    """Keys at a density: more in small layers and, where learned, near the picture's centre."""
    counts = [min(round(density * p.size * 1.5), p.size) for p in space.projections]
    counts[0] = round(density * space.possible) - sum(counts[1:])
    keys = []
    for i, (p, k) in enumerate(zip(space.projections, counts, strict=True)):
        scores = rng.random(p.size)
        if learned and i == 0:
            side = math.isqrt(p.shape[1])
            y, x = np.mgrid[:side, :side] / (side - 1) - 0.5
            scores **= np.tile(np.exp(-14 * (x**2 + y**2)).ravel() + 0.02, p.shape[0]) ** -0.5
        keys.append(np.sort(np.argpartition(-scores, k - 1)[:k]) + space.bounds[i])
    return torch.from_numpy(np.concatenate(keys))


def config_of(label: str, seed: int, density: float) -> dict:
    return {"rule": {"rule": label.split(":")[0]}, "seed": seed, "density": density, "label": label}


def make_run(
    out,
    *,
    labels=RULES,
    densities=(0.2, 0.05, 0.02),
    seeds=3,
    sizes=(64, 30, 20, 10),
    steps=600,
    finished=lambda label, density, seed: True,
    contrasts=(("IMP", "RandomReinit"), ("DeepR", "Static")),
    weights=None,
):
    """A folder with experiment.json, cells, events and levels; labels are "rule" or "rule:x"."""
    run, space, cells = store.Run(out), lenet(sizes), []
    full = Graph.full(space)

    def cell(label, seed, visits):
        rule = label.split(":")[0]
        config = config_of(label, seed, visits[0])
        made = run.cell(store.cell_hash(config))
        cells.append({"hash": made.hash, "label": label})
        if not finished(label, visits[0], seed):
            return
        made.create({"config": config, "versions": {"rewire": "0.1.0"}})
        rng = np.random.default_rng([len(label), seed, round(1000 * visits[0])])
        luck = np.random.default_rng(seed).normal(0, 0.003)
        ladder = [1.0] if rule == "Dense" else visits
        if rule == "IMP":  # rungs between the densities asked for
            ladder = [0.6, 0.4, *[d for v in visits for d in ((v * 1.8, v) if v < 0.1 else (v,))]]
        total = formed = dropped = 0
        edges, cost = len(full), {"train_flops_dense": 0.0, "train_flops_sparse": 0.0}
        for level, density in enumerate(ladder):
            level += rule == "IMP"  # level 0 of a ladder is the Dense cell
            same = np.random.default_rng([seed, round(1000 * density)])
            keys = (
                full.keys
                if rule == "Dense"
                else mask(space, density, same if rule in ("IMP", "RandomReinit") else rng,
                          learned=rule in ("IMP", "RandomReinit", "SET", "RigL", "DeepR"))
            )  # fmt: skip
            dropped += max(edges - len(keys), 0) if rule == "IMP" else 0
            edges = len(keys)
            loss = LOSS[rule] * (0.03 / density) ** 0.55 if density < 1 else 0
            end = 0.957 - loss + luck + rng.normal(0, 0.002)
            for step in range(0, steps + 1, steps // 12):
                turnover = {"DeepR": 9, "SoftDeepR": 40, "SET": 3, "RigL": 4,
                            "StructuralPlasticity": 1.5}.get(rule, 0)  # fmt: skip
                if step:
                    made_now = round(turnover * steps / 12 * math.exp(-step / steps))
                    formed, dropped, total = (
                        formed + made_now, dropped + made_now, total + steps // 12,
                    )  # fmt: skip
                rise = 1 - math.exp(-step / (0.1 * steps)) * 0.9
                made.append({
                    "event": "eval", "level": level, "round": level, "step": step,
                    "total": total, "train_loss": 2.3 * (1 - rise) + 0.05,
                    "val_loss": 2.3 * (1 - rise) + 0.15 + 2 * loss + 0.05 * (step / steps) ** 2
                    + abs(rng.normal(0, 0.004)),
                    "val_accuracy": min(end * rise + rng.normal(0, 0.002), 1.0), "edges": edges,
                    "formed": formed, "dropped": dropped, "seconds": 0.01 * total,
                })  # fmt: skip
            cost["train_flops_dense"] += 6.0 * 60 * steps * space.possible
            cost["train_flops_sparse"] += 6.0 * 60 * steps * edges
            made.append({
                "event": "level", "rule": rule, "label": label, "seed": seed, "level": level,
                "requested_density": density if density in densities else None,
                "density": edges / space.possible, "edges": edges, "possible": space.possible,
                "step": steps, "early_stop_step": steps // 2, "test_accuracy": end,
                "test_accuracy_at_early_stop": end - 0.001, "val_loss": 0.2 + 2 * loss,
                "val_accuracy": end, **cost, "updates": total, "formed": formed,
                "dropped": dropped, "seconds": 0.01 * total, "cpu_seconds": 0.01 * total,
                "peak_memory_mb": 300.0, "cell": made.hash,
                **({} if weights is None else {"weights": weights}),
            })  # fmt: skip
            if rule != "Dense":
                weight = torch.ones(len(keys))
                made.write_level(level, {"keys": keys, "weight": weight}, full.description)
        made.append({"event": "end", "levels": len(ladder), "stopped": None})
        made.close()

    for label in labels:
        for seed in range(seeds):
            if label.split(":")[0] in ("Dense", "IMP", "RandomReinit"):
                cell(label, seed, list(densities))
            else:
                for density in densities:
                    cell(label, seed, [density])
    run.write_experiment(
        'name = "synthetic"\n',
        {
            "name": "synthetic",
            "title": "Nine rules at densities from 2 to 20 %",
            "about": "A made-up run: none of these numbers was measured.",
            "command": "rewire run quickstart --out runs/synthetic",
            "versions": {"rewire": "0.1.0", "python": "3.11.2", "torch": "2.13.0+cpu"},
            "created": "2026-11-23T09:00:00+00:00",
            "config": {
                "model": {"name": "lenet-300-100"}, "data": {"name": "mnist5k"}, "steps": steps,
                "batch": 60, "densities": list(densities), "seeds": list(range(seeds)),
                "rules": [{"rule": x.split(":")[0], "label": x} for x in labels],
            },
            "contrasts": [list(c) for c in contrasts],
            "cells": cells,
        },
    )  # fmt: skip
    return out
