"""What runs a cell of the table ``[spikes]``: a network is converted, or is run as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..cells import Cell
from ..config.schema import Experiment
from ..data import Dataset
from ..engines.outcome import Emit, Work
from ..errors import DataError
from ..store import CellStore
from ..trainings.settings import settings
from .run import ConversionRun, model_of
from .transfer import TransferRun, transfers


def work(experiment: Experiment) -> Work:
    """What runs any network of an experiment in spikes, on its data set.

    Raises DataError, before anything is trained, for a data set of the user's whose numbers a
    network that spikes already cannot take.
    """
    dataset = experiment.dataset
    if experiment.spikes is not None and transfers(model_of(experiment.model, dataset)):
        _refuse_currents(dataset)
    return lambda cell, folder, parents, emit, should_stop: run_cell(
        cell, folder, parents, dataset, emit, should_stop
    )


def _refuse_currents(dataset: Dataset) -> None:
    x = dataset.test.x
    others = x[(x != 0) & (x != 1)]
    if len(others):
        raise DataError(
            f"[spikes] shows a spiking network events of 0 and 1, and {len(others):,} numbers of "
            f"{dataset.name}'s test examples are others, such as {others[0].item():.6g}: write "
            "spikes, or leave [spikes] out."
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
