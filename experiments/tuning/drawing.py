"""Values to try, drawn by Optuna: they follow from seed, number and earlier results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rewire.tunable import Tunable, Value

from ..errors import ConfigError

if TYPE_CHECKING:
    import optuna

    from .trials import Trial

MISSING = 'rewire tune draws its trials with Optuna: pip install "neurorewire[tune]"'


def check_installed() -> None:
    """Raise ConfigError where Optuna is not installed."""
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise ConfigError(MISSING)


class Draws:
    """Values to try of one rule's fields: the same again for the same number and attempt.

    whole: fields that are whole numbers. past: finished trials, and what each is judged by, lower
    being better. Rules with the same leading fields get the same random values of them: what seeds
    a draw says nothing of the rule.
    """

    def __init__(
        self,
        spaces: Mapping[str, Tunable],
        whole: Iterable[str],
        past: Iterable[tuple[Trial, float]],
        sampler: str,
        seed: int,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.sampler, self.seed = sampler, seed
        whole = {*whole}
        self.distributions = {n: _distribution(space, n in whole) for n, space in spaces.items()}
        self.study = optuna.create_study(sampler=_sampler(sampler, seed))
        for trial, judged in past:
            if all(spaces[name].holds(value) for name, value in trial.values.items()):
                self.study.add_trial(optuna.trial.create_trial(
                    params=dict(trial.values), distributions=self.distributions,
                    value=judged))  # fmt: skip

    def draw(self, number: int, attempt: int = 0) -> dict[str, Value]:
        """Values of a trial; another attempt where those before were refused."""
        mixed = np.random.SeedSequence([self.seed, number, attempt]).generate_state(1)
        self.study.sampler = _sampler(self.sampler, int(mixed[0]))
        asked = self.study.ask(self.distributions)
        return {name: asked.params[name] for name in self.distributions}


def _sampler(name: str, seed: int) -> Any:
    import optuna

    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    # those of one generation are asked for together: each takes the others for poor ones
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def _distribution(space: Tunable, whole: bool) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if space.choices:
        return CategoricalDistribution(space.choices)
    if whole:
        return IntDistribution(int(space.low), int(space.high), log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)
