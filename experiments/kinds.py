"""What `rewire run` needs to know of the worlds that an experiment may be of, an entry for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewire.names import unknown

from .cells import Cell, Estimate
from .config.presets import locate
from .config.schema import Experiment, available
from .config.toml import override, read, refusal
from .engines.outcome import Emit, Work


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
    from .building import n_train
    from .trainings.plan import plan

    trainings = plan(experiment, n_train(experiment.data))
    if experiment.spikes is None:
        return trainings
    from .conversion.plan import plan as in_spikes

    return trainings + in_spikes(experiment, trainings)


def _torch_work(experiment: Any) -> Work:
    """Load the data once, in this process, for all the workers that will be forked from it."""
    from .machine import resolve_device
    from .threads import one_thread
    from .trainings.trainer import run_cell

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
            from .conversion.run import run_cell as in_spikes

            in_spikes(cell, folder, parents, dataset, emit, should_stop)
        else:
            run_cell(cell, folder, parents, dataset, emit, should_stop, device)

    return work


def _torch_estimate(experiment: Any, cells: Sequence[Cell]) -> Mapping[str, Estimate]:
    from .trainings.estimate import estimate

    spiking = [cell for cell in cells if cell.config["kind"] == "spikes"]
    found = estimate(experiment, [cell for cell in cells if cell not in spiking])
    if spiking:
        from .conversion.estimate import estimate as in_spikes

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


def parse(tree: Mapping[str, Any]) -> Any:
    """Validate a plain tree (what a TOML file holds). Raises ConfigError with every problem.

    Returns an Experiment, or a `spiking.schema.SpikingExperiment` where the tree says
    ``world = "brian"``.
    """
    if "world" not in tree:
        from .trainings import config as trainings

        return trainings.parse(tree)
    from .spiking import config as spiking

    if (world := tree["world"]) != "brian":
        hint = "; leave it out for a PyTorch model"
        raise refusal(tree, [("world", unknown("world", world, ["brian"]) + hint)])
    return spiking.parse(tree)


def load(source: str | Path, overrides: Sequence[str] = ()) -> Any:
    """An experiment from a file or preset, with ``key=value`` overrides, as `parse` returns it.

    Raises ConfigError (exit 2) with every problem of the file and the overrides together.
    """
    path = locate(source)
    tree = read(path)
    tree.setdefault("name", path.stem)
    return parse(override(tree, overrides))


def json_schema() -> dict[str, Any]:
    """The JSON Schema of an experiment file, for editors."""
    from rewire.models import spiking

    from .spiking.schema import SpikingExperiment

    torch, brian = Experiment.model_json_schema(), SpikingExperiment.model_json_schema()
    both = {**brian.pop("$defs"), **torch.pop("$defs")}
    _name_choices(torch, "train", model=available("model"), data=available("data"))
    _name_choices(brian, "model", model=spiking.available())
    return {"if": {"required": ["world"]}, "then": brian, "else": torch, "$defs": both}


def _name_choices(tree: dict[str, Any], own: str, **choices: Mapping[str, Any]) -> None:
    """Write the names that exist into a schema; ``own`` is a rule's key for settings of its own."""
    tree["properties"]["rules"] = {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "required": ["rule"],
            "properties": {
                "rule": {"enum": list(available("rule"))},
                "label": {"type": "string"},
                own: {"type": "object"},
            },
        },
    }
    for key, known in choices.items():
        tree["properties"][key] = {"anyOf": [{"enum": list(known)}, tree["properties"][key]]}
    tree["required"] = [name for name in tree["required"] if name != "name"]
