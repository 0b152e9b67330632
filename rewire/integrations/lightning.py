"""A callback for Lightning's Trainer: ``rewire.attach`` when the optimizers exist, saved and
restored with the trainer's checkpoints, its numbers in the trainer's loggers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ..rule import Rule
from ..session import Session
from ..torch_loop import attach
from ..trackers import imported
from .dense_states import DenseStates, dense_state, resuming

_pytorch = imported("lightning.pytorch", what="rewire.integrations.lightning", extra="trainers")
Callback: Any = _pytorch.Callback


class Rewiring(Callback):
    """Rules on a LightningModule, or on a part of it.

    rule: a rule, or several; or a function of the module and its optimizer that returns the session
        (then ``options`` stay away).
    module: name of the part whose weights are sparse, "" for all of the LightningModule.
    optimizer: the number of the optimizer that steps these weights.
    layers: whether loggers get the density of each projection too.
    options: as for :func:`rewire.attach`. ``steps`` is the trainer's number of optimizer steps
        unless it is given, where Lightning knows it and makes the steps itself.

    After ``fit`` has begun ``callback.session`` is the session. Checkpoints hold the model with
    dense weights, absent ones 0, and the session beside it: a run that is resumed from one
    (``fit(..., ckpt_path=...)``) ends with the same numbers, and ``test(ckpt_path="best")`` goes
    back to the edges of the best one. Loggers get ``rewire/edges``, ``rewire/density``, and what
    was formed and dropped since, every ``log_every_n_steps``.
    """

    def __init__(
        self,
        rule: Rule | Sequence[Rule] | Callable[[Any, Any], Session],
        *,
        module: str = "",
        optimizer: int = 0,
        layers: bool = False,
        **options: Any,
    ):
        self.session: Session | None = None
        self._rule, self._options, self._layers = rule, options, layers
        self._module, self._optimizer = module, optimizer
        self._states: DenseStates | None = None
        self._resumed: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None
        if _makes_session(rule) and options:
            raise TypeError(
                f"a function makes the whole session: give it {', '.join(options)} itself."
            )

    @property
    def state_key(self) -> str:
        """Where checkpoints keep this callback's state: one for each part of the module."""
        return f"rewire.{self._module}" if self._module else "rewire"

    # -- attach ---------------------------------------------------------------------------------

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """The optimizers exist, and are not restored yet."""
        self._refuse_second_fit()
        part = pl_module.get_submodule(self._module)
        optimizers = trainer.optimizers
        if not -len(optimizers) <= self._optimizer < len(optimizers):
            raise ValueError(
                f"optimizer={self._optimizer} is asked for, and configure_optimizers() made "
                f"{len(optimizers)}: give the number of the one that steps the sparse weights."
            )
        optimizer = optimizers[self._optimizer]
        with resuming(self._resumed is not None):
            net = self._attached(trainer, pl_module, part, optimizer)
        self.session = net
        self._states = DenseStates(net, pl_module, self._prefix, lambda s: self._adopt(trainer))
        if self._resumed is not None:
            session, model = self._resumed
            net.load_state_dict(session)
            with torch.no_grad():
                pl_module.load_state_dict(model)
            net.world.note()
            self._resumed = None
        if trainer.loggers:
            net.follow(_Loggers(trainer), every=trainer.log_every_n_steps, layers=self._layers)

    def _attached(self, trainer: Any, pl_module: Any, part: Any, optimizer: Any) -> Session:
        if _makes_session(self._rule):
            net = self._rule(pl_module, optimizer)  # type: ignore[operator]
            if not isinstance(net, Session):
                raise TypeError(f"the function is to return a session, and returned {net!r}.")
            return net
        options = dict(self._options)
        if "steps" not in options and pl_module.automatic_optimization:
            steps = trainer.estimated_stepping_batches
            if 0 < steps < float("inf"):
                options["steps"] = int(steps)
        return attach(part, optimizer, self._rule, **options)  # type: ignore[arg-type]

    def _refuse_second_fit(self) -> None:
        if self.session is not None:
            raise RuntimeError(
                "fit() was called a second time with this callback: its session belongs to the "
                "optimizer of the first. Resume the first with ckpt_path=, or make a new module "
                "and callback."
            )

    @property
    def _prefix(self) -> str:
        return f"{self._module}." if self._module else ""

    # -- checkpoints ----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of the session."""
        return {} if self.session is None else {"session": self.session.state_dict()}

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint's model be dense: one who has no session can load it."""
        if self.session is not None:
            state = dense_state(self.session, checkpoint["state_dict"], self._prefix)
            checkpoint["state_dict"] = state

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """A run is resumed: its session and weights wait until there are optimizers."""
        saved = checkpoint.get("callbacks", {}).get(self.state_key, {}).get("session")
        if self.session is not None or saved is None or trainer.state.fn != "fit":
            return
        self._resumed = copy.deepcopy(saved), dict(checkpoint["state_dict"])

    def _adopt(self, trainer: Any) -> None:
        """A checkpoint is loaded after training began: go back to the session that it holds."""
        connector = getattr(trainer, "_checkpoint_connector", None)
        checkpoint = getattr(connector, "_loaded_checkpoint", None) or {}
        saved = checkpoint.get("callbacks", {}).get(self.state_key, {}).get("session")
        if saved is not None and self.session is not None and self._resumed is None:
            self.session.load_state_dict(copy.deepcopy(saved))


class _Loggers:
    """A trainer's loggers as a tracker."""

    def __init__(self, trainer: Any):
        self._trainer = trainer

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for logger in self._trainer.loggers:
            logger.log_metrics(dict(numbers), step=step)

    def finish(self) -> None:
        return


def _makes_session(rule: Any) -> bool:
    return callable(rule) and not isinstance(rule, Rule)
