"""One cell, trained: resumable at every step, bit for bit.

A cell is one training or a ladder of them. Batches, dropout and every rule draw from streams
named by seed and step, so that a checkpoint needs no generator's state; model, optimiser, session
and what has been noted so far are in it, and after a kill the logs are cut back to it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewire import rng_for
from rewire.graph import Graph
from rewire.worlds.torch_model.probe import Probe

from ..building import TOO_MANY, empty_model
from ..cell_run import TIMES, CellRun
from ..cells import Cell
from ..config.schema import Experiment
from ..data import Dataset
from ..engines.outcome import Emit, Work
from ..errors import Diverged
from ..machine import resolve_device
from ..store import CellStore
from ..tasks import Classification, table_of
from . import flops, synops
from .branch_start import data_of
from .passes import form_of
from .rollouts import batches_of
from .session import build
from .settings import on_device, settings
from .stages import COSTS, Stage, stages_of

PROBED = 10  # examples of each class that rules see before the first step, at least
HELD = 2**23  # bytes of edits that wait in memory at the most, until they are written


def work(experiment: Experiment) -> Work:
    """What trains any cell of an experiment, on its device and its data set."""
    device = "cpu" if experiment.world == "sparse" else resolve_device(experiment.device)
    dataset = experiment.dataset
    return lambda cell, folder, parents, emit, should_stop: run_cell(
        cell, folder, parents, dataset, emit, should_stop, device
    )


def run_cell(
    cell: Cell,
    folder: Path,
    parents: Mapping[str, Path],
    dataset: Dataset,
    emit: Emit,
    should_stop: Callable[[], bool],
    device: str = "cpu",
) -> None:
    """Train a cell from where it stands to its end, or until ``should_stop``.

    Raises Diverged (exit 4) when a loss is no number any more, StoreError and CheckpointError
    (exit 5) for a damaged folder.
    """
    TrainingRun(cell, folder, parents, dataset, emit, should_stop, device).run()


@dataclass
class _Best:
    """The point of least validation loss in a level: the early-stopping point."""

    step: int = 0
    loss: float = math.inf
    model: dict[str, Tensor] = field(default_factory=dict)


class TrainingRun(CellRun):
    """One cell's training: its stages, one after the other."""

    costs = COSTS

    def __init__(
        self,
        cell: Cell,
        folder: Path,
        parents: Mapping[str, Path],
        dataset: Dataset,
        emit: Emit,
        should_stop: Callable[[], bool],
        device: str,
    ):
        super().__init__(cell, folder, emit, should_stop)
        self.settings = on_device(settings(cell.config), device)
        self.parents = {role: CellStore(path) for role, path in parents.items()}
        self.data, self.device = data_of(self.settings, dataset).to(device), device
        self.batches = batches_of(self.data, self.settings)
        self.packages = (*self.packages, *self.batches.packages)
        self.stages = list(stages_of(self.settings, self.parents, self.data))
        self.stage = 0
        self.best = _Best()
        self._charged: list[int] = []  # the counts of edges that _macs were counted for
        self._macs = 0

    # -- the whole cell -------------------------------------------------------------------------

    def work(self, saved: Mapping[str, Any] | None) -> bool:
        if saved is not None:
            self.stage = saved["stage"]
        while self.stage < len(self.stages):
            self._begin(self.stages[self.stage], saved)
            saved = None
            if not self._train():
                return False
            self.stage += 1
            if self.stage < len(self.stages):
                self.restart_costs()
        return True

    @property
    def levels(self) -> int:
        return self._level + 1

    # -- one training ---------------------------------------------------------------------------

    def _begin(self, stage: Stage, saved: Mapping[str, Any] | None) -> None:
        """Model, optimiser and session of a stage: fresh, continued, or grown from a parent."""
        s = self.settings
        training = s.training
        self.current = stage
        # passes that rules make before the first step may draw: dropout
        torch.manual_seed(rng_for(s.seed, "dropout/start").key >> 65)
        built = build(
            s,
            self.data,
            start=lambda world: stage.start(world, s),
            draw=lambda: rng_for(s.init_seed, stage.weights).torch,
            probe=self._probe(),
            span=int(training.steps or 0),
            device=self.device,
        )
        self.model, self.optimizer, self.world = built.model, built.optimizer, built.world
        self.net = built.net
        self.batches.attend(self.world.outputs)
        self.batches.restart()
        self.net.saves |= frozenset(s.saves)  # what later levels rewind to
        self._drops = any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p
                          for m in self.model.modules())  # fmt: skip
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        shapes = empty_model(s.model.name, s.model.options, self.data)
        names = [p.name for p in self.net.graph.projections]
        self.macs = flops.measure(shapes, names, self.data.train.part(slice(1))[0].to("meta"))
        self._kept: set[int] = set()
        if saved is not None:
            self._continue(saved)
        else:
            self.spent |= stage.before
            self._start_log()
            if stage.parent is not None:
                self._grow_from(stage.parent)
            if stage.twig is not None:
                steps = stage.twig.settle(self.net, self.batches, training)
                cost = flops.STEP * training.batch * self.macs.dense * steps
                for name, spent in (("updates", steps), ("train_flops_dense", cost),
                                    ("train_flops_sparse", cost)):  # fmt: skip
                    self.spent[name] += spent
        self._level = stage.level + self.net.clock.round

    def _probe(self) -> Probe:
        """What rules see of the training set before the first step: batches of a draw of their
        own, as many as hold ten examples a class; the mean loss."""
        task = self.settings.task
        targets = self.settings.training.batch * task.targets_of(self.data.shape)
        n = max(1, -(-PROBED * self.data.classes // targets))
        return Probe(
            self.batches.probe(n),
            lambda model, batch: task.loss(model(batch[0]), batch[1]),
        )

    def _continue(self, saved: Mapping[str, Any]) -> None:
        self.world.load(saved)
        for step in self.net.saves & set(self.store.snapshots):
            self.net.saved[step] = self.store.read_snapshot(step)[0]
            self._kept.add(step)
        self.net.load_state_dict(saved["net"])
        if "batches" in saved:
            self.batches.load(saved["batches"])
        best = saved["best"]
        self.best = _Best(best["step"], best["loss"], dict(best["model"]))
        if torch.get_num_threads() != saved["threads"]:
            print(
                f"cell {self.store.hash} was begun with {saved['threads']} threads and continues "
                f"with {torch.get_num_threads()}: the last digits may differ.",
                file=sys.stderr,
            )

    def _start_log(self) -> None:
        """The topology that the edit log replays from."""
        graph = self.net.graph
        self.store.write_start(self.current.level, {"keys": graph.keys}, graph.description)

    def _grow_from(self, parent: CellStore) -> None:
        """Stand where the parent's dense training ended, as if it had been this cell's level 0."""
        tree, _ = parent.read_level(0)
        self.world.load(tree.get("world", tree))
        for step in self.net.saves - {0}:
            self.net.saved[step] = {**parent.read_snapshot(step)[0], "rules": list(self.net.states)}
        row = next(e for e in parent.events() if e["event"] == "level")
        self.spent |= {k: row[k] for k in (*COSTS, *TIMES)}
        span, net = self.net.clock.span, self.net
        net.clock = net.clock._replace(step=span - 1, total=span - 1)
        net.schedule_step = net.data_step = span - 1
        net.plan()
        own = {"rule": self.cell.rule, "label": self.cell.label, "cell": self.store.hash}
        self._keep_level(0, {**row, **own})
        net.rewire()

    def _train(self) -> bool:
        """Train to the end of the stage; False when asked to stop first."""
        training, net, schedule = self.settings.training, self.net, self.settings.training.schedule
        span, every, task = net.clock.span, training.evaluate_every, self.settings.task
        assert isinstance(every, int)
        self.model.train()
        while not net.done:
            if self.should_stop():
                return False
            if schedule is not None:
                factor = schedule.at(net.schedule_step, span)
                for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                    group["lr"] = rate * factor
            if self._drops:
                seed = self.batches.seed_at(net.data_step)
                torch.manual_seed(rng_for(seed, "dropout", net.clock.total).key >> 65)
            x, y = self.batches(net.data_step)
            loss = task.learn(net, x, y)
            step = net.clock.step
            self._charge(len(y))
            if step % every == 0 or step == span:
                self._evaluate(loss)
                if step == span:
                    self._finish_level()
            net.rewire()
            if net.history.held > HELD:  # a checkpoint knows how much of the log it counts on
                self.store.edit_log.append(net.history.take())
            self.save_if_due()
        return True

    def _charge(self, batch: int) -> None:
        """Add what this step cost, by the synapses that were there."""
        net, spent = self.net, self.spent
        if self._charged != (counts := net.counts):
            self._charged = counts
            self._macs = self.macs.sparse(counts)
        spent["train_flops_dense"] += flops.STEP * batch * self.macs.dense
        spent["train_flops_sparse"] += flops.STEP * batch * self._macs
        for name, macs in (("dense", self.macs.dense), ("sparse", self._macs)):
            spent[f"train_flops_{name}"] += self.batches.looks * flops.FORWARD * batch * macs
        # the weight gradient of synapses that compute nothing is computed as well
        if net.wants_grads or net.trains_silent:
            absent = self.macs.dense - self._macs
            spent["train_flops_sparse"] += flops.FORWARD * batch * absent
        spent["updates"] += not net.skipped

    # -- what is measured -----------------------------------------------------------------------

    def _evaluate(self, train_loss: float) -> None:
        task = self.settings.task
        loss, value = task.measure(self.world, self.data.validation)
        clock, net = self.net.clock, self.net
        self._level = self.current.level + clock.round
        if not (math.isfinite(loss) and math.isfinite(train_loss)):
            self.flush()
            self.store.sync()
            where = [n for n, p in self.model.named_parameters() if not p.isfinite().all()]
            raise Diverged(
                f"{self.cell.label} (seed {self.cell.seed}) diverged by step {clock.step} of level "
                f"{self._level}: training loss {train_loss:.4g}, validation loss {loss:.4g}"
                + (f", numbers lost in {', '.join(where)}" if where else "")
                + ". Lower the learning rate."
            )
        if loss < self.best.loss:
            self.best = _Best()  # two copies of a model may be more than there is room for
            self.best = _Best(clock.step, loss, self.world.model_state())
        self.note_times()
        self.batches.note(value)
        event = {
            "event": "eval",
            "level": self._level,
            "round": clock.round,
            "step": clock.step,
            "total": clock.total,
            "train_loss": train_loss,
            "val_loss": loss,
            task.judged_by.validation: value,
            "edges": net.edges,
            "formed": net.history.formed,
            "dropped": net.history.dropped,
            "seconds": self.spent["seconds"],
            **self.batches.columns(),
        }
        self.record(event, steps=clock.span, levels=self._levels())
        self._last = (loss, value)

    def _levels(self) -> int:
        rungs = next((len(s["ladder"]) for s in self.net.states if "ladder" in s), 0)
        return max(rungs + 1, len(self.stages))

    def _finish_level(self) -> None:
        """Test at the end and at the early-stopping point, and write the level down."""
        net, tested = self.net, self._tested()
        self.note_times()
        history, metric = net.history, self.settings.task.judged_by
        values = {
            **self._judged,
            "requested_density": self._requested(),
            "density": net.density,
            "edges": net.edges,
            "possible": net.world.space.possible,
            "step": net.clock.step,
            "early_stop_step": self.best.step,
            **tested,
            **self._on_training_set(),
            "val_loss": self._last[0],
            metric.validation: self._last[1],
            **self.batches.columns(),
            **self.spent,
            "formed": self.spent["formed"] + history.formed,
            "dropped": self.spent["dropped"] + history.dropped,
            "substrate": form_of(self.world.forms),
            "weights": net.coverage.weights,
        }
        row = self.level_row(self._level, values)
        self._keep_level(self._level, row)
        self.best = _Best()
        self.batches.restart()

    def _on_training_set(self) -> dict[str, float]:
        """Loss and metric on the examples as they are stored, where the cell asks for them."""
        task = self.settings.task
        if not self.settings.training.evaluate_train:
            return {}
        loss, value = task.measure(self.world, self.data.train)
        return {"train_loss": loss, task.judged_by.train: value}

    def _tested(self) -> dict[str, float]:
        """The metrics of the test part, by column, and what a spiking network computes of it."""
        with synops.counted(self.model, self._events) as events:
            at_end = at_best = self._test()
        if self.best.step != self.net.clock.step:
            end = self.world.model_state()
            self.world.show(self.best.model)
            at_best = self._test()
            self.world.show(end)
        metrics = {metric.key: metric for metric in self.settings.task.metrics}
        return {
            **{metrics[key].test: value for key, value in at_end.items()},
            **{metrics[key].at_early_stop: value for key, value in at_best.items()},
            **events.columns,
        }

    @property
    def _events(self) -> Graph | None:
        """The synapses that carry spikes; None where no layer by itself sees them."""
        seen = synops.is_spiking(self.model) and not self.settings.compile
        return self.net.graph.effective() if seen else None

    def _test(self) -> dict[str, float]:
        """The metrics of the test part by key, the one that the task is judged by first."""
        task, test = self.settings.task, self.data.test
        return {task.metric: task.measure(self.world, test)[1], **task.beside(self.world, test)}

    @property
    def _judged(self) -> dict[str, str]:
        """Task and metric, in rows of another task than classification."""
        task = self.settings.task
        if task == Classification():
            return {}
        return {"task": table_of(task)["name"], "metric": task.metric}

    def _keep_level(self, level: int, row: Mapping[str, Any]) -> None:
        graph = self.net.graph.effective()
        tree: dict[str, Any] = {"keys": graph.keys, "weight": graph["weight"]}
        if row["requested_density"] is not None:
            tree |= self._model_tree()
        self.store.write_level(level, tree, graph.description)
        self.record(row)

    def _model_tree(self) -> dict[str, Any]:
        """The model in its own form, and of a dense training what others go on from."""
        state = self.world.model_state()
        if self.settings.world == "masked":
            more = {"optimiser": self.optimizer.state_dict()} if self.cell.rule == "Dense" else {}
            return {"model": state, **more}
        more = {"world": self.world.snapshot()} if self.cell.rule == "Dense" else {}
        if self.world.space.possible > TOO_MANY:
            return more
        graph = self.net.graph
        weights = {p.name: graph.dense(i) for i, p in enumerate(graph.projections)}
        rest = {name: value for name, value in state.items() if not name.startswith("rewire.")}
        return {"model": {**rest, **weights}, **more}

    def _requested(self) -> float | None:
        """The density asked for; None where a level is only a rung of the ladder."""
        edges, possible = self.net.edges, self.net.world.space.possible
        if self.current.density is not None:
            # a branch may have other edges than its ticket, such as those that the ticket lacks
            planned = self.current.twig is None or edges == self.current.twig.row["edges"]
            return self.current.density if planned else self.net.density
        wanted = {round(d * possible): d for d in (1.0, *self.settings.densities)}
        return wanted.get(edges)

    # -- what is kept ---------------------------------------------------------------------------

    def flush(self) -> None:
        for step in self.net.saved.keys() - self._kept - {0}:  # step 0 is made again from the seed
            self.store.write_snapshot(step, self.net.saved[step])
            self._kept.add(step)
        self.store.edit_log.append(self.net.history.take())

    def state(self) -> dict[str, Any]:
        batches = self.batches.state()
        return {
            "stage": self.stage,
            **({"batches": batches} if batches else {}),
            **self.world.snapshot(),
            "net": self.net.state_dict(history=False, saved=False),
            "best": vars(self.best),
            "threads": torch.get_num_threads(),
        }
