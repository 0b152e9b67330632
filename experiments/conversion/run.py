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

Networks that were trained as spiking ones are run as they are: see `.transfer`. What runs a cell of
either kind is `.work`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rewire import rng_for
from rewire.models.spiking import rate_coded
from rewire.worlds.torch_model.probe import evaluate

from ..building import build_model
from ..cell_run import TIMES, CellRun
from ..cells import Cell
from ..config.schema import Spikes
from ..data import Dataset, Split
from ..engines.outcome import Emit
from ..errors import StoreError
from ..store import CellStore, Row
from ..tasks.built_in import loss_and_accuracy

BALANCING = 1000  # training images whose activations set the thresholds
BLOCK = 1000  # images between looks at the clock and at signals
MOST_SYNAPSES = 8_000_000  # in one simulation, about 30 bytes each


class ConversionRun(CellRun):
    """A training's networks, one after the other, each shown all images in blocks.

    What differs where they are run as they are: `prepared`, what blocks are shown to; `look` shows
    one and adds to ``sums``; `measured`, what the row says of these.
    """

    costs: tuple[str, ...] = ("simulated",)
    packages = ("torch", "brian2")
    fresh: Mapping[str, Any] = dict.fromkeys(("right", "spikes", "events"), 0)

    def __init__(
        self,
        cell: Cell,
        folder: Path,
        network: CellStore,
        model: nn.Module,
        dataset: Dataset,
        emit: Emit,
        should_stop: Callable[[], bool],
    ):
        super().__init__(cell, folder, emit, should_stop)
        self.network, self.model = network, model
        self.asked = Spikes.model_validate(cell.config["spikes"])
        test = dataset.test
        n = self.asked.images or len(test)
        self.images = Split(test.x[:n].cpu(), test.y[:n].cpu())
        self.balancing = dataset.train.part(slice(BALANCING))[0].cpu().numpy()
        self.rows = list(_kept(network))
        self.at, self.shown = 0, 0  # the level, and the images that it has been shown
        self.sums = dict(self.fresh)

    def work(self, saved: Mapping[str, Any] | None) -> bool:
        if saved is not None:
            self.at, self.shown = saved["at"], saved["shown"]
            self.sums = dict(saved["sums"])
        while self.at < len(self.rows):
            if not self._level(self.rows[self.at]):
                return False
        return True

    def state(self) -> dict[str, Any]:
        return {"at": self.at, "shown": self.shown, "sums": self.sums}

    @property
    def levels(self) -> int:
        return len(self.rows)

    def _level(self, trained: Row) -> bool:
        """Show all images to the network of one level; False when asked to stop first."""
        self.model.load_state_dict(self.network.read_level(trained["level"])[0]["model"])
        prepared = self.prepared()
        while self.shown < len(self.images):
            if self.should_stop():
                return False
            self._show(prepared, trained["level"])
            self.save_if_due()
        self._finish(trained)
        return True

    def _show(self, prepared: Any, level: int) -> None:
        part = slice(self.shown, self.shown + self.block)
        images = Split(self.images.x[part], self.images.y[part])
        self.look(prepared, images, level)
        self.shown += len(images)
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
        self.note_times()
        values = {
            **{key: trained[key] for key in ("requested_density", "density", "edges", "possible")},
            "images": len(self.images),
            **self.measured(len(self.images)),
            "images_per_second": len(self.images) / self.spent["simulated"],
            **{key: self.spent[key] for key in TIMES},
            "network": self.network.hash,
        }
        self.record(self.level_row(trained["level"], values))
        self.at, self.shown = self.at + 1, 0
        self.sums = dict(self.fresh)
        self.spent |= dict.fromkeys(self.costs, 0.0)

    @property
    def block(self) -> int:
        """How many images are shown between two looks at the clock and at signals."""
        return BLOCK

    # -- converted networks -------------------------------------------------------------------

    def prepared(self) -> Any:
        return rate_coded.balanced(rate_coded.matrices(self.model), self.balancing)

    def look(self, prepared: Any, images: Split, level: int) -> None:
        labels = images.y.numpy()
        seed = rng_for(self.cell.seed, f"spikes/{level}", self.shown).key % 2**32
        responses = simulated(self.asked, prepared, images.x.numpy(), seed)
        self.sums["right"] += int((responses.predictions == labels).sum())
        self.sums["spikes"] += int(responses.spikes.sum())
        self.sums["events"] += int(responses.events.sum())
        self.spent["simulated"] += responses.build + responses.run

    def measured(self, n: int) -> dict[str, Any]:
        return {
            "ann_accuracy": loss_and_accuracy(partial(evaluate, self.model), self.images)[1],
            "spiking_accuracy": self.sums["right"] / n,
            "spikes_per_image": self.sums["spikes"] / n,
            "events_per_image": self.sums["events"] / n,
        }


def model_of(model: Any, data: Any) -> nn.Module:
    return build_model(model.name, model.options, data, torch.Generator().manual_seed(0))


def _kept(network: CellStore) -> Iterator[Row]:
    """The levels of a training whose weights were kept, but not the dense one it started from."""
    kept = 0
    for row in network.events():
        if row["event"] != "level" or row["requested_density"] is None:
            continue
        kept += 1
        if row["requested_density"] < 1 or row["rule"] == "Dense":
            yield row
    if not kept:
        raise StoreError(f"{network.path}: has no level at a density that was asked for")


def simulated(
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
