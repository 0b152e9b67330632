"""Pictures of the pages on rules and measures, drawn when the site is built.

A rule: how many edges a small network has over 300 steps under it, and how many it forms and drops.
A measure: its numbers on topologies that are known. What cannot be drawn so (a rule of spikes, a
measure of positions) has no picture.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch.nn.functional import cross_entropy

import rewire
from rewire.graph import Graph

STEPS, DENSITY = 300, 0.1
SIZES = (64, 40, 10)
TOPOLOGIES = ("random", "small-world", "scale-free", "regular")
RULE = (
    f"{STEPS} steps on small digits, a network of {SIZES[0]}, {SIZES[1]} and {SIZES[2]} units, the "
    f"rule's own defaults, density {DENSITY:g} where it takes one; IMP and its kind: one round."
)
MEASURE = (
    "On four topologies with the same numbers of edges: two layers between 36, 36 and 16 units at "
    "density .15. A bar for each number of the measure, at most six."
)


def loss(model: Any, batch: Any) -> Any:
    return cross_entropy(model(batch[0]), batch[1])


def batches() -> list[tuple[Any, Any]]:
    from sklearn.datasets import load_digits

    digits, generator = load_digits(), torch.Generator().manual_seed(0)
    x = torch.tensor(digits.data / 16, dtype=torch.float32)
    y = torch.tensor(digits.target)
    chosen = [torch.randint(len(x), (64,), generator=generator) for _ in range(STEPS)]
    return [(x[rows], y[rows]) for rows in chosen]


def course_of(cls: type, data: list[Any]) -> tuple[list[int], list[int], list[int]] | None:
    """Live edges at each step, formed and dropped until then; None where the rule needs more."""
    torch.manual_seed(0)
    first, last = torch.nn.Linear(*SIZES[:2]), torch.nn.Linear(*SIZES[1:])
    model = torch.nn.Sequential(first, torch.nn.ReLU(), last)
    edges, formed, dropped = list[int](), list[int](), list[int]()

    def note(net: Any, _: float) -> None:
        graph = net.graph
        edges.append(len(graph.effective() if "gain" in graph.columns else graph))
        formed.append(net.history.formed)
        dropped.append(net.history.dropped)

    options = {"density": DENSITY} if cls not in (rewire.Dense, rewire.STR, rewire.GradR) else {}
    try:
        rewire.train(
            model, torch.optim.Adam(model.parameters(), lr=0.005), cls(), loss=loss,
            data=lambda step: data[step % STEPS], steps=STEPS, on_step=note, seed=0,
            probe=rewire.Probe(data[:4], loss), **options,
        )  # fmt: skip
    except (ValueError, TypeError, RuntimeError, AttributeError):
        return None
    return edges[:STEPS], formed[:STEPS], dropped[:STEPS]


def rule_picture(cls: type, data: list[Any]) -> Figure | None:
    course = course_of(cls, data)
    if course is None:
        return None
    edges, formed, dropped = course
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained")
    left.plot(edges)
    left.set(xlabel="step", ylabel="edges that act", ylim=(0, 1.05 * max(edges)))
    right.plot(formed, label="formed")
    right.plot(dropped, "--", label="dropped")
    right.set(xlabel="step", ylabel="edges, since the start")
    right.legend()
    return figure


def known_graphs() -> dict[str, Graph]:
    graphs = {}
    for name in TOPOLOGIES:
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(36, 36), torch.nn.ReLU(), torch.nn.Linear(36, 16)
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        net = rewire.attach(model, optimizer, rewire.Static(), density=0.15, initial=name, seed=0)
        graphs[name] = net.graph
    return graphs


def measure_picture(cls: Callable[[], Any], graphs: dict[str, Graph]) -> Figure | None:
    try:
        numbers = {name: cls().of(graph) for name, graph in graphs.items()}
    except (ValueError, TypeError):
        return None
    parts = [part for part in next(iter(numbers.values()))][:6]
    if not parts:
        return None
    figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
    width = 0.8 / len(parts)
    for i, part in enumerate(parts):
        places = [j + width * (i - (len(parts) - 1) / 2) for j in range(len(graphs))]
        values = [values.get(part, 0.0) for values in numbers.values()]
        axes.bar(places, values, width, label=part or "whole network")
    axes.set_xticks(range(len(graphs)), list(graphs))
    axes.set(ylabel=cls.__name__)  # type: ignore[attr-defined]
    axes.legend(fontsize="small")
    return figure


def drawn(folder: Path, kind: str, names: dict[str, type]) -> Iterator[str]:
    """Draws what can be drawn, as SVG; the names of what was."""
    folder.mkdir(parents=True, exist_ok=True)
    given: Any = batches() if kind == "rules" else known_graphs()
    draw: Any = rule_picture if kind == "rules" else measure_picture
    with warnings.catch_warnings(), plt.rc_context({"svg.hashsalt": "rewire"}):
        warnings.simplefilter("ignore")
        for name, cls in names.items():
            figure = draw(cls, given)
            if figure is not None:
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
                plt.close(figure)
                yield name
