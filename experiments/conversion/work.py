"""What runs a cell of the table ``[spikes]``: a network is converted, or is run as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..cells import Cell
from ..config.schema import Experiment
from ..data import Dataset
from ..engines.outcome import Emit, Work
from ..store import CellStore
from ..trainings.settings import settings
from .run import ConversionRun, model_of
from .transfer import TransferRun, transfers


def work(experiment: Experiment) -> Work:
    """What runs any converted network of an experiment, on its data set."""
    dataset = experiment.dataset
    return lambda cell, folder, parents, emit, should_stop: run_cell(
        cell, folder, parents, dataset, emit, should_stop
    )


def run_cell(
    cell: Cell,
    folder: Path,
    parents: Mapping[str, Path],
    dataset: Dataset,
    emit: Emit,
    should_stop: Callable[[], bool],
) -> None:
    """Run a training's networks in spikes, from where the cell stands, or until ``should_stop``.

    Raises StoreError and CheckpointError (exit 5) for a damaged folder.
    """
    network = CellStore(parents["network"])
    model = model_of(settings(network.cell()["config"]).model, dataset)
    run = TransferRun if transfers(model) else ConversionRun
    run(cell, folder, network, model, dataset, emit, should_stop).run()
