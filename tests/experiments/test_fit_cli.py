"""`rewire fit`: the same numbers as from Python, limits from files and pairs, and exit codes."""

import json

import pytest
import torch
from digits_run import HEADER

import rewire
from rewire.analysis.examples import two_layers
from rewire.experiments import cli
from rewire.hardware import fit

RULES = 'rules = ["Dense", "Static"]'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit-cli")
    header = HEADER.replace("SUBSTRATE", "masked").replace("DENSITIES", "0.1")
    (folder / "e.toml").write_text(header + RULES)
    words = ["run", str(folder / "e.toml"), "--out", str(folder / "out"), "-j", "0", "steps=2"]
    assert cli.main([*words, "evaluate_every=2"]) == 0
    return folder / "out"


@pytest.fixture
def file(tmp_path):
    graph = two_layers()
    weights = torch.linspace(-1, 1, len(graph))
    graph.with_columns({"weight": weights}).save(tmp_path / "mine.npz")
    return tmp_path / "mine.npz"


def said(capsys, *words, code=0):
    capsys.readouterr()
    assert cli.main(["fit", *map(str, words)]) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_a_file_is_placed_as_from_python(file, capsys):
    (row,) = json.loads(said(capsys, file, "--target", "loihi1", "--json"))
    graph = rewire.files.read_graph(file)
    assert row.pop("file") == str(file)
    assert row == json.loads(json.dumps(fit(graph, "loihi1").to_dict()))
    text = said(capsys, file, "--target", "loihi1")
    assert str(fit(graph, "loihi1")) in text and "MAX_IN_AXONS" in text


def test_a_network_that_does_not_fit_is_no_error(file, capsys):
    assert "fan_in: 2 in hidden, 1 more than 1" in said(capsys, file, "fan_in=1")
    (row,) = json.loads(said(capsys, file, "fan_in=1", "--json"))
    assert row["fits"] is False and row["overflows"][0]["limit"] == "fan_in"


def test_limits_come_from_a_file_and_pairs_replace_them(file, capsys, tmp_path):
    (tmp_path / "board.json").write_text('{"weight_bits": 4, "synapse_bits": 12, "chips": 3}')
    words = ["--target", "generic", "--limits", tmp_path / "board.json"]
    (row,) = json.loads(said(capsys, file, *words, "weight_bits=5", "chips=none", "--json"))
    assert row["limits"] == {"weight_bits": 5, "synapse_bits": 12}
    assert set(row["sources"].values()) == {"stated by the caller"}


def test_every_graph_of_a_run_has_a_row(folder, capsys):
    rows = json.loads(said(capsys, folder, "--json"))
    cells = {cell.hash: cell for cell in rewire.open(folder).find()}
    assert {row["label"] for row in rows} == {"Dense", "Static"}
    for row in rows:
        assert row["bytes"] == fit(cells[row["cell"]].graph()).bytes
    table = said(capsys, folder, "chips=1", "cores_per_chip=1")
    assert table.count("chips of the whole network") == 2
    one = said(capsys, folder, "--rule", "Static")
    assert "It fits SpiNNaker 1" in one


def test_what_is_not_there_is_refused_by_its_exit_code(file, capsys, tmp_path):
    assert "did you mean 'spinnaker1'" in said(capsys, file, "--target", "spinnaker", code=2)
    assert "did you mean 'chips'" in said(capsys, file, "chip=2", code=2)
    assert "key=value" in said(capsys, file, "48", code=2)
    assert "no.json" in said(capsys, file, "--limits", tmp_path / "no.json", code=2)
    (tmp_path / "bad.npz").write_text("no archive")
    assert "bad.npz" in said(capsys, tmp_path / "bad.npz", code=3)
    graph = two_layers()
    sick = graph.with_columns({"weight": torch.full((len(graph),), float("nan"))})
    sick.save(tmp_path / "sick.npz")
    assert "7 of 7 weights are NaN" in said(capsys, tmp_path / "sick.npz", code=3)
