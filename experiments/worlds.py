"""What `rewire run` needs to know of the worlds that an experiment may be of, an entry for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cells import Cell
from .engines.local import Emit, Work
from .estimate import Estimate


@dataclass(frozen=True)
class World:
    """plan: an experiment's cells. work: what trains one. estimate: of each cell, by hash.

    packages: distributions that results depend on, besides those that all worlds share.
    """

    plan: Callable[[Any], list[Cell]]
    work: Callable[[Any], Work]
    estimate: Callable[[Any, Sequence[Cell]], Mapping[str, Estimate]]
    packages: tuple[str, ...] = ()


def world_of(experiment: Any) -> World:
    """The world that an experiment asks for."""
    return WORLDS[getattr(experiment, "world", "torch")]


def _torch_plan(experiment: Any) -> list[Cell]:
    from .cells import plan
    from .config import n_train

    trainings = plan(experiment, n_train(experiment.data))
    if experiment.spikes is None:
        return trainings
    from .tickets import plan as in_spikes

    return trainings + in_spikes(experiment, trainings)


def _torch_work(experiment: Any) -> Work:
    """Load the data once, in this process, for all the workers that will be forked from it."""
    from .runner import resolve_device
    from .threads import one_thread
    from .trainer import run_cell

    device = resolve_device(experiment.device)
    with one_thread():
        dataset = experiment.data.load()

    def work(
        cell: Any,
        folder: Path,
        parents: dict[str, Path],
        emit: Emit,
        should_stop: Callable[[], bool],
    ) -> None:
        _use_threads(experiment.threads)
        if cell.config["kind"] == "spikes":
            from .tickets import run_cell as in_spikes

            in_spikes(cell, folder, parents, dataset, emit, should_stop)
        else:
            run_cell(cell, folder, parents, dataset, emit, should_stop, device)

    return work


def _torch_estimate(experiment: Any, cells: Sequence[Cell]) -> Mapping[str, Estimate]:
    from .estimate import estimate

    spiking = [cell for cell in cells if cell.config["kind"] == "spikes"]
    found = estimate(experiment, [cell for cell in cells if cell not in spiking])
    if spiking:
        from .tickets import estimate as in_spikes

        found |= in_spikes(experiment, spiking)
    return found


def _brian_plan(experiment: Any) -> list[Cell]:
    from .spiking.cells import plan

    return plan(experiment)


def _brian_work(experiment: Any) -> Work:
    from .spiking.trainer import run_cell

    def work(
        cell: Any,
        folder: Path,
        parents: dict[str, Path],
        emit: Emit,
        should_stop: Callable[[], bool],
    ) -> None:
        _use_threads(experiment.threads)
        run_cell(cell, folder, emit, should_stop)

    return work


def _brian_estimate(experiment: Any, cells: Sequence[Cell]) -> Mapping[str, Estimate]:
    from .spiking.estimate import estimate

    return estimate(cells)


def _use_threads(threads: int) -> None:
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


WORLDS = {
    "torch": World(_torch_plan, _torch_work, _torch_estimate),
    "brian": World(_brian_plan, _brian_work, _brian_estimate, ("brian2",)),
}
