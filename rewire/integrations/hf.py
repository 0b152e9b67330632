"""A callback for Hugging Face's Trainer: ``rewire.attach`` when the optimizer exists, one file of
the session beside each checkpoint, its numbers among the trainer's logs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from .. import saving
from ..rule import Rule
from ..session import Session
from ..torch_loop import attach
from ..trackers import Following, imported
from ..worlds.sparse.saving import WEIGHT as EDGE_WEIGHTS
from ..worlds.torch_model.optimizers import innermost
from .dense_states import DenseStates, State, dense_state, resuming

_transformers = imported("transformers", what="rewire.integrations.hf", extra="trainers")
TrainerCallback: Any = _transformers.TrainerCallback

FILE = "rewire.safetensors"  # in a checkpoint's folder, as rewire.save writes it
DEPTH = 30  # frames from a callback up to the trainer's loop


class Rewiring(TrainerCallback):
    """Rules on the model of a Hugging Face Trainer.

    rule: a rule, or several; or a function of the model and its optimizer that returns the session
        (then ``options`` stay away).
    layers: whether logs get the density of each projection too.
    options: as for :func:`rewire.attach`; ``steps`` is the trainer's number of steps unless given.

    After ``train`` has begun ``callback.session`` is the session. Checkpoints hold the model with
    dense weights, absent ones 0, which ``from_pretrained`` reads, and the session in a file of its
    own: a run that is resumed (``train(resume_from_checkpoint=...)``) ends with the same numbers,
    and ``load_best_model_at_end`` goes back to the edges of the best one.

    Logs have ``rewire/edges``, ``rewire/density``, and what was formed and dropped since.
    """

    def __init__(
        self,
        rule: Rule | Sequence[Rule] | Callable[[Any, Any], Session],
        *,
        layers: bool = False,
        **options: Any,
    ):
        self.session: Session | None = None
        self._rule, self._options = rule, options
        self._following = Following(_Nowhere(), layers=layers)
        if _makes_session(rule) and options:
            raise TypeError(
                f"a function makes the whole session: give it {', '.join(options)} itself."
            )

    # -- attach ---------------------------------------------------------------------------------

    def on_init_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Stand before the trainer's reporters, so that they see what is added to the logs."""
        handler = sys._getframe(1).f_locals.get("self")
        callbacks = getattr(handler, "callbacks", None)
        if isinstance(callbacks, list) and self in callbacks:
            handler.callbacks = [self, *(c for c in callbacks if c is not self)]  # type: ignore

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None,
        **rest: Any,
    ) -> None:  # fmt: skip
        """The optimizer exists; where a run is resumed, it is restored already."""
        if self.session is not None:
            raise RuntimeError(
                "train() was called a second time with this callback: its session belongs to the "
                "optimizer of the first. Make a new trainer, model and callback, and resume with "
                "train(resume_from_checkpoint=...)."
            )
        file = _resumed_from(args, state) if state.global_step else None
        if file is not None:
            innermost(optimizer).state.clear()  # moments of other edges, which the file has too
        with resuming(file is not None):
            net = self._attached(model, optimizer, state)
        if file is not None:
            net.load(file)
        self.session = net
        self._following.begin(net)
        DenseStates(net, model, "", lambda loaded: self._adopt(loaded, state))

    def _attached(self, model: Any, optimizer: Any, state: Any) -> Session:
        if _makes_session(self._rule):
            net = self._rule(model, optimizer)  # type: ignore[operator]
            if not isinstance(net, Session):
                raise TypeError(f"the function is to return a session, and returned {net!r}.")
            return net
        options = dict(self._options)
        if state.max_steps > 0:
            options.setdefault("steps", state.max_steps)
        return attach(model, optimizer, self._rule, **options)  # type: ignore[arg-type]

    # -- logs and checkpoints -------------------------------------------------------------------

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **rest: Any
    ) -> None:
        """Add the session's numbers to what is logged while it trains."""
        if self.session is None or logs is None or "loss" not in logs:
            return
        numbers = self._following.numbers(self.session)
        logs.update(numbers)
        if state.log_history and state.log_history[-1].get("step") == state.global_step:
            state.log_history[-1].update(numbers)

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **rest: Any) -> None:
        """Write the session beside the checkpoint, and its model dense."""
        if self.session is None or not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        saving.save(self.session, folder / FILE)
        if self.session.world.name == "sparse":
            dense = dense_state(self.session, model.state_dict())
            model.save_pretrained(folder, state_dict=dense)

    def _adopt(self, loaded: State, state: Any) -> None:
        """Go back to the best checkpoint's session where it is its model that is loaded."""
        net, file = self.session, _best_file(state)
        if net is not None and file is not None and _weights_equal(net, file, loaded):
            net.load(file)

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Where the best model is loaded at the end, go back to its session: the trainer leaves out
        weights that it finds under other names."""
        file = _best_file(state)
        if self.session is not None and args.load_best_model_at_end and file is not None:
            self.session.load(file)


class _Nowhere:
    """A tracker for numbers that go into the trainer's logs."""

    def log(self, step: int, numbers: Any) -> None:
        return

    def finish(self) -> None:
        return


def _best_file(state: Any) -> Path | None:
    """The session's file of the best checkpoint, where there is one."""
    folder = state.best_model_checkpoint
    file = None if folder is None else Path(folder) / FILE
    return file if file is not None and file.is_file() else None


def _weights_equal(net: Session, file: Path, loaded: State) -> bool:
    """Whether the sparse weights that a state has are those of a session that was saved.

    Some models are written under other names than they have, and the trainer reads only those
    that it finds again.
    """
    tree = saving.read(file)[0]
    keys, model, bounds = tree["session"]["keys"], tree["world"]["model"], net.world.space.bounds
    for i, projection in enumerate(net.world.space.projections):
        dense = loaded.get(projection.name)
        if dense is None or tuple(dense.shape) != tuple(projection.shape):
            continue
        rows = (keys >= bounds[i]) & (keys < bounds[i + 1])
        local = keys[rows] - bounds[i]
        if projection.name in model:
            weights = model[projection.name].reshape(-1)[local]
        else:
            weights = model[EDGE_WEIGHTS][rows]
        saved = torch.zeros(projection.size, dtype=dense.dtype)
        saved[local] = weights.to(saved)
        if not torch.equal(saved, dense.reshape(-1).cpu()):
            return False
    return True


def _resumed_from(args: Any, state: Any) -> Path:
    """The session's file of the checkpoint that the trainer resumes from. Raises ValueError where
    it has none."""
    folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
    frame = sys._getframe(1)
    for _ in range(DEPTH):
        named = frame.f_locals.get("resume_from_checkpoint")
        if isinstance(named, str):
            folder = Path(named)
            break
        if frame.f_back is None:
            break
        frame = frame.f_back
    if not (folder / FILE).is_file():
        raise ValueError(
            f"the trainer resumes from {folder}, at step {state.global_step}, which has no {FILE}: "
            "it was saved without this callback. Begin anew from its model, with "
            "initial='nonzero' to keep its zeros."
        )
    return folder / FILE


def _makes_session(rule: Any) -> bool:
    return callable(rule) and not isinstance(rule, Rule)
