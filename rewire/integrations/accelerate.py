"""Sessions of models and optimizers that ``accelerator.prepare`` returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from .. import saving, torch_loop
from ..rule import Rule
from ..session import Session
from ..trackers import imported
from .dense_states import dense_state

imported("accelerate", what="rewire.integrations.accelerate", extra="trainers")

FILE = "rewire.safetensors"  # in the folder of a saved state, as rewire.save writes it


def attach(
    accelerator: Any, model: Any, optimizer: Any, rule: Rule | Sequence[Rule], **options: Any
) -> Session:
    """:func:`rewire.attach` to what ``accelerator.prepare`` returned, saved and loaded with it.

    In the loop ``optimizer.step()`` is the session's step, whether or not gradients accumulate;
    options: as for :func:`rewire.attach`, whose ``steps`` are steps that are really made.
    """
    net = torch_loop.attach(accelerator.unwrap_model(model), optimizer, rule, **options)
    register(accelerator, net)
    return net


def register(accelerator: Any, net: Session, file: str = FILE) -> list[Any]:
    """Let ``accelerator.save_state`` and ``load_state`` save and load this session; the model is
    saved with dense weights, absent ones 0.

    file: its name in the folder of the state; another for each of several sessions. Returns handles
    whose ``remove()`` ends it.
    """

    own = net.world.model

    def save(models: Sequence[Any], weights: list[Any], folder: str) -> None:
        if accelerator.is_main_process:
            saving.save(net, Path(folder) / file)
        for i, model in enumerate(models[: len(weights)]):
            if accelerator.unwrap_model(model) is own:
                weights[i] = dense_state(net, weights[i])

    def load(models: list[Any], folder: str) -> None:
        path = Path(folder) / file
        if not path.is_file():
            raise ValueError(
                f"{folder} has no {file}: it was saved without this session, and its weights are "
                "of other edges."
            )
        net.load(path)  # before the optimizer's state, which is of its edges
        for i, model in enumerate(models):
            if accelerator.unwrap_model(model) is own:
                models[i] = _Loaded()

    return [
        accelerator.register_save_state_pre_hook(save),
        accelerator.register_load_state_pre_hook(load),
    ]


class _Loaded(nn.Module):
    """In the place of a model that is loaded already: safetensors reads no model whose lists of
    edges share memory."""

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return [], []


class Logged:
    """A tracker, for ``net.follow``, that hands on to ``accelerator.log``."""

    def __init__(self, accelerator: Any):
        self._accelerator = accelerator

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._accelerator.log(dict(numbers), step=step)

    def finish(self) -> None:
        """The accelerator ends its trackers itself: ``accelerator.end_training()``."""
