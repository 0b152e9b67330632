"""rewire.open: a run's tables, cells, graphs and models, from Python."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from digits_run import HEADER

import rewire
from rewire import edit_log
from rewire.experiments import cli, frames
from rewire.experiments.data import load
from rewire.experiments.errors import ConfigError, StoreError
from rewire.experiments.runner import run_experiment

RULES = """
rules = [
    "Dense", "IMP", "SET", { rule = "SET", label = "SET often", when = { every = 10 } },
    "EdgePopup", "RandomReinit",
]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("opened")
    header = HEADER.replace("SUBSTRATE", "masked").replace("DENSITIES", "0.3, 0.1")
    (folder / "e.toml").write_text(header.replace("seeds = 1", "seeds = 2") + RULES)
    code = cli.main(["run", str(folder / "e.toml"), "--out", str(folder / "out"), "-j", "0"])
    assert code == 0
    return folder / "out"


@pytest.fixture(scope="module")
def run(folder):
    return rewire.open(folder)


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_tables_and_cells_need_no_torch(folder):
    code = f"""
import sys, rewire
run = rewire.open({str(folder)!r})
assert len(run.rows()) == 42 and len(run.query("SELECT * FROM cells")) == len(run) == 18
cell = run.cell("IMP", density=0.1, seed=1)
assert cell.config["seed"] == 1 and cell.results and cell.evals and cell.metrics
repr(run), run._repr_html_(), cell._repr_html_()
assert "torch" not in sys.modules and "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_everything_hides_no_builtin():
    assert "open" not in rewire.__all__ and "open" in dir(rewire)


def test_a_table_of_pandas_has_every_row_and_column(run):
    pytest.importorskip("pandas")
    table = run.table()
    assert len(table) == 42 and set(table.columns) == set(run.rows()[0])
    assert table.groupby("label").size()["IMP"] == 24
    assert run.table("evals")["step"].max() == 80
    assert list(run.table("cells")["status"].unique()) == ["finished"]


def test_without_pandas_the_message_says_how_to_install_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r'pip install "neurorewire\[tables\]", or take rows'):
        run.table()


def test_parquet_comes_back(run, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frames.write_parquet(run.rows(), tmp_path / "r.parquet")
    pandas.testing.assert_frame_equal(pandas.read_parquet(tmp_path / "r.parquet"), run.table())


def test_a_query_answers_as_the_rows_do(run):
    answer = run.query(
        "SELECT label, COUNT(*) AS n, AVG(test_accuracy) AS mean FROM results "
        "WHERE requested_density < 1 GROUP BY label ORDER BY label"
    )
    rows = [r for r in run.rows() if r["requested_density"] and r["requested_density"] < 1]
    for line in answer:
        values = [r["test_accuracy"] for r in rows if r["label"] == line["label"]]
        assert line["n"] == len(values) and line["mean"] == pytest.approx(np.mean(values))
    assert len(answer) == 5
    named = run.query('SELECT "seed" AS "the seed" FROM cells ORDER BY "the seed" LIMIT 1')
    assert named == [{"the seed": 0}]
    joined = run.query("SELECT r.seed, c.seed FROM results r JOIN cells c USING (cell)")
    assert len(joined) == 42 and all(row["seed"] == row["seed_2"] for row in joined)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT * FROM result", r"no such table: result \(did you mean 'results'\?\); there are"),
        ("SELECT edge FROM results", r"no such column: edge \(did you mean 'edges'\?\)"),
        ('SELECT "edge" FROM results', r"no such column: \"edge\" \(did you mean 'edges'\?\)"),
        ('SELECT seed FROM cells WHERE rule = "SETT"', "text stands in single quotes"),
        ("DELETE FROM results", "does more than read: only SELECT is allowed"),
        ("ATTACH 'x.db' AS x", "does more than read"),
        ("PRAGMA table_info(results)", "does more than read"),
        ("SELECT 1; SELECT 2", "cannot be answered: .*one statement at a time"),
        ("", "is empty: it takes one SELECT"),
        ("SELEC 1", "syntax error"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused(run, sql, message):
    with pytest.raises(ConfigError, match=message):
        run.query(sql)


def test_a_damaged_index_answers_no_query_wrongly(copied):
    import sqlite3

    before = rewire.open(copied).query("SELECT SUM(edges) AS n FROM results")
    with sqlite3.connect(copied / "index.sqlite") as db:
        db.execute(
            "UPDATE levels SET edges = 1, json = replace(json, '\"edges\": ', '\"edges\": 9')"
        )
    db.close()
    assert rewire.open(copied).query("SELECT SUM(edges) AS n FROM results") == before


def test_a_cell_is_found_by_label_then_by_rule(run):
    assert run.cell("SET", 0.3, 0).label == "SET"
    assert run.cell("SET often", 0.3, 0).rule == "SET"
    assert run.cell(rule="SET often", seed=1, density=0.1, when={"every": 10}).seed == 1
    assert len(run.find("SET")) == 4 and len(run.find(batch=50)) == 18
    assert run.cell(cell=run.cells[3].hash) is run.cells[3]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rule": "SETT"}, r"no cell of .* fits rule='SETT' \(did you mean 'SET'\?\); there are"),
        ({"rule": "SET", "density": 0.2}, r"fits rule='SET', density=0.2; there are Dense \(dens"),
        ({"rule": "SET"}, r"4 cells of .* fit rule='SET': SET \(density 0.3, seed 0, cell "),
        ({"bach": 50}, r"has a field 'bach' \(did you mean 'batch'\?\); there are cell, label"),
    ],
)
def test_no_cell_and_several_are_told(run, fields, message):
    with pytest.raises(ConfigError, match=message):
        run.cell(**fields)


def test_a_ladder_stands_at_the_density_it_was_looked_for_with(run):
    at = {d: run.cell("IMP", density=d, seed=0).graph() for d in (0.3, 0.1)}
    assert {d: len(g) for d, g in at.items()} == {0.3: 624, 0.1: 208}
    assert set(at[0.1].keys.tolist()) < set(at[0.3].keys.tolist())
    assert len(run.cell("RandomReinit", density=0.3, seed=0).start) == 624


def test_the_graph_of_a_step_has_the_edits_of_earlier_steps(run):
    cell = run.cell("SET often", density=0.1, seed=0)
    keys, states = cell.start.keys.numpy(), {0: cell.start.keys.numpy()}
    for record in edit_log.parse(cell.store.edit_log.read()):
        keys = np.sort(np.concatenate([np.delete(keys, record.drop), record.add]))
        states[record.total + 1] = keys
    assert len(states) == 8  # every tenth step of 80 but the last
    for step in (0, 1, 10, 11, 45, 71, 79):
        at = states[max(s for s in states if s <= step)]
        graph = cell.graph(step=step)
        assert graph.keys.tolist() == at.tolist() and not graph.columns
    one_pass = dict(cell.graphs(every=15))
    assert list(one_pass) == [0, 15, 30, 45, 60, 75, 80]
    for step, graph in one_pass.items():
        assert graph.keys.tolist() == cell.graph(step=step).keys.tolist()
    assert one_pass[80].keys.tolist() == cell.graph().keys.tolist()
    assert "weight" in cell.graph(step=80).columns and cell.levels == {0: 80}
    assert len(cell.history) == 7 and cell.history.rules == ["0.SET"]
    assert cell.history.start.tolist() == cell.start.keys.tolist()


def test_the_graphs_of_a_ladder_end_at_its_density(run):
    graphs = dict(run.cell("IMP", density=0.3, seed=1).graphs(every=80))
    assert list(graphs)[-1] == 560 and len(graphs[560]) == 624 and len(graphs[0]) == 2080


@pytest.mark.parametrize(
    ("label", "ask", "message"),
    [
        ("SET", {"step": 81}, "has the steps 0 to 80; step 81 was asked for"),
        ("SET", {"level": 3}, "has no saved level 3; it has 0"),
        ("SET", {"step": 3, "level": 0}, "step=3 and level=0 were both given"),
        ("EdgePopup", {"step": 3}, "silent edges.* only the ends of levels are known, steps 80"),
        ("RandomReinit", {"step": 3}, "trains from 2 starts.* give level=, one of 6, 11"),
    ],
)
def test_steps_that_cannot_be_had_are_refused(run, label, ask, message):
    with pytest.raises(ConfigError, match=message):
        run.find(label, density=0.3, seed=0)[0].graph(**ask)


@pytest.mark.parametrize("label", ["Dense", "IMP", "SET often", "EdgePopup", "RandomReinit"])
def test_the_model_is_the_one_that_was_tested(run, label):
    test = load("digits").test
    density = 1.0 if label == "Dense" else 0.1
    cell = run.cell(label, density=density, seed=1)
    row = next(r for r in cell.results if r["requested_density"] == density)
    model, graph = cell.model(), cell.graph()
    with torch.no_grad():
        hits = (model(test.x).argmax(1) == test.y).float().mean().item()
    assert hits == pytest.approx(row["test_accuracy"], abs=1e-6)
    for i, p in enumerate(graph.projections):
        weight = dict(model.named_parameters())[p.name].detach()
        assert torch.equal(weight, graph.dense(i))
        assert not weight[~graph.mask(i)].any()


def test_a_level_without_its_model_says_so(run):
    with pytest.raises(ConfigError, match="the whole model was not kept at level 3"):
        run.cell("IMP", density=0.1, seed=0).model(level=3)


def test_what_is_no_run_is_refused(tmp_path, run):
    with pytest.raises(StoreError, match="is not there, where the folder of a run was asked for"):
        rewire.open(tmp_path / "none")
    with pytest.raises(StoreError, match="no run is here"):
        rewire.open(tmp_path)
    cell = run.cells[0]
    with pytest.raises(StoreError, match=rf"is a cell, not a run: .*cell\(cell='{cell.hash}'\)"):
        rewire.open(cell.path)


def damage(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def test_damaged_files_are_named(copied):
    cell = rewire.open(copied).cell("SET often", density=0.1, seed=0)
    damage(cell.path / "edits.bin", 60)
    with pytest.raises(StoreError, match="edit log is damaged: the record at byte 0"):
        cell.graph(step=50)
    with pytest.raises(StoreError, match="edit log is damaged"):
        list(cell.graphs(every=10))
    damage(cell.path / "levels" / "00.safetensors", -8)
    with pytest.raises(StoreError, match="00.safetensors"):
        cell.graph()
    damage(cell.path / "metrics.jsonl", 20)
    with pytest.raises(StoreError, match="metrics.jsonl, line 1"):
        rewire.open(copied).rows()


def test_a_log_of_another_cell_is_told_by_the_saved_level(copied):
    one, other = (rewire.open(copied).cell("SET often", 0.1, seed) for seed in (0, 1))
    for name in ("edits.bin", "start-00.safetensors"):
        shutil.copy(other.path / name, one.path / name)
    with pytest.raises(StoreError, match="the edit log leads to other edges at step 80 than level"):
        list(one.graphs(every=40))


def test_the_levels_of_a_spiking_cell_are_those_of_its_log(tmp_path):
    pytest.importorskip("brian2")
    rule = {
        "rule": "StructuralPlasticity", "rate": 2e4, "slots": 32, "initial": "given",
        "partner": "spiked", "threshold": 0.1, "birth": 0.2, "p_form": 1.0, "p_elim_dep": 0.3,
    }  # fmt: skip
    model = {"name": "topographic-map", "side": 6, "sigma_stim": 1.0}
    tree = {
        "name": "small", "world": "brian", "model": model, "seconds": 1, "record_every": 1,
        "seeds": 1, "rules": [rule],
    }  # fmt: skip
    run_experiment(tree, out=tmp_path / "out", workers=0, report=False)
    (cell,) = rewire.open(tmp_path / "out")
    assert cell.levels == {0: 0, 1: 1000} and len(cell.history) > 50
    last = dict(cell.graphs(every=100))[1000]
    assert last.keys.tolist() == cell.graph().keys.tolist() != cell.start.keys.tolist()
    assert len(cell.graph(level=0)) == len(cell.start) and "weight" in cell.graph().columns
    with pytest.raises(ConfigError, match="of the kind 'spiking' and has no torch model"):
        cell.model()


def test_the_layers_of_an_older_run_are_joined_by_following_its_model(tmp_path):
    tree = {
        "name": "conv", "model": {"name": "conv-2"}, "data": "digits", "batch": 50, "steps": 2,
        "optimizer": {"name": "sgd", "lr": 0.05}, "densities": [0.05], "seeds": 1,
        "rules": ["Static"],
    }  # fmt: skip
    run_experiment(tree, out=tmp_path / "out", workers=0, report=False)
    (cell,) = rewire.open(tmp_path / "out")
    joined = cell.graph().network
    files = cell.store
    for read, write, n in (
        (files.read_level, files.write_level, 0), (files.read_start, files.write_start, 0)
    ):  # fmt: skip
        tensors, meta = read(n)
        write(n, tensors, {k: v for k, v in meta.items() if k != "wiring"})
    (older,) = rewire.open(tmp_path / "out")
    for graph in (older.graph(), older.start):
        assert graph.network.pieces == joined.pieces and len(joined.pieces) == 1
        assert graph.network.ends == joined.ends


def test_an_unfinished_cell_is_not_replayed(copied):
    path = rewire.open(copied).cell("SET often", density=0.1, seed=0).path
    lines = (path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (path / "metrics.jsonl").write_bytes(b"".join(lines[:-1]))
    cell = rewire.open(copied).cell("SET often", density=0.1, seed=0)
    with pytest.raises(StoreError, match="is running, and its edit log may lag behind"):
        cell.graph(step=30)
    assert len(cell.graph(level=0)) == 208


def test_a_cell_that_has_not_begun_says_so(copied):
    path = rewire.open(copied).cell("SET", density=0.1, seed=0).path
    shutil.rmtree(path)
    waiting = [cell for cell in rewire.open(copied) if cell.status == "waiting"]
    assert [cell.hash for cell in waiting] == [path.name] and waiting[0].label == "SET"
    with pytest.raises(StoreError, match=r"\(SET, seed 0\) has not begun"):
        waiting[0].graph()


def test_notebooks_show_tables(run):
    cell = run.cell("IMP", density=0.1, seed=0)
    assert "<td>IMP</td><td>0.3, 0.1</td><td>0, 1</td><td>2</td><td>2</td>" in run._repr_html_()
    assert (
        "18 cells: 18 finished" in repr(run) and "<th>level</th><td>11</td>" in cell._repr_html_()
    )
    html = cell.graph()._repr_html_()
    assert "<td>all</td><td></td><td></td><td>208</td><td>2,080</td><td>0.1</td>" in html
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rewire.Static(), density=0.5)
    assert "<td>6</td><td>12</td><td>0.5</td>" in net._repr_html_()
    assert "Static in the masked world: step 0" in net._repr_html_()
