"""The listings of docs/extending.md run in order, as one module, and do what the page says."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from rewire import hardware, limits, models, plugins, rules
from rewire.experiments import cli, data, kinds, store, tasks
from rewire.experiments.data import sources
from rewire.experiments.engines import registry as engines
from rewire.experiments.report import measures, sections
from rewire.worlds import registry

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")


def listings(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def mine() -> dict[str, object]:
    namespace: dict[str, object] = {"__name__": "mine"}
    for listing in listings("python"):
        exec(compile(listing, "docs/extending.md", "exec"), namespace)
    return namespace


class Point:
    def __init__(self, name: str, value: str, mine: dict[str, object]):
        self.name, self.value = name, value
        self._loaded = mine[value.partition(":")[2]]

    def load(self) -> object:
        return self._loaded


def test_every_entry_point_of_the_page_is_known_by_name(mine, monkeypatch) -> None:
    table, experiment = listings("toml")
    groups = tomllib.loads(table)["project"]["entry-points"]

    def installed(group: str) -> list[Point]:
        named = groups.get(group, {}).items()
        return [Point(name, value, mine) for name, value in named if ":" in value]

    for module in (plugins, sources):
        monkeypatch.setattr(module, "entry_points", installed)
    assert rules.get("Restless") is mine["Restless"]
    assert limits.available()["EvenKeys"] is mine["EvenKeys"]
    assert data.load("bars").shape == (1, 4, 4)
    assert data.available()["bars"].present
    assert set(groups) >= {"rewire.rules", "rewire.limits", "rewire.datasets", "rewire.models"}
    assert tasks.of_table("robust") == mine["Robust"]()
    assert registry.get("regression") is mine["Regression"]
    assert models.ENTRY_POINTS in groups
    assert hardware.named("board").core_bytes == 32 * 1024
    assert [measure.of for measure in measures.installed_measures()] == [mine["reciprocity"]]
    assert [s.show for s in sections.installed_sections()] == [mine["edges_of_rules"]]
    assert type(engines.engine("processes", workers=2)) is mine["Processes"]
    asked = kinds.parse({"name": "page", **tomllib.loads(experiment)})
    assert {cell.config["world"] for cell in kinds.plan(asked)} == {"regression"}


def test_the_engine_of_the_page_trains_what_local_trains(mine, monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(engines.ENGINES, "processes", mine["Processes"])
    command = ["run", "quickstart", "rules=[Dense,IMP]", "steps=5", "evaluate_every=5", "seeds=1",
               "densities=[.5]", "data=digits"]  # fmt: skip
    rows = {}
    for name in ("local", "processes"):
        out = str(tmp_path / name)
        assert cli.main([*command, "--engine", name, "--workers", "2", "--out", out]) == 0
        rows[name] = store.without_times(store.results(out))
    assert rows["processes"] == rows["local"] != []


def test_the_world_of_the_page_is_the_one_that_every_rule_is_tried_in() -> None:
    source = Path(__file__).parent / "worlds" / "regression_world.py"
    listing = next(text for text in listings("python") if "class Regression" in text)
    assert source.read_text(encoding="utf-8").endswith(listing)


def test_the_measure_of_the_page_counts_edges_that_run_both_ways(mine) -> None:
    from rewire.graph import Graph, Population, Projection, Space

    space = Space([Population("a", 3)], [Projection("w", "a", "a", "linear", (3, 3))])
    both_ways = Graph.from_masks(space, {"w": np.array([[0, 1, 0], [1, 0, 0], [1, 0, 0]])})
    assert mine["reciprocity"](both_ways) == pytest.approx(2 / 3)
