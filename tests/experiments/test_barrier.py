"""The error on the line between two networks: its numbers, its pairs, and what is refused."""

import json

import pytest
import torch

pytest.importorskip("sklearn")

from copies_run import trained

import rewire
from rewire.experiments import cli
from rewire.experiments.choice import Choice
from rewire.experiments.errors import ConfigError, StoreError
from rewire.experiments.interpolation import Barrier, between, line, pairs_at, pairs_of
from rewire.experiments.opened.evaluating import judge_of
from rewire.experiments.reproduction import analyses

BASE = {
    "name": "copies",
    "model": {"name": "mlp", "hidden": [24]},
    "data": "digits",
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    "batch": 50,
    "steps": 60,
    "evaluate_every": 60,
    "densities": [0.3],
    "seeds": 2,
}
OTHER = {"train": {"seeds_apart": {"data": 100}}}
RULES = [
    "Dense",
    {"rule": "IMP", "rewind": 5, "fraction": 0.9},
    {"rule": "Sibling", "label": "Dense, again", "of": "Dense", "step": 20},
    {"rule": "Sibling"},
    "RandomMask",
    {"rule": "RandomMask", "label": "RandomMask, again", **OTHER},
    "RandomReinit",
    {"rule": "RandomReinit", "label": "RandomReinit, again", **OTHER},
    "SET",
]


def made(out, **more):
    return trained(out, {**BASE, **more})


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """A run with copies of its networks."""
    return rewire.open(made(tmp_path_factory.mktemp("copies") / "masked", rules=RULES))


def test_a_line_is_looked_at_in_the_sparse_world_too(tmp_path):
    run = rewire.open(made(tmp_path / "out", rules=RULES[:4], world="sparse", seeds=1))
    (dense, ticket) = sorted(pairs_of(run), key=lambda pair: pair.first.label)
    tested = [1 - cell.results[-1]["test_accuracy"] for cell in (ticket.first, ticket.second)]
    bar = between(ticket.first, ticket.second, points=3)
    assert [bar.errors["test"][i] for i in (0, -1)] == pytest.approx(tested)
    assert (ticket.density, dense.density, dense.step) == (0.3, 1.0, 20)


def test_copies_of_a_run_are_paired_with_what_they_copy(copies):
    pairs = {(p.first.label, p.second.label, p.density, p.first.seed): p.step
             for p in pairs_of(copies)}  # fmt: skip
    expected = {
        ("Dense", "Dense, again", 1.0): 20,
        ("IMP", "Sibling", 0.3): 5,
        ("RandomMask", "RandomMask, again", 0.3): 5,
        ("RandomReinit", "RandomReinit, again", 0.3): 0,
    }
    assert pairs == {(*key, seed): step for key, step in expected.items() for seed in (0, 1)}


def test_the_line_has_the_errors_of_its_ends_and_of_their_mean(copies):
    ends = [copies.cell(rule=label, seed=0) for label in ("Dense", "Dense, again")]
    bar = between(*ends, points=3, parts=["test", "validation"])
    tested = [1 - cell.results[-1]["test_accuracy"] for cell in ends]
    assert [bar.errors["test"][i] for i in (0, -1)] == pytest.approx(tested)
    model, states = ends[0].model(), [cell.model().state_dict() for cell in ends]
    model.load_state_dict({n: (v + states[1][n]) / 2 for n, v in states[0].items()})
    middle = 1 - judge_of(ends[0]).measure(model)[1]
    assert bar.errors["test"][1] == pytest.approx(middle)
    assert bar.height() == pytest.approx(max(*tested, middle) - sum(tested) / 2)
    assert between(ends[0], ends[0], points=3).height() == 0


def test_the_verdict_is_that_of_the_papers_bound():
    for top, stable in ((0.1199, True), (0.1201, False)):
        assert Barrier((0.0, 0.5, 1.0), {"test": (0.09, top, 0.11)}).stable is stable


