"""The table ``[spikes]``: what it may say."""

from __future__ import annotations

from ..config.problems import Problems
from ..config.schema import Experiment


def check(experiment: Experiment, problems: Problems) -> None:
    """What keeps an experiment's networks from being converted, known before any is trained."""
    asked = experiment.spikes
    if asked is None:
        return
    from rewire.models.spiking import rate_coded
    from rewire.models.spiking.brian import brian2

    from .run import model_of
    from .transfer import transfers

    try:
        brian2()
    except ImportError as error:
        problems.append(("spikes", str(error)))
    info = experiment.data.info
    if info.task.targets != "classes" or experiment.objective.targets != "classes":
        problems.append(("spikes", f"[spikes] converts classifiers; {info.name} is for "
                        f"{info.task.kind}: leave it out"))  # fmt: skip
    model = model_of(experiment.model, info)
    as_it_is = transfers(model)
    if as_it_is:
        _check_transfer(experiment, problems)
    else:
        try:
            rate_coded.matrices(model)
        except ValueError as error:
            problems.append(("model", f"[spikes] cannot convert it: {error}"))
    if experiment.data.normalise != "unit" and not as_it_is:
        problems.append((
            "data.normalise",
            f'[spikes] takes inputs in [0, 1], which "{experiment.data.normalise}" does not give; '
            'use normalise = "unit"',
        ))  # fmt: skip
    if asked.images is not None and asked.images > info.test:
        problems.append(("spikes.images", f"{info.name} has {info.test:,} test images, not "
                      f"{asked.images:,}"))  # fmt: skip


def _check_transfer(experiment: Experiment, problems: Problems) -> None:
    """A network that spikes already is run as it is, on events."""
    from ..data.sources import BUILT_IN
    from ..data.spikes import SPIKES

    asked, info = experiment.spikes, experiment.data.info
    assert asked is not None
    for name in sorted(asked.model_dump(exclude_defaults=True).keys() - {"images"}):
        problems.append((
            f"spikes.{name}",
            "is for networks that are converted; this one spikes already, and is run in Brian2 "
            "step by step as it is: leave it out",
        ))  # fmt: skip
    if info.name in BUILT_IN and info.name not in {source.name for source in SPIKES}:
        problems.append((
            "data",
            f"[spikes] shows a spiking network events of 0 and 1, and {info.name} has others",
        ))  # fmt: skip
