"""A session's states to go back to, and the learning rate that goes back with them."""

from __future__ import annotations

from typing import Any

from .compatibility import refuse_no_last_rate
from .graph import Edit, Graph, Rewind
from .rates import Scheduled
from .rule import Rule, State
from .rule_budget import budget_of
from .when import Clock


class Rewinding:
    """What a session does for rules that go back to earlier steps."""

    world: Any
    clock: Clock
    endless: bool
    rules: tuple[Rule, ...]
    states: list[State]
    saves: frozenset[int]
    saved: dict[int, Any]
    last_rewind: Rewind | None
    schedule_step: int
    data_step: int
    _edit: Any
    _restarted: Any
    _rate: Scheduled | None = None  # a scheduler that the session steps
    _rate_round = 0  # the round that it stands in

    def keep_if_asked(self) -> None:
        """Keep the state of this step where a rule will go back to it."""
        step = self.clock.step
        if step in self.saves and self.clock.round == 0 and step not in self.saved:
            self.saved[step] = {**self.world.snapshot(), "rules": list(self.states)}

    def _kept(self, step: int, asking: int) -> dict[str, Any]:
        """The state kept at a step that a rule asks for."""
        if step not in self.saved:
            raise RuntimeError(
                f"{self.rules[asking].name} asks for step {step}, which was not kept "
                f"(kept: {sorted(self.saved)}); a rule names such steps in Rule.saves."
            )
        kept: dict[str, Any] = self.saved[step]
        return kept

    def _go_back(self, asking: int, shown: Graph, edit: Edit) -> None:
        rewind = edit.rewind
        assert rewind is not None
        if rewind.restore & {"model", "optimiser", "rules"}:
            saved = self._kept(rewind.step, asking)
            if rewind.optimiser is not None:
                saved = {**saved, "optimiser": self._kept(rewind.optimiser, asking)["optimiser"]}
            self.world.restore(saved, rewind.restore, shown)
            if "model" in rewind.restore:
                self._restarted()
            if "rules" in rewind.restore:
                self.states = [
                    own if j == asking else earlier
                    for j, (own, earlier) in enumerate(
                        zip(self.states, saved["rules"], strict=True)
                    )
                ]
        restored = self.world.read(shown)
        self._edit(restored, edit)
        if rewind.again:
            self.clock = self.clock._replace(step=rewind.step, round=self.clock.round + 1)
        if "schedule" in rewind.restore:
            self.schedule_step = rewind.step
        if "data" in rewind.restore:
            self.data_step = rewind.step
        self.last_rewind = rewind

    # -- the learning rate ------------------------------------------------------------------------

    def follow_schedule(self, scheduler: Any) -> None:
        """Let this session step a scheduler of torch after each of its steps, and take it back with
        every rewind of the schedule. Raises ValueError where that cannot be."""
        optimizer = getattr(self.world, "optimizer", None)
        if optimizer is None:
            raise ValueError(f"the {self.world.name} world has no optimizer to schedule.")
        rate = Scheduled(scheduler, optimizer)
        if not self.endless and any(budget_of(rule).at_last_rate(rule) for rule in self.rules):
            factors = rate.factors(self.clock.span)
            refuse_no_last_rate(self.rules, factors.__getitem__, self.clock.span)
        self._rate = rate

    def keep_rate(self, *, anew: bool = False) -> None:
        """Bring the scheduler, where there is one, to the step that the schedule stands at.

        anew: whatever the optimizer's rates are now; a rewind may have restored other ones.
        """
        if self._rate is None:
            return
        if anew or self.clock.round != self._rate_round:
            self._rate_round = self.clock.round
            self._rate.start_anew()
        self._rate.go_to(self.schedule_step)
