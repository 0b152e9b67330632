"""Hugging Face's Trainer makes the steps of an own loop, bit for bit."""

from __future__ import annotations

import os
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
