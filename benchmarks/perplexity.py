"""Perplexity against density of a GPT: ``python -m benchmarks.perplexity [--json] [--quick]``.

A GPT of four blocks, 128 wide, is trained on nine tenths of tiny shakespeare, character by
character, then pruned at once by each rule at each density, and not trained again. Numbers are
perplexities (e to the mean cross-entropy of a character) on the last tenth, in windows of the
context, and the CPU seconds of each pruning:

======================= ==========================================================================
name                    what it is
======================= ==========================================================================
``dense``               the trained model
``RULE.DENSITY``        the model pruned by a rule to a density of its 24 linear layers
``RULE.seconds``        CPU seconds of the pruning at density .5, calibration included
======================= ==========================================================================

All rules but ``magnitude-global``, ``magnitude-lamp`` and those with ``owl`` give every layer the
same density. Calibration: 128 windows of the training text. The text is read from
$REWIRE_DATA/tinyshakespeare/input.txt.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import rewire
from benchmarks.suite import Result, command
from rewire import models

CONTEXT, BATCH, STEPS, CALIBRATION = 64, 32, 2500, 128
DENSITIES = (0.7, 0.5, 0.3, 0.2)
RULES = {
    "magnitude-global": rewire.Magnitude(),
    "magnitude-layer": rewire.Magnitude(scope="layer"),
    "magnitude-row": rewire.Magnitude(scope="row"),
    "magnitude-lamp": rewire.Magnitude(scope="layer", layers=rewire.LAMP()),
    "wanda": rewire.Wanda(),
    "wanda-owl": rewire.Wanda(layers=rewire.OWL()),
    "sparse-gpt": rewire.SparseGPT(),
    "sparse-gpt-owl": rewire.SparseGPT(layers=rewire.OWL()),
}
TWO_OF_FOUR = {
    "magnitude-2-of-4": rewire.NM(),
    "wanda-2-of-4": rewire.Wanda(n=2, m=4),
    "sparse-gpt-2-of-4": rewire.SparseGPT(n=2, m=4),
}


def characters(path: Path) -> Tensor:
    """The text as numbers of its distinct characters, in their order."""
    text = path.read_text(encoding="utf-8")
    number = {c: i for i, c in enumerate(sorted(set(text)))}
    return torch.tensor([number[c] for c in text])


def windows(text: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """The windows that begin there, and the characters that follow each of their places."""
    places = starts[:, None] + torch.arange(CONTEXT)
    return text[places], text[places + 1]


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy of the next character, over all places."""
    return cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def rate(step: int, steps: int) -> float:
    """Of the learning rate: a tenth of the training warms up, then a cosine down to a tenth."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def trained(text: Tensor, steps: int, width: int) -> nn.Module:
    """A GPT after that many steps of AdamW on windows drawn anywhere in the text."""
    g = torch.Generator().manual_seed(0)
    model = models.build(
        "gpt", generator=g, input_shape=(CONTEXT,), classes=int(text.max()) + 1, width=width
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * rate(step, steps)
        starts = torch.randint(len(text) - CONTEXT - 1, (BATCH,), generator=g)
        optimizer.zero_grad()
        loss(model, windows(text, starts)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


@torch.no_grad()
def perplexity(model: nn.Module, text: Tensor) -> float:
    """e to the mean cross-entropy of a character in windows that follow each other."""
    starts = torch.arange(0, len(text) - CONTEXT - 1, CONTEXT)
    sums = [float(loss(model, windows(text, part))) * len(part) for part in starts.split(256)]
    return math.exp(sum(sums) / len(starts))


def pruned(
    model: nn.Module, rule: rewire.Rule, density: float | None, calibration: Sequence[object]
) -> tuple[nn.Module, float]:
    """A copy of the model, pruned, and the CPU seconds that it took."""
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    start = time.process_time()
    net = rewire.attach(
        model, optimizer, rule, density=density, distribution="uniform",
        probe=rewire.Probe(calibration, loss),
    )  # fmt: skip
    seconds = time.process_time() - start
    possible = net.graph.possible
    if density is not None and net.edges != round(density * possible):
        raise RuntimeError(f"{rule.name} left {net.edges} of {possible} edges, not {density}.")
    net.detach()
    return model, seconds


def figures(steps: int, width: int, text: Tensor) -> Iterator[tuple[str, float]]:
    """Each number by name."""
    end = len(text) * 9 // 10
    train, test = text[:end], text[end:]
    model = trained(train, steps, width)
    yield "dense", perplexity(model, test)
    g = torch.Generator().manual_seed(1)
    starts = torch.randint(len(train) - CONTEXT - 1, (CALIBRATION,), generator=g)
    calibration = [windows(train, part) for part in starts.split(32)]
    for name, rule in RULES.items():
        for density in DENSITIES:
            smaller, seconds = pruned(model, rule, density, calibration)
            yield f"{name}.{density:g}", perplexity(smaller, test)
            if density == 0.5:
                yield f"{name}.seconds", seconds
    for name, rule in TWO_OF_FOUR.items():
        yield name, perplexity(pruned(model, rule, None, calibration)[0], test)


def measure(quick: bool = False) -> Result:
    """Every number. quick: a few steps of a narrow model on a part of the text."""
    path = Path(os.environ.get("REWIRE_DATA", "data")) / "tinyshakespeare" / "input.txt"
    if not path.exists():
        return {"dense": None, "why": f"not measured: there is no {path.name} of tiny shakespeare"}
    torch.set_num_threads(1)
    text = characters(path)
    steps, width = (5, 16) if quick else (STEPS, 128)
    return dict(figures(steps, width, text[:20_000] if quick else text))


if __name__ == "__main__":
    raise SystemExit(command("perplexity", __doc__, measure, {}))
