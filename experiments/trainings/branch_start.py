"""How a branch cell starts: from the files of the cell that it branches off.

What a branch *is* says its class in `rewire.branches.kinds`; here its ticket is read, and model,
optimiser and clock are put where it begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rewire import rng_for
from rewire.branches import operations
from rewire.branches.kinds import Branch, Pretrained, Ticket
from rewire.graph import Edit, Graph, Space

from ..building import build_model, build_optimizer
from ..data import Dataset
from ..errors import StoreError
from ..store import CellStore
from .settings import Settings, settings

if TYPE_CHECKING:
    from rewire.rule import Rule
    from rewire.session import Session
    from rewire.world import Trainable

    from ..config.schema import Data

TURNS = 4  # classes of the rotation task


def table_of_data(s: Settings) -> Data:
    """What a cell trains on: the experiment's data, unless its ticket is transferred.

    >>> from rewire.experiments.trainings.settings import settings
    >>> config = {"schema": 1, "kind": "branch", "rule": {"rule": "Transfer", "data": "mnist5k"},
    ...           "model": {"name": "mlp"}, "data": {"name": "mnist"}, "seed": 0, "batch": 8,
    ...           "steps": 9, "optimizer": {"name": "sgd", "lr": 0.1}}
    >>> table_of_data(settings(config)).name
    'mnist5k'
    """
    name = s.rule.data if isinstance(s.rule, Branch) else None
    return s.data.of_name(name) if name else s.data


def data_of(s: Settings, dataset: Dataset) -> Dataset:
    """The data set that a cell trains on, where ``dataset`` is the experiment's."""
    table = table_of_data(s)
    return dataset if table is s.data else table.load()


def twigs(s: Settings, ticket: CellStore, other: CellStore | None, data: Dataset) -> Iterator[Twig]:
    """One for each level of the ticket's cell at a density that the branch is planned for."""
    for row in ticket.events():
        if row["event"] == "level" and row["requested_density"] in s.densities:
            yield Twig(s, ticket, other, row, data)
            if s.rule.once:
                return


