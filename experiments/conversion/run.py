"""Trained networks as spiking ones: the cells that an experiment's table ``[spikes]`` adds.

    [spikes]
    images = 2000        # of the test set; all of them unless given
    milliseconds = 100.0
    rate = 200.0         # Hz, of a pixel of 1
    encoding = "current" # or "poisson"

Every training gets a cell behind it (role "network") that converts what was kept of it at each
density, shows the images to the converted network in Brian2 (`rewire.models.spiking.rate_coded`)
and writes a row: how often spikes and activations are right about the same images, and what they
cost in spikes and synaptic events. Networks must have no biases and inputs in [0, 1].
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import rewire
from rewire import rng_for
from rewire.models.spiking import rate_coded
from rewire.models.spiking.brian import brian2
from rewire.worlds.torch_model.probe import evaluate

from ..building import build_model
from ..cell_run import Emit, checkpoint_seconds
from ..cells import Cell
from ..config.schema import Spikes
from ..data import Dataset, Split
from ..errors import StoreError
from ..store import CellStore, Row
from ..trainings.passes import measure
from ..trainings.settings import settings

BALANCING = 1000  # training images whose activations set the thresholds
BLOCK = 1000  # images between looks at the clock and at signals
MOST_SYNAPSES = 8_000_000  # in one simulation, about 30 bytes each
SUMS = ("right", "spikes", "events")
TIMES = ("seconds", "cpu_seconds")


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
    _Run(cell, folder, CellStore(parents["network"]), dataset, emit, should_stop).run()


class _Run:
    def __init__(
        self,
        cell: Cell,
        folder: Path,
        network: CellStore,
        dataset: Dataset,
        emit: Emit,
        should_stop: Callable[[], bool],
    ):
        self.cell, self.store, self.network = cell, CellStore(folder), network
        self.checkpoints = self.store.checkpoints
        self.asked = Spikes.model_validate(cell.config["spikes"])
        test = dataset.test
        n = self.asked.images or len(test)
        self.images = Split(test.x[:n].cpu(), test.y[:n].cpu())
        self.balancing = dataset.train.part(slice(BALANCING))[0].cpu().numpy()
        self.model = _model(settings(network.cell()["config"]).model, dataset)
        self.rows = list(_kept(network))
        self.emit, self.should_stop = emit, should_stop
        self.at, self.shown = 0, 0  # the level, and the images that it has been shown
        self.sums = dict.fromkeys(SUMS, 0)
        self.spent = {**dict.fromkeys(TIMES, 0.0), "simulated": 0.0}

    def run(self) -> None:
        self.store.create(
            {
                "config": dict(self.cell.config),
                "label": self.cell.label,
                "parents": list(self.cell.parents.values()),
                "versions": {
                    "neurorewire": rewire.__version__,
                    "torch": torch.__version__,
                    "brian2": brian2().__version__,
                },
                "threads": torch.get_num_threads(),
                "device": "cpu",
            }
        )
        self._started = time.perf_counter(), time.process_time()
        self._checkpointed = time.monotonic()
        saved = self.checkpoints.load_newest()
        self.store.truncate(saved["metrics"] if saved else 0)
        if saved is not None:
            self.at, self.shown = saved["at"], saved["shown"]
            self.sums, self.spent = dict(saved["sums"]), dict(saved["spent"])
        while self.at < len(self.rows):
            if not self._level(self.rows[self.at]):
                self._save()
                return
        self.store.append({"event": "end", "levels": len(self.rows), "stopped": None})
        self.store.sync()
        self.store.close()
        self.checkpoints.clear()
        self.emit({"event": "end"})

    def _level(self, trained: Row) -> bool:
        """Show all images to the network of one level; False when asked to stop first."""
        self.model.load_state_dict(self.network.read_level(trained["level"])[0]["model"])
        weights = rate_coded.balanced(rate_coded.matrices(self.model), self.balancing)
        while self.shown < len(self.images):
            if self.should_stop():
                return False
            self._show(weights, trained["level"])
            if time.monotonic() - self._checkpointed > checkpoint_seconds():
                self._save()
        self._finish(trained)
        return True

    def _show(self, weights: Sequence[Any], level: int) -> None:
        block = slice(self.shown, self.shown + BLOCK)
        labels = self.images.y[block].numpy()
        seed = rng_for(self.cell.seed, f"spikes/{level}", self.shown).key % 2**32
        found = _simulated(self.asked, weights, self.images.x[block].numpy(), seed)
        self.sums["right"] += int((found.predictions == labels).sum())
        self.sums["spikes"] += int(found.spikes.sum())
        self.sums["events"] += int(found.events.sum())
        self.spent["simulated"] += found.build + found.run
        self.shown += len(labels)
        self.emit(
            {
                "event": "eval",
                "level": self.at,
                "levels": len(self.rows),
                "step": self.shown,
                "steps": len(self.images),
            }
        )

    def _finish(self, trained: Row) -> None:
        n = len(self.images)
        self._note_times()
        row = {
            "event": "level",
            "rule": self.cell.rule,
            "label": self.cell.label,
            "seed": self.cell.seed,
            **{key: trained[key] for key in ("level", "requested_density", "density", "edges",
                                             "possible")},
            "images": n,
            "ann_accuracy": measure(partial(evaluate, self.model), self.images)[1],
            "spiking_accuracy": self.sums["right"] / n,
            "spikes_per_image": self.sums["spikes"] / n,
            "events_per_image": self.sums["events"] / n,
            "images_per_second": n / self.spent["simulated"],
            **{key: self.spent[key] for key in TIMES},
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "network": self.network.hash,
            "cell": self.store.hash,
        }  # fmt: skip
        self.store.append(row)
        self.emit(row)
        self.at, self.shown = self.at + 1, 0
        self.sums, self.spent["simulated"] = dict.fromkeys(SUMS, 0), 0.0

    def _note_times(self) -> None:
        now = time.perf_counter(), time.process_time()
        for name, since, at in zip(TIMES, self._started, now, strict=True):
            self.spent[name] += at - since
        self._started = now

    def _save(self) -> None:
        self.store.sync()
        self._note_times()
        self.checkpoints.save(
            {
                "at": self.at,
                "shown": self.shown,
                "sums": self.sums,
                "spent": self.spent,
                "metrics": self.store.size(),
            }
        )
        self._checkpointed = time.monotonic()


def _model(model: Any, data: Any) -> nn.Module:
    return build_model(model.name, model.options, data, torch.Generator().manual_seed(0))


def _kept(network: CellStore) -> Iterator[Row]:
    """The levels of a training whose weights were kept, but not the dense one it started from."""
    found = False
    for row in network.events():
        if row["event"] != "level" or row["requested_density"] is None:
            continue
        found = True
        if row["requested_density"] < 1 or row["rule"] == "Dense":
            yield row
    if not found:
        raise StoreError(f"{network.path}: has no level at a density that was asked for")


def _simulated(
    asked: Spikes, weights: Sequence[Any], images: np.ndarray, seed: int
) -> rate_coded.Responses:
    between = weights if asked.encoding == "poisson" else weights[1:]
    synapses = max(1, sum(w.nnz for w in between))
    return rate_coded.simulate(
        weights,
        images,
        duration=asked.milliseconds / 1000,
        rate=asked.rate,
        encoding=asked.encoding,
        copies=min(asked.copies, max(1, MOST_SYNAPSES // synapses)),
        target=asked.codegen,
        seed=seed,
    )
