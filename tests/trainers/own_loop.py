"""Sessions on a small network and digits, and a loop of one's own to compare trainers with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import rewire

RULES: dict[str, Callable[[], rewire.Rule]] = {
    "RigL": lambda: rewire.RigL(when=rewire.every(3)),
    "DeepR": rewire.DeepR,
    "GMP": lambda: rewire.GMP(when=rewire.every(2)),
}
WORLDS = ("masked", "sparse")


def digits(n: int = 256) -> tuple[Tensor, Tensor]:
    """Real digits, (n, 64), and their classes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x = torch.tensor(data.data[:n] / 16, dtype=torch.float32)
    return x, torch.tensor(data.target[:n])


def loader(batch: int = 32) -> Any:
    """The digits in their order."""
    data = torch.utils.data.TensorDataset(*digits())
    return torch.utils.data.DataLoader(data, batch_size=batch)


def network() -> nn.Sequential:
    """The same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))


def attach(
    model: nn.Module, optimizer: Any, rule: str, world: str, steps: int = 16
) -> rewire.Session:
    return rewire.attach(
        model, optimizer, rule=RULES[rule](), density=0.2, seed=0, steps=steps, world=world
    )


def classify(model: nn.Module, batch: Any) -> Tensor:
    x, y = batch
    return cross_entropy(model(x), y)


def trained(
    model: nn.Module,
    optimizer: Any,
    net: rewire.Session,
    batches: Iterable[Any],
    *,
    loss: Callable[[nn.Module, Any], Tensor] = classify,
    epochs: int = 2,
    accumulate: int = 1,
    clip: float | None = None,
    bf16: bool = False,
    mean: bool = True,
) -> rewire.Session:
    """The session after an own loop. mean: whether accumulated gradients are averaged."""
    model.train()
    for i, batch in enumerate(batch for _ in range(epochs) for batch in batches):
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            value = loss(model, batch)
        (value / accumulate if mean else value).backward()
        if (i + 1) % accumulate == 0:
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            net.step()
            optimizer.zero_grad()
    return net


def differences(one: rewire.Session, other: rewire.Session) -> list[str]:
    """What differs between two sessions and their models; nothing of it where they are equal."""
    pairs = {
        "clock": (one.clock, other.clock),
        "keys": (one.graph.keys, other.graph.keys),
        "weights": (one.graph["weight"], other.graph["weight"]),
        "history": (one.history.formed, other.history.formed),
        "dropped": (one.history.dropped, other.history.dropped),
        **{
            name: (value, other.world.model.state_dict().get(name))
            for name, value in one.world.model.state_dict().items()
        },
    }
    for net in (one, other):
        net.check()
    return [name for name, (a, b) in pairs.items() if not _equal(a, b)]


def _equal(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else bool(a == b)