def test_batch_norms_are_made_anew_on_the_line_or_go_along_with_the_weights():
    """In the middle of two networks of opposite units running variances are those of no network."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    first = {n: v.clone() for n, v in model.state_dict().items()}
    second = {n: -v if n == "0.weight" else v for n, v in first.items()}
    second["1.running_var"] = first["1.running_var"] * 3
    line._stand(model, first, second, 0.5, [])
    assert torch.equal(model[1].running_var, first["1.running_var"] * 2)
    line._stand(model, first, second, 0.25, [x])
    now = torch.nn.functional.linear(x, first["0.weight"] / 2, first["0.bias"])
    assert torch.allclose(model[1].running_var, now.var(0), rtol=1e-4) and not model.training
    line._stand(model, first, second, 1.0, [])
    assert all(torch.equal(v, second[n]) for n, v in model.state_dict().items())


def test_two_runs_are_paired_by_label_density_and_seed(copies, tmp_path):
    other = made(tmp_path / "other", rules=["Dense"], seeds=1, seeds_apart={"data": 7})
    (pair,) = pairs_at([copies.path, other], Choice())
    assert (pair.first.label, pair.second.label, pair.density, pair.step) == (
        "Dense", "Dense", 1.0, None
    )  # fmt: skip
    errors = between(pair.first, pair.second, points=3).errors["train"]
    assert errors[0] != errors[-1]


def test_the_analysis_of_a_paper_measures_every_pair(copies):
    table = {"points": 3, "train": True, "labels": ["IMP", "RandomReinit"]}
    rows = analyses.of_table("Barrier", table).rows(copies)
    assert [(r["label"], r["rule"], r["density"], r["seed"], r["k"]) for r in rows] == [
        ("IMP", "IMP", 0.3, 0, 5), ("IMP", "IMP", 0.3, 1, 5),
        ("RandomReinit", "RandomReinit", 0.3, 0, 0), ("RandomReinit", "RandomReinit", 0.3, 1, 0),
    ]  # fmt: skip
    (cell,) = copies.find(rule="IMP", seed=1, density=0.3)
    (copy,) = copies.find(rule="Sibling", seed=1, density=0.3)
    bar = between(cell, copy, points=3)
    assert (rows[1]["barrier"], rows[1]["train_barrier"]) == (bar.height(), bar.height("train"))
    assert rows[1]["stable"] == float(bar.stable) and rows[1]["error"] == bar.ends()


def test_the_command_prints_draws_and_writes_json(copies, tmp_path, capsys):
    run, svg = str(copies.path), tmp_path / "lines.svg"
    assert cli.main(["barrier", run, "--seed", "0", "--points", "5", "--svg", str(svg)]) == 0
    said = capsys.readouterr().out
    assert "Dense, again" in said and "stable" in said and "4 lines in" in said
    assert svg.read_bytes().startswith(b"<?xml")
    words = ["--rule", "IMP", "--points", "5", "--part", "test", "--examples", "50", "--json"]
    assert cli.main(["barrier", run, *words]) == 0
    rows = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [r["seed"] for r in rows] == [0, 1] and rows[0]["alphas"] == [0, 0.25, 0.5, 0.75, 1]
    errors = rows[0]["test_errors"]
    assert rows[0]["test_barrier"] == pytest.approx(max(errors) - (errors[0] + errors[-1]) / 2)
    assert all(round(50 * error, 9) == round(50 * error) for error in errors)
    ends = [str(copies.cell(rule=label, seed=0).path) for label in ("Dense", "Dense, again")]
    assert cli.main(["barrier", *ends, "--points", "3"]) == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["RUN", "--rule", "Nobody"], 2, "none of which fits rule=Nobody"),
        (["RUN", "--points", "2"], 2, "3 points or more"),
        (["RUN", "--examples", "0"], 2, "examples is 0"),
        (["RUN", "--part", "tset"], 2, "'tset' (did you mean 'test'?)"),
        (["RUN", "--norms", "none"], 2, "way to treat batch norms"),
        (["RUN", "--level", "1"], 2, "--level and --step choose no other"),
        (["RUN", "RUN", "RUN"], 2, "3 were named"),
        (["RUN", "IMP"], 2, "a cell is compared with a cell"),
        (["IMP", "SET"], 2, "have other masks"),
        (["IMP", "Dense"], 2, "0 pairs of finished trainings"),
        (["RUN", "--svg", "lines.txt"], 2, "a picture is a file .svg"),
        (["RUN", "--svg", "/nowhere/lines.svg"], 5, "there is no folder"),
        (["/nowhere"], 5, "is not there"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(copies, words, code, said, capsys):
    places = {n: copies.find(n, seed=0)[0].path for n in ("IMP", "SET", "Dense")}
    places["RUN"] = copies.path
    assert cli.main(["barrier", *(str(places.get(word, word)) for word in words)]) == code
    assert said in capsys.readouterr().err


def test_networks_of_other_layers_data_or_tasks_are_refused(copies, tmp_path):
    dense = copies.cell(rule="Dense", seed=0)
    for name, changes, said in (
        ("wide", {"model": {"name": "mlp", "hidden": [25]}}, "have other layers"),
        ("held", {"data": {"name": "digits", "validation": 100}}, "have other data"),
    ):
        out = made(tmp_path / name, rules=["Dense"], seeds=1, steps=2, evaluate_every=2, **changes)
        with pytest.raises(ConfigError, match=said):
            between(dense, rewire.open(out).cell(rule="Dense"))
    with pytest.raises(StoreError, match="is not there"):
        pairs_at([tmp_path / "none"], Choice())
