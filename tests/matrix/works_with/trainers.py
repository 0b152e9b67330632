"""Whoever trains: each takes the same batches to the same optimiser in its own way."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import nn

from .families import Batch, loss_of

STEPS = 6


class Trainer(NamedTuple):
    """package: what it needs. train: (model, optimizer, batches, net), net being the session, or
    None where plain torch is trained. micro: batches in a step of the optimiser's."""

    package: str
    train: Callable[[nn.Module, Any, list[Batch], Any], None]
    micro: int = 1


def own_session(model: nn.Module, optimizer: Any, batches: list[Batch], net: Any) -> None:
    """A loop of one's own that calls ``net.step()``."""
    for batch in batches:
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step() if net is None else net.step()


def own_optimizer(model: nn.Module, optimizer: Any, batches: list[Batch], net: Any) -> None:
    """A loop of one's own: ``clip_grad_norm_``, ``optimizer.step()``, a schedule of rates."""
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    for batch in batches:
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        schedule.step()


def create_graph(model: nn.Module, optimizer: Any, batches: list[Batch], net: Any) -> None:
    """``backward(create_graph=True)``, for optimisers that derive gradients again."""
    for batch in batches:
        optimizer.zero_grad()
        loss_of(model, batch).backward(create_graph=True)
        optimizer.step()


def closure(model: nn.Module, optimizer: Any, batches: list[Batch], net: Any) -> None:
    """``optimizer.step(closure)``."""
    for batch in batches:

        def passes(batch: Batch = batch) -> Any:
            optimizer.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()
            return loss

        optimizer.step(passes)


def scaler(model: nn.Module, optimizer: Any, batches: list[Batch], net: Any) -> None:
    """A GradScaler over two accumulated batches, clipped; one step overflows and is left out."""
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1000)
    for step in range(len(batches) // 2):
        optimizer.zero_grad()
        for batch in batches[2 * step : 2 * step + 2]:
            scaler.scale(loss_of(model, batch) / 2).backward()
        if step == 2:
            dense = (p for n, p in model.named_parameters() if "weight" not in n or "norm" in n)
            next(p for p in dense if p.grad is not None).grad.view(-1)[0] = float("inf")
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()


def lightning(model: nn.Module, optimizer: Any, batches: list[Batch], net: Any) -> None:
    """Lightning's Trainer, with gradients clipped."""
    L = import_module("lightning")

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Batch, index: int) -> Any:
            return loss_of(self.model, batch)

        def configure_optimizers(self) -> Any:
            return optimizer

    with _quiet("lightning.pytorch", "lightning.fabric"):
        trainer = L.Trainer(
            max_steps=len(batches), accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=0.5,
        )  # fmt: skip
        trainer.fit(Module(), _loader(batches))


def hugging_face(model: nn.Module, optimizer: Any, batches: list[Batch], net: Any) -> None:
    """Hugging Face's Trainer, two batches accumulated in a step, clipped by default."""
    transformers = import_module("transformers")

    class HF(transformers.Trainer):
        def compute_loss(self, model: nn.Module, inputs: Batch, **_: Any) -> Any:
            return loss_of(model, inputs)

        def get_train_dataloader(self) -> Any:
            return _loader(batches)

    with tempfile.TemporaryDirectory() as folder, _quiet("transformers"):
        settings = transformers.TrainingArguments(
            folder, max_steps=len(batches) // 2, gradient_accumulation_steps=2, use_cpu=True,
            report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        HF(model, settings, optimizers=(optimizer, schedule)).train()


def accelerate(model: nn.Module, optimizer: Any, batches: list[Batch], net: Any) -> None:
    """accelerate: prepared, ``accumulate`` over two batches, clipped."""
    package = import_module("accelerate")
    import_module("accelerate.state").AcceleratorState._reset_state(True)
    accelerator = package.Accelerator(cpu=True, gradient_accumulation_steps=2)
    prepared, stepper, loader = accelerator.prepare(model, optimizer, _loader(batches))
    for batch in loader:
        with accelerator.accumulate(prepared):
            accelerator.backward(loss_of(prepared, batch))
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 0.5)
            stepper.step()
            stepper.zero_grad()


def _loader(batches: list[Batch]) -> Any:
    return torch.utils.data.DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


@contextlib.contextmanager
def _quiet(*loggers: str) -> Any:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    levels = [(logging.getLogger(n), logging.getLogger(n).level) for n in loggers]
    for logger, _ in levels:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    for logger, level in levels:
        logger.setLevel(level)


def stable_baselines(model: nn.Module, optimizer: Any, batches: list[Batch], net: Any) -> None:
    """stable-baselines3's ``learn``: six updates of the policy, gradients clipped."""
    algorithm: Any = model.algorithm
    model.optimizer = optimizer
    algorithm.set_random_seed(0)
    algorithm.learn(len(batches) * algorithm.n_steps)


FOR_POLICIES = {"stable-baselines3": Trainer("stable_baselines3", stable_baselines)}
FOR_OPTIMIZERS = {"create_graph": Trainer("torch", create_graph)}
TRAINERS = {
    "net.step()": Trainer("torch", own_session),
    "optimizer.step()": Trainer("torch", own_optimizer),
    "closure": Trainer("torch", closure),
    "GradScaler": Trainer("torch", scaler, 2),
    "Lightning": Trainer("lightning", lightning),
    "HF Trainer": Trainer("transformers", hugging_face, 2),
    "accelerate": Trainer("accelerate", accelerate, 2),
}
