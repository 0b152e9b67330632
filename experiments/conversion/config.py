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

    try:
        brian2()
    except ImportError as error:
        problems.append(("spikes", str(error)))
    info = experiment.data.info
    if info.task.targets != "classes" or experiment.objective.targets != "classes":
        problems.append(("spikes", f"[spikes] converts classifiers; {info.name} is for "
                        f"{info.task.kind}: leave it out"))  # fmt: skip
    try:
        rate_coded.matrices(model_of(experiment.model, info))
    except ValueError as error:
        problems.append(("model", f"[spikes] cannot convert it: {error}"))
    if experiment.data.normalise != "unit":
        problems.append((
            "data.normalise",
            f'[spikes] takes inputs in [0, 1], which "{experiment.data.normalise}" does not give; '
            'use normalise = "unit"',
        ))  # fmt: skip
    if asked.images is not None and asked.images > info.test:
        problems.append(("spikes.images", f"{info.name} has {info.test:,} test images, not "
                      f"{asked.images:,}"))  # fmt: skip
