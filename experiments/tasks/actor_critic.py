"""Acting in an environment: advantage actor-critic, judged by the mean return of episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..metric import Metric
from .task import Examples, Targets, Task

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from rewire.world import Trainable


@dataclass(frozen=True, kw_only=True)
class ActorCritic(Task):
    """Advantage actor-critic, A2C (Mnih et al. 2016, arXiv:1602.01783, with synchronous actors).

    A model computes a logit for each action, and last the value of the observation. A batch is what
    ``environments`` side by side go through in ``batch / environments`` steps each under the
    policy as it is; the targets of values are returns of those steps, the rest bootstrapped, and
    the advantage is target minus value. An episode whose time is over is bootstrapped at its last
    observation. Environments are not reset between batches, and all are where a level begins.

    value:        coefficient of the squared error of values.
    entropy:      coefficient of the policy's entropy, which is raised.
    discount:     of a reward one step later.
    trace:        lambda of generalised advantage estimation (Schulman et al. 2016,
                  arXiv:1506.02438); 1: returns of as many steps as the batch holds.
    normalise:    whether advantages are scaled to mean 0 and deviation 1 in each batch.
    environments: how many are played side by side.
    greedy:       whether evaluations take the likeliest action; else they draw from the policy.
    threshold:    mean return at which `steps_to_threshold` is taken; None: the environment's own.

    The validation loss is minus the mean return, so the early-stopping point is that of the best
    validation return.
    """

    kind: ClassVar[str] = "actions in an environment"
    targets: ClassVar[Targets] = "actions"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("return", "mean return"),)

    value: float = 0.5
    entropy: float = 0.01
    discount: float = 0.99
    trace: float = 1.0
    normalise: bool = False
    environments: int = 16
    greedy: bool = False
    threshold: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("value", "entropy"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} = {getattr(self, name)}: a coefficient of 0 or more.")
        for name in ("discount", "trace"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)}: a number from 0 to 1.")
        if self.environments < 1:
            raise ValueError(f"environments = {self.environments}: at least 1.")

    def unfit(self, batch: int) -> str | None:
        if batch % self.environments:
            return (
                f"{batch} steps cannot be shared out over {self.environments} environments: "
                "choose a multiple, or set task.environments"
            )
        return None

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        from torch.nn.functional import log_softmax

        log_odds, values = log_softmax(outputs[:, :-1], 1), outputs[:, -1]
        actions, targets = y[:, 0].long(), y[:, 1]
        advantages = (targets - values).detach()
        if self.normalise:
            advantages = (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
        chosen = log_odds.gather(1, actions[:, None])[:, 0]
        entropy = -(log_odds.exp() * log_odds).sum(1).mean()
        errors = (targets - values).square().mean()
        return self.value * errors - (chosen * advantages).mean() - self.entropy * entropy

    def tally(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Of transitions: summed loss, how many, and the sum of their targets."""
        import torch

        n = float(len(y))
        return torch.stack([self.loss(outputs, y) * n, torch.tensor(n), y[:, 1].sum()])

    def metric_of(self, sums: Sequence[float]) -> float:
        return sums[2] / sums[1]

    def measure(self, world: Trainable, split: Examples) -> tuple[float, float]:
        """Minus the mean return over the episodes of a part, and the mean return."""
        returns = split.returns(world.outputs, greedy=self.greedy)  # type: ignore[attr-defined]
        mean = self.metric_of([-returns.sum(), len(returns), returns.sum()])
        return -float(mean), float(mean)

    def example(self, info: Any, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        import torch

        x = torch.randn(n, *info.shape, generator=generator)
        actions = torch.randint(info.classes - 1, (n,), generator=generator)
        return x, torch.stack([actions.float(), torch.randn(n, generator=generator)], 1)
