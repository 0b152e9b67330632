"""Lightning's Trainer makes the steps of an own loop, bit for bit."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from own_loop import RULES, WORLDS, attach, classify, differences, loader, network, trained

import rewire

lightning = pytest.importorskip("lightning")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*num_workers"),
    pytest.mark.filterwarnings("ignore:.*GPU available"),
]


class Digits(lightning.LightningModule):
    """Trains a classifier by hand or by Lightning. twofold: with a second optimiser of a head."""

    session: rewire.Session

    def __init__(
        self, rule: str, world: str, steps: int, by_hand: bool = False, twofold: bool = False
    ):
        super().__init__()
        self.net = network()
        self.settings = rule, world, steps
        self.automatic_optimization = not (by_hand or twofold)
        if twofold:
            torch.manual_seed(5)
            self.head = torch.nn.Linear(10, 10)
        self.twofold = twofold

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-2)
        self.session = attach(self.net, optimizer, *self.settings)
        if self.twofold:
            return optimizer, torch.optim.SGD(self.head.parameters(), lr=0.1)
        return optimizer

    def forward(self, x: Any) -> Any:
        out = self.net(x)
        return out + self.head(out) if self.twofold else out

    def training_step(self, batch: Any, number: int) -> Any:
        loss = classify(self, batch)
        if not self.automatic_optimization:
            optimizers = self.optimizers()
            optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
            for optimizer in optimizers:
                optimizer.zero_grad()
            self.manual_backward(loss)
            for optimizer in optimizers:
                optimizer.step()
        return loss


def trainer(**options: Any) -> Any:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lightning.Trainer(
            **{"max_epochs": 2, "accelerator": "cpu", "devices": 1, **quiet, **options},
            enable_model_summary=False,
        )


def own(rule: str, world: str, steps: int = 16, **options: Any) -> rewire.Session:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return trained(model, optimizer, attach(model, optimizer, rule, world, steps), loader(),
                   **options)  # fmt: skip


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("rule", RULES)
def test_the_trainer_is_an_own_loop(rule: str, world: str) -> None:
    """Gradients are accumulated over two batches, and clipped."""
    module = Digits(rule, world, 8)
    trainer(accumulate_grad_batches=2, gradient_clip_val=0.1).fit(module, loader())
    same = own(rule, world, 8, accumulate=2, clip=0.1)
    assert differences(module.session, same) == [] and module.session.clock.step == 8


@pytest.mark.parametrize("world", WORLDS)
def test_mixed_precision_is_that_of_an_own_loop(world: str) -> None:
    module = Digits("RigL", world, 16)
    trainer(precision="bf16-mixed").fit(module, loader())
    assert differences(module.session, own("RigL", world, bf16=True)) == []


@pytest.mark.parametrize("world", WORLDS)
def test_optimisation_by_hand_is_an_own_loop(world: str) -> None:
    module = Digits("GMP", world, 16, by_hand=True)
    trainer().fit(module, loader())
    assert differences(module.session, own("GMP", world)) == []


@pytest.mark.parametrize("world", WORLDS)
def test_two_optimisers_each_make_their_own_steps(world: str) -> None:
    module = Digits("DeepR", world, 16, twofold=True)
    trainer().fit(module, loader())
    twin = Digits("DeepR", world, 16, twofold=True)
    first, second = twin.configure_optimizers()
    for batch in [*loader(), *loader()]:
        classify(twin, batch).backward()
        first.step()
        second.step()
        twin.zero_grad()
    assert differences(module.session, twin.session) == []
    assert torch.equal(module.head.weight, twin.head.weight)


@pytest.mark.parametrize("world", WORLDS)
def test_stochastic_weight_averaging_is_refused_by_name(world: str, tmp_path: Path) -> None:
    """Its average is of weights by position."""
    callback = lightning.pytorch.callbacks.StochasticWeightAveraging(swa_lrs=1e-2)
    with pytest.raises(ValueError, match=r"averages weights by position, .* net\.averaged"):
        trainer(callbacks=[callback]).fit(Digits("DeepR", world, 16), loader())
