"""Lightning's Trainer makes the steps of an own loop, bit for bit."""

from __future__ import annotations

import csv
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


# -- the callback ---------------------------------------------------------------------------------


class Plain(lightning.LightningModule):
    """A module that knows nothing of sessions."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.net.parameters(), lr=1e-2)

    def training_step(self, batch: Any, number: int) -> Any:
        return classify(self.net, batch)

    def validation_step(self, batch: Any, number: int) -> None:
        self.log("val", classify(self.net, batch))

    test_step = validation_step


def rewiring(rule: str, world: str, **options: Any) -> Any:
    from rewire.integrations.lightning import Rewiring

    settings = {"density": 0.2, "seed": 0, "world": world, "module": "net", **options}
    return Rewiring(RULES[rule](), **settings)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("rule", RULES)
def test_the_callback_attaches_where_an_own_loop_would(rule: str, world: str) -> None:
    """The trainer's number of steps is the session's: GMP ends at its density."""
    callback = rewiring(rule, world)
    trainer(callbacks=[callback]).fit(Plain(), loader())
    assert differences(callback.session, own(rule, world)) == []
    assert callback.session.clock.span == 16 and callback.session.done


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("rule", RULES)
def test_a_resumed_run_ends_with_the_same_numbers(rule: str, world: str, tmp_path: Path) -> None:
    whole = rewiring(rule, world, steps=32)
    trainer(callbacks=[whole], max_epochs=4).fit(Plain(), loader())
    first = rewiring(rule, world, steps=32)
    half = trainer(callbacks=[first], max_epochs=2)
    half.fit(Plain(), loader())
    half.save_checkpoint(tmp_path / "half.ckpt")
    second = rewiring(rule, world, steps=32)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*exact zeros")  # it starts from no pruned model
        trainer(callbacks=[second], max_epochs=4).fit(
            Plain(), loader(), ckpt_path=tmp_path / "half.ckpt", weights_only=True
        )
    assert differences(second.session, whole.session) == []
    assert second.session.clock.step == 32
    logs = (callback.session.state_dict()["history"] for callback in (second, whole))
    assert torch.equal(*logs)


@pytest.mark.parametrize("world", WORLDS)
def test_a_checkpoint_is_a_dense_model_to_whoever_has_no_session(
    world: str, tmp_path: Path
) -> None:
    callback = rewiring("RigL", world)
    run = trainer(callbacks=[callback])
    module = Plain()
    run.fit(module, loader())
    run.save_checkpoint(tmp_path / "x.ckpt")
    alone = Plain.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    x = next(iter(loader()))[0]
    assert torch.allclose(alone.net(x), module.net(x), atol=1e-6)
    for name, mask in callback.session.masks().items():
        assert not alone.net.get_parameter(name)[~mask].any()


@pytest.mark.parametrize("world", WORLDS)
def test_the_best_checkpoint_brings_its_edges_back(world: str, tmp_path: Path) -> None:
    """Loaded for a test after training went on with other edges."""
    best = lightning.pytorch.callbacks.ModelCheckpoint(
        dirpath=tmp_path, monitor="val", mode="max", save_top_k=1
    )  # the worst, which is the first
    callback = rewiring("RigL", world)
    module = Plain()
    run = trainer(callbacks=[callback, best], enable_checkpointing=True, limit_val_batches=2)
    run.fit(module, loader(), loader())
    net, last = callback.session, callback.session.topology.clone()
    run.test(module, loader(), ckpt_path="best", weights_only=True)
    net.check()
    saved = torch.load(best.best_model_path, weights_only=True)
    assert torch.equal(net.topology, saved["callbacks"]["rewire.net"]["session"]["keys"])
    assert not torch.equal(net.topology, last) and net.clock.step == 8
    state = saved["state_dict"]
    for name, mask in net.masks().items():
        assert not state[f"net.{name}"][~mask].any()
    graph = net.graph
    weights = [state[f"net.{p.name}"].reshape(-1)[graph.local(i)]
               for i, p in enumerate(graph.projections)]  # fmt: skip
    assert torch.equal(torch.cat(weights), graph["weight"])


def test_loggers_get_the_sessions_numbers(tmp_path: Path) -> None:
    logger = lightning.pytorch.loggers.CSVLogger(tmp_path)
    callback = rewiring("DeepR", "masked", layers=True)
    trainer(callbacks=[callback], logger=logger, log_every_n_steps=4).fit(Plain(), loader())
    logger.save()
    with open(Path(logger.log_dir) / "metrics.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["rewire/edges"]]
    assert [int(row["step"]) for row in rows] == [4, 8, 12, 16]
    assert {int(float(row["rewire/edges"])) for row in rows} == {callback.session.edges}
    formed = sum(int(float(row["rewire/formed"])) for row in rows)
    assert formed == callback.session.history.formed > 0
    assert float(rows[0]["rewire/density/0.weight"]) > 0


def test_a_function_makes_the_session() -> None:
    from rewire.integrations.lightning import Rewiring

    callback = Rewiring(lambda module, optimizer: attach(module.net, optimizer, "RigL", "masked"))
    trainer(callbacks=[callback]).fit(Plain(), loader())
    assert differences(callback.session, own("RigL", "masked")) == []
    with pytest.raises(TypeError, match="a function makes the whole session: give it density"):
        Rewiring(lambda module, optimizer: None, density=0.1)
    with pytest.raises(TypeError, match="is to return a session, and returned None"):
        broken = Rewiring(lambda module, optimizer: None)
        trainer(callbacks=[broken]).fit(Plain(), loader())


def test_what_cannot_work_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"optimizer=1 is asked for, .* made 1"):
        trainer(callbacks=[rewiring("DeepR", "masked", optimizer=1)]).fit(Plain(), loader())
    averaging = lightning.pytorch.callbacks.StochasticWeightAveraging(swa_lrs=1e-2)
    with pytest.raises(ValueError, match=r"averages weights by position, .* net\.averaged"):
        trainer(callbacks=[averaging, rewiring("DeepR", "masked")]).fit(Plain(), loader())
    callback = rewiring("DeepR", "masked")
    run = trainer(callbacks=[callback])
    run.fit(module := Plain(), loader())
    with pytest.raises(RuntimeError, match="called a second time with this callback"):
        run.fit(module, loader())


@pytest.mark.parametrize("world", WORLDS)
def test_weights_of_other_edges_are_refused(world: str) -> None:
    module, callback = Plain(), rewiring("DeepR", world)
    trainer(callbacks=[callback]).fit(module, loader())
    with pytest.raises(ValueError, match=r"'net.0.weight' of the state .* weights at synapses tha"):
        module.load_state_dict(Plain().state_dict())
