"""Hugging Face's Trainer makes the steps of an own loop, bit for bit."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from own_loop import RULES, WORLDS, attach, differences, digits, trained

import rewire

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip


def vit() -> Any:
    config = transformers.ViTConfig(
        image_size=8, patch_size=2, num_channels=1, num_labels=10, **SMALL
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.ViTForImageClassification(config)


def bert() -> Any:
    config = transformers.BertConfig(
        vocab_size=40, max_position_embeddings=16, num_labels=10, **SMALL
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.BertForSequenceClassification(config)


MODELS = {"vit": vit, "bert": bert}


def examples(kind: str, n: int = 64) -> list[dict[str, Any]]:
    """Digits as images, or the first pixels of their rows as words."""
    x, y = digits(n)
    if kind == "vit":
        inputs = [{"pixel_values": row.view(1, 8, 8)} for row in x]
    else:
        inputs = [{"input_ids": (16 * row[20:32]).long() + 1} for row in x]
    return [{**row, "labels": label} for row, label in zip(inputs, y, strict=True)]


def batches(kind: str) -> list[dict[str, Any]]:
    rows = examples(kind)
    return [
        {name: torch.stack([row[name] for row in rows[i : i + 8]]) for name in rows[0]}
        for i in range(0, len(rows), 8)
    ]


class InOrder(transformers.Trainer):
    """A trainer that takes the examples in their order."""

    def _get_train_sampler(self, *args: Any) -> Any:
        return torch.utils.data.SequentialSampler(self.train_dataset)


def trainer(kind: str, model: Any, optimizer: Any, folder: Path, **options: Any) -> Any:
    callbacks = options.pop("callbacks", ())
    defaults = {
        "num_train_epochs": 2, "per_device_train_batch_size": 8, "lr_scheduler_type": "constant",
        "report_to": [], "save_strategy": "no", "disable_tqdm": True, "use_cpu": True,
        "dataloader_pin_memory": False, "logging_strategy": "no", "learning_rate": 1e-2,
        "remove_unused_columns": False,
    }  # fmt: skip
    made = InOrder(
        model=model,
        args=transformers.TrainingArguments(output_dir=str(folder), **{**defaults, **options}),
        train_dataset=examples(kind),
        eval_dataset=examples(kind),
        optimizers=(optimizer, None),
        callbacks=list(callbacks),
    )
    made.remove_callback(transformers.PrinterCallback)
    return made


def run(
    kind: str, rule: str, world: str, folder: Path, steps: int = 16, **options: Any
) -> rewire.Session:
    model = MODELS[kind]()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    net = attach(model, optimizer, rule, world, steps)
    trainer(kind, model, optimizer, folder, **options).train()
    return net


def own(kind: str, rule: str, world: str, steps: int = 16, **options: Any) -> rewire.Session:
    model = MODELS[kind]()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    net = attach(model, optimizer, rule, world, steps)
    loop: dict[str, Any] = {"clip": 1.0, **options}
    return trained(
        model, optimizer, net, batches(kind), loss=lambda m, batch: m(**batch).loss, **loop
    )


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("rule", RULES)
def test_the_trainer_is_an_own_loop(rule: str, world: str, tmp_path: Path) -> None:
    """Gradients are accumulated over two batches, and clipped."""
    net = run("vit", rule, world, tmp_path, 8, gradient_accumulation_steps=2, max_grad_norm=0.05)
    same = own("vit", rule, world, 8, accumulate=2, clip=0.05)
    assert differences(net, same) == [] and net.clock.step == 8


@pytest.mark.parametrize("world", WORLDS)
def test_words_are_trained_as_in_an_own_loop(world: str, tmp_path: Path) -> None:
    net = run("bert", "DeepR", world, tmp_path)
    assert differences(net, own("bert", "DeepR", world)) == []


# -- the callback ---------------------------------------------------------------------------------


def rewiring(rule: str, world: str, **options: Any) -> Any:
    from rewire.integrations.hf import Rewiring

    return Rewiring(RULES[rule](), density=0.2, seed=0, world=world, **options)


def trained_by(callback: Any, folder: Path, resume: Path | None = None, **options: Any) -> Any:
    model = vit()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    run = trainer("vit", model, optimizer, folder, callbacks=[callback], **options)
    run.train(resume_from_checkpoint=None if resume is None else str(resume))
    return run


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("rule", RULES)
def test_a_resumed_run_ends_with_the_same_numbers(rule: str, world: str, tmp_path: Path) -> None:
    """The callback attaches where an own loop would, and the trainer's steps are the session's."""
    whole = rewiring(rule, world)
    options = {"save_strategy": "steps", "save_steps": 6}
    trained_by(whole, tmp_path / "a", **options)
    assert differences(whole.session, own("vit", rule, world)) == []
    assert whole.session.clock.span == 16
    again = rewiring(rule, world)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*exact zeros")
        trained_by(again, tmp_path / "b", tmp_path / "a" / "checkpoint-6", **options)
    assert differences(again.session, whole.session) == []
    assert torch.equal(*(c.session.state_dict()["history"] for c in (again, whole)))


@pytest.mark.parametrize("world", WORLDS)
def test_the_best_checkpoint_brings_its_edges_back(world: str, tmp_path: Path) -> None:
    callback = rewiring("RigL", world)
    run = trained_by(
        callback, tmp_path, save_strategy="steps", save_steps=8, eval_strategy="steps",
        eval_steps=8, load_best_model_at_end=True, metric_for_best_model="eval_loss",
        greater_is_better=True,
    )  # fmt: skip
    best = Path(run.state.best_model_checkpoint)
    assert best.name == "checkpoint-8"  # the greatest loss of two
    net, model = callback.session, run.model
    saved = rewire.checkpoint.load(best / "rewire.safetensors")[0]["session"]
    assert torch.equal(net.topology, saved["keys"]) and net.clock.step == 8
    net.check()
    alone = transformers.ViTForImageClassification.from_pretrained(best)
    images = batches("vit")[0]["pixel_values"]
    model.eval()
    assert torch.allclose(alone(images).logits, model(images).logits, atol=1e-5)
    for name, mask in net.masks().items():
        assert not alone.get_parameter(name)[~mask].any()


def test_logs_have_the_sessions_numbers_for_every_reporter(tmp_path: Path) -> None:
    reported: list[dict[str, float]] = []

    class Reporter(transformers.TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            reported.append(dict(logs))

    model = vit()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    callback = rewiring("DeepR", "masked")
    run = trainer(
        "vit", model, optimizer, tmp_path, callbacks=[Reporter(), callback],
        logging_strategy="steps", logging_steps=4,
    )  # fmt: skip
    run.train()
    edges = [row["rewire/edges"] for row in reported if "loss" in row]
    assert edges == [callback.session.edges] * 4
    history = [row for row in run.state.log_history if "rewire/formed" in row]
    assert [row["step"] for row in history] == [4, 8, 12, 16]
    assert sum(row["rewire/formed"] for row in history) == callback.session.history.formed > 0


def test_what_cannot_work_is_refused_by_name(tmp_path: Path) -> None:
    from rewire.integrations.hf import Rewiring

    options = {"save_strategy": "steps", "save_steps": 8, "max_steps": 8}
    run("vit", "DeepR", "masked", tmp_path, 8, **options)
    with pytest.raises(ValueError, match=r"which has no rewire.safetensors: it was saved without"):
        trained_by(rewiring("DeepR", "masked"), tmp_path / "b", tmp_path / "checkpoint-8")
    callback = rewiring("DeepR", "masked", steps=1000)
    done = trained_by(callback, tmp_path / "c", max_steps=2)
    with pytest.raises(RuntimeError, match="called a second time with this callback"):
        done.train()
    with pytest.raises(TypeError, match="a function makes the whole session: give it density"):
        Rewiring(lambda model, optimizer: None, density=0.1)


@pytest.mark.parametrize("world", WORLDS)
def test_weights_of_other_edges_are_refused(world: str, tmp_path: Path) -> None:
    done = trained_by(rewiring("DeepR", world), tmp_path, max_steps=2)
    with pytest.raises(ValueError, match=r"weights at synapses that are absent in the session"):
        done.model.load_state_dict(vit().state_dict())
