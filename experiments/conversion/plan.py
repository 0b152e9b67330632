"""The cells that run trained networks as spiking ones."""

from __future__ import annotations

from collections.abc import Sequence

from ..cells import SCHEMA, Cell
from ..config.schema import Experiment, Spikes
from ..store import cell_hash


def plan(experiment: Experiment, trainings: Sequence[Cell]) -> list[Cell]:
    """A cell for each training, none where the experiment has no table ``[spikes]``."""
    asked = experiment.spikes
    if asked is None:
        return []
    images = asked.images or experiment.data.info.test
    # a ticket on another data set has no images of this one to be right about
    comparable = [training for training in trainings if "data" not in training.config["rule"]]
    return [_cell(asked, images, training) for training in comparable]


def _cell(asked: Spikes, images: int, training: Cell) -> Cell:
    config = {
        "schema": SCHEMA,
        "kind": "spikes",
        "rule": {"rule": training.rule},
        "seed": training.seed,
        "spikes": asked.model_dump(exclude_defaults=True),
        "parents": {"network": training.hash},
    }
    levels = len(training.config.get("densities", ())) or 1
    return Cell(
        hash=cell_hash(config),
        label=f"{training.label} in spikes",
        rule=training.rule,
        config=config,
        seed=training.seed,
        density=training.density,
        parents={"network": training.hash},
        # an image of 100 ms takes about as long as a training step of LeNet
        weight=images * levels * asked.milliseconds / 100,
    )