@dataclass(frozen=True)
class Twig:
    """A branch at one of the levels of the cell that it branches off."""

    settings: Settings
    store: CellStore
    other: CellStore | None
    row: Mapping[str, Any]
    data: Dataset  # for the shapes of the model

    @property
    def branch(self) -> Branch:
        return self.settings.rule

    @property
    def level(self) -> int:
        return self.row["level"]

    @property
    def stream(self) -> str:
        """The label of the stream that the model is drawn from."""
        return f"reinit/{self.level}" if self.branch.begins == "fresh" else "model"

    @cached_property
    def rewind(self) -> int:
        """The step of the ticket's training that it begins at."""
        return self.branch.starts_at(self._of)

    @cached_property
    def _of(self) -> Rule:
        """The rule that left the ticket."""
        return settings(self.store.cell()["config"]).rule

    def _rng(self, what: str) -> Any:
        return rng_for(self.settings.seed, f"branch/{self.branch.name}/{what}", self.level)

    # -- what it starts from --------------------------------------------------------------------

    def graph(self, world: Trainable, s: Settings) -> Graph:
        """The edges to train."""
        return self.branch.mask(self._ticket(world.space), self._rng("mask"))

    def _keys(self, store: CellStore, space: Space) -> Graph:
        wanted = self.row["requested_density"]
        for row in store.events():
            if row["event"] == "level" and row["requested_density"] == wanted:
                return Graph(space, store.read_level(row["level"])[0]["keys"])
        raise StoreError(f"{store.path}: has no level at density {wanted}")

    def _ticket(self, space: Space) -> Ticket:
        graph = self._keys(self.store, space)
        other = self._keys(self.other, space) if self.other is not None else None
        if self.settings.world != "masked":  # only masks are asked for
            return Ticket(graph, other=other)
        flat = partial(_flat, space)
        return Ticket(
            graph,
            initial=flat(self._drawn("model")),
            early=flat(self._early["model"]),
            fresh=flat(self._drawn(f"reinit/{self.level}")),
            final=flat(self._final["model"]) if self.branch.asks_dense else None,
            other=other,
        )

    def _drawn(self, stream: str) -> dict[str, Tensor]:
        model = self.settings.model
        generator = rng_for(self.settings.init_seed, stream).torch
        return build_model(model.name, model.options, self.data, generator).state_dict()

    @cached_property
    def _early(self) -> Mapping[str, Any]:
        """Model and optimiser at the step of the rewind."""
        if not self.rewind:
            return {"model": self._drawn("model")}
        return self.store.read_snapshot(self.rewind)[0]

    @cached_property
    def _final(self) -> Mapping[str, Any]:
        """The model at the end of the dense training, which is a ladder's level 0."""
        return self.store.read_level(0)[0]

    # -- putting everything there ---------------------------------------------------------------

    def settle(self, net: Session, batches: Any, training: Any) -> int:
        """Stand where the branch begins; how many dense steps of another task that took."""
        branch = self.branch
        if branch.begins == "fresh":
            return 0
        if self.settings.world != "masked":
            self._go_back(net)
            return 0
        world, graph = net.world, net.graph
        base = dict(self._final if branch.begins == "end" else self._early)
        ticket, steps = self._ticket(graph.space), 0
        if isinstance(branch, Pretrained):
            steps = branch.steps or self.rewind
            base["model"] = self._pretrained(branch, steps, world, batches, training, graph.space)
            ticket = Ticket(graph, early=_flat(graph.space, base["model"]))
        keeps = branch.keeps_moments(self._of) and "optimiser" in base
        world.restore(base, frozenset({"model", "optimiser"} if keeps else {"model"}), graph)
        weight = branch.weights(ticket, graph, self._rng("weights"))
        net.edit(Edit(set={"weight": weight.to(graph["weight"].dtype)}))
        step = self.rewind if branch.restores else 0
        net.clock = net.clock._replace(step=step, total=step)
        span = net.clock.span
        net.data_step, net.schedule_step = (step, step) if branch.restores else (span, span - 1)
        return steps

    def _go_back(self, net: Session) -> None:
        """Stand where the ticket's training began, in a world that keeps weights of edges alone."""
        if self.rewind:  # the model is drawn as it was at step 0
            graph = net.graph
            moments = {"optimiser"} if self.branch.keeps_moments(self._of) else set()
            net.world.restore(self._early, frozenset({"model", *moments}), graph)
            net.edit(Edit(set={"weight": net.world.read(graph)["weight"]}))
        net.clock = net.clock._replace(step=self.rewind, total=self.rewind)
        net.data_step = net.schedule_step = self.rewind

    def _pretrained(
        self, branch: Pretrained, steps: int, world: Any, batches: Any, training: Any, space: Space
    ) -> dict[str, Tensor]:
        """The model after ``steps`` of the branch's task, dense, from the initialisation."""
        start, model = self._drawn("model"), world.model
        model.load_state_dict(start)
        optimizer = build_optimizer(training.optimizer, model.parameters())
        rates = [group["lr"] for group in optimizer.param_groups]
        labels = operations.random_labels(batches.split.y, self.data.classes, self._rng("labels"))
        model.train()
        for step in range(steps):
            if training.schedule is not None:
                factor = training.schedule.at(step, training.steps)
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * factor
            torch.manual_seed(rng_for(self.settings.seed, "pretraining/dropout", step).key >> 65)
            x, y = batches(step)
            rng, outputs = rng_for(self.settings.seed, "pretraining", step), self.data.classes
            if branch.task == "blurred":
                x = operations.blurred(x)
            elif branch.task == "rotation":
                (x, y), outputs = operations.rotated(x, rng), TURNS
            else:
                y = labels[batches.rows(step)]
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(x)[:, :outputs], y).backward()
            if training.clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), training.clip)
            optimizer.step()
        state = {name: value.detach().clone() for name, value in model.state_dict().items()}
        if branch.task == "rotation":
            head = space.projections[-1].name.rpartition(".")[0]
            state |= {n: v for n, v in start.items() if n.rpartition(".")[0] == head}
        return state


def _flat(space: Space, state: Mapping[str, Tensor]) -> Tensor:
    """The weights of a model's state at every possible synapse, (possible,)."""
    return torch.cat([state[p.name].detach().reshape(-1).cpu() for p in space.projections])
