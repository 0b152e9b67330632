"""`rewire graph` and `rewire query`: the same answers as from Python, and exit codes."""

import csv
import io
import json

import pytest
from digits_run import HEADER

import rewire
from rewire.analysis.overlap import overlap
from rewire.experiments import cli
from rewire.files import read_graph
from rewire.measures import measure

RULES = 'rules = ["Dense", "IMP", { rule = "SET", when = { every = 10 } }]'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph-cli")
    header = HEADER.replace("SUBSTRATE", "masked").replace("DENSITIES", "0.3, 0.1")
    (folder / "e.toml").write_text(header.replace("seeds = 1", "seeds = 2") + RULES)
    code = cli.main(["run", str(folder / "e.toml"), "--out", str(folder / "out"), "-j", "0"])
    assert code == 0
    return folder / "out"


@pytest.fixture
def rewire_json(capsys):
    def answer(*words):
        capsys.readouterr()
        assert cli.main([*map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return answer


@pytest.fixture
def refused(capsys):
    def message(code, *words):
        capsys.readouterr()
        assert cli.main([*map(str, words)]) == code
        return capsys.readouterr().err

    return message


def test_a_query_is_answered_in_every_form(folder, rewire_json, capsys, tmp_path):
    sql = "SELECT label, COUNT(*) AS n FROM results GROUP BY label ORDER BY label"
    rows = rewire_json("query", folder, sql)
    assert rows == rewire.open(folder).query(sql) and [r["n"] for r in rows] == [2, 24, 4]
    assert cli.main(["query", str(folder), sql, "--csv"]) == 0
    assert capsys.readouterr().out == "label,n\nDense,2\nIMP,24\nSET,4\n"
    assert cli.main(["query", str(folder), sql]) == 0
    assert "IMP" in capsys.readouterr().out
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    assert cli.main(["query", str(folder), sql, "--parquet", str(tmp_path / "q.parquet")]) == 0
    assert pandas.read_parquet(tmp_path / "q.parquet").to_dict("records") == rows


def test_measures_are_those_of_python_with_their_null(folder, rewire_json):
    rows = rewire_json(
        "graph", "measure", folder, "LayerDensity", "RobinsAlexander",
        "--rule", "SET", "--density", "0.1", "--null", "degrees", "--draws", "8",
    )  # fmt: skip
    cells = rewire.open(folder).find("SET", 0.1)
    assert [cell.seed for cell in cells] == [0, 1]
    for cell in cells:
        names = ["LayerDensity", "RobinsAlexander"]
        table = measure(cell.graph(), names, null="degrees", draws=8)
        own = [row for row in rows if row["cell"] == cell.hash]
        for row, from_python in zip(own, table.to_dicts(), strict=True):
            assert {k: row[k] for k in from_python} == from_python
            assert (row["label"], row["density"]) == ("SET", 0.1)


def test_a_ladder_is_measured_at_each_of_its_densities(folder, rewire_json):
    rows = rewire_json("graph", "measure", folder, "LayerDensity", "--rule", "IMP", "--seed", 1)
    whole = {row["density"]: row["value"] for row in rows if row["part"] == ""}
    assert whole == pytest.approx({0.3: 0.3, 0.1: 0.1}) and "z" not in rows[0]


def test_the_null_of_the_starts_is_the_cells_own(folder, rewire_json):
    rows = rewire_json(
        "graph", "measure", folder, "DegreeGini", "--rule", "SET", "--density", 0.1,
        "--null", "start",
    )  # fmt: skip
    starts = [cell.start for cell in rewire.open(folder).find("SET", 0.1)]
    values = [measure(g, "DegreeGini")["DegreeGini", "fc1.weight: pre"].value for g in starts]
    row = next(row for row in rows if row["part"] == "fc1.weight: pre")
    assert row["mean"] == pytest.approx(sum(values) / 2) and row["draws"] == 2


def test_a_run_is_measured_from_python_as_one_table(folder, rewire_json):
    pytest.importorskip("pandas")
    table = rewire.open(folder).measure("LayerDensity", rule="SET")
    rows = rewire_json("graph", "measure", folder, "LayerDensity", "--rule", "SET")
    assert table["value"].tolist() == [row["value"] for row in rows] and len(table) == 16


def test_two_graphs_are_compared_by_what_chance_would_share(folder, rewire_json):
    a, b = (rewire.open(folder).cell("SET", 0.1, seed) for seed in (0, 1))
    rows = rewire_json("graph", "compare", a.path, b.path)
    parts = overlap(a.graph().keys, b.graph().keys, a.graph().projections)
    for row, part in zip(rows, parts, strict=True):
        values = (part.name, part.shared, part.expected, part.jaccard, part.expected_jaccard)
        names = ("projection", "shared", "expected", "jaccard", "expected_jaccard")
        assert tuple(row[n] for n in names) == values
    first = rewire_json("graph", "compare", a.path, folder, "--density", 0.1, "--step", 0)
    assert len(first) == 4 * 10  # the cell, itself again and three more: every pair, at the start
    whole = next(row for row in first if row["a"] == row["b"] and row["projection"] == "whole")
    assert whole["jaccard"] == 1


def test_pairs_of_a_run_are_those_of_one_density(folder, rewire_json):
    rows = rewire_json("graph", "compare", folder, "--rule", "SET")
    assert len(rows) == 8 and all(row["a"][-4:] == row["b"][-4:] for row in rows)


@pytest.mark.parametrize(
    ("code", "words", "message"),
    [
        (2, ["measure", "OUT", "LayerDensiti"], "did you mean 'LayerDensity'?"),
        (2, ["measure", "OUT", "--null", "degree"], "did you mean 'degrees'?"),
        (2, ["measure", "OUT", "--draws", "0"], "--draws is 0; it takes a number of graphs"),
        (2, ["measure", "OUT", "--rule", "SETT"], "has no cell for rule=SETT"),
        (2, ["measure", "OUT", "LayerDensity", "--json", "--csv"], "exclude each other"),
        (2, ["compare", "OUT", "--rule", "Dense", "--seed", "0"], "two graphs are compared, and"),
        (3, ["measure", "OUT/nothing"], "there is no run, no cell and no file of a graph"),
        (5, ["measure", "OUT/cells"], "no run is here"),
    ],
)
def test_what_cannot_be_done_ends_with_its_code(folder, refused, code, words, message):
    words = [word.replace("OUT", str(folder)) for word in words]
    assert message in refused(code, "graph", *words)


def test_a_query_that_is_wrong_ends_with_2(folder, refused):
    assert "did you mean 'results'?" in refused(2, "query", folder, "SELECT * FROM result")
    assert "no run is here" in refused(5, "query", folder.parent, "SELECT 1")


def test_csv_of_measures_reads_back(folder, capsys):
    words = ["graph", "measure", str(folder), "PowerLaw", "--rule", "SET", "--seed", "0", "--csv"]
    capsys.readouterr()
    assert cli.main(words) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["density"] for row in rows} == {"0.3", "0.1"} and rows[0]["measure"] == "PowerLaw"


@pytest.mark.parametrize("suffix", [".graphml", ".gexf", ".json", ".npz", ".net"])
def test_a_cells_graph_is_exported_and_imported_again(folder, suffix, tmp_path, capsys):
    words = ["--rule", "SET", "--density", "0.1", "--seed", "0"]
    file, ours = tmp_path / f"cell{suffix}", tmp_path / "mine.npz"
    capsys.readouterr()
    assert cli.main(["graph", "export", str(folder), str(file), *words]) == 0
    assert "Graph(208 of 2,080 synapses" in capsys.readouterr().out
    assert cli.main(["graph", "import", str(file), str(ours)]) == 0
    graph = rewire.open(folder).cell("SET", 0.1, 0).graph()
    again = read_graph(ours)
    weights = sorted(graph["weight"].tolist())
    assert len(again) == 208 and sorted(again["weight"].tolist()) == pytest.approx(weights)
    if suffix != ".net":  # Pajek knows no populations
        assert again.keys.tolist() == graph.keys.tolist()


def test_a_file_is_measured_and_compared_as_its_cell(folder, rewire_json, tmp_path):
    cell, file = rewire.open(folder).cell("SET", 0.1, 0), tmp_path / "cell.npz"
    assert cli.main(["graph", "export", str(cell.path), str(file)]) == 0
    of_file = rewire_json("graph", "measure", file, "RobinsAlexander", "LayerDensity")
    of_cell = rewire_json("graph", "measure", cell.path, "RobinsAlexander", "LayerDensity")
    assert [row["value"] for row in of_file] == [row["value"] for row in of_cell]
    rows = rewire_json("graph", "compare", cell.path, file)
    assert [row["jaccard"] for row in rows] == [1, 1, 1, 1]


def test_what_a_format_loses_is_said(folder, tmp_path, capsys):
    cell = rewire.open(folder).cell("SET", 0.1, 0)
    capsys.readouterr()
    assert cli.main(["graph", "export", str(cell.path), str(tmp_path / "cell.net")]) == 0
    assert "does not know populations" in capsys.readouterr().out


def test_broken_files_and_unknown_suffixes_end_with_their_codes(folder, refused, tmp_path):
    broken = tmp_path / "broken.graphml"
    broken.write_text("<graphml><graph>")
    assert "cannot be read as graphml" in refused(3, "graph", "measure", broken)
    assert "cannot be read" in refused(3, "graph", "import", broken, tmp_path / "x.npz")
    (tmp_path / "net.xyz").write_text("")
    assert "no format has the suffix '.xyz'" in refused(2, "graph", "measure", tmp_path / "net.xyz")
    several = refused(2, "graph", "export", folder, tmp_path / "x.npz", "--rule", "SET")
    assert "one graph is asked for, and" in several
    assert "choose among the cells" in refused(2, "graph", "measure", broken, "--seed", 1)
    cell = rewire.open(folder).cells[0].path
    assert "there is no folder" in refused(5, "graph", "export", cell, tmp_path / "no" / "x.npz")


@pytest.mark.parametrize("picture", ["network", "adjacency", "fields", "spectrum"])
@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_graph_is_drawn(folder, picture, suffix, tmp_path):
    cell, file = rewire.open(folder).cell("SET", 0.1, 0).path, tmp_path / f"picture{suffix}"
    words = ["graph", "draw", str(cell), str(file), picture, "--projection", "fc1"]
    assert cli.main(words) == 0
    begins = b"<?xml" if suffix == ".svg" else b"\x89PNG"
    assert file.read_bytes().startswith(begins) and file.stat().st_size > 4000


def test_what_cannot_be_drawn_is_refused(folder, refused, tmp_path):
    cell = rewire.open(folder).cell("SET", 0.1, 0).path
    words = ["graph", "draw", cell]
    assert "did you mean 'network'?" in refused(2, *words, tmp_path / "a.svg", "netwrk")
    assert "a picture is a file .svg" in refused(2, *words, tmp_path / "a.txt")
    assert "there is no folder" in refused(5, *words, tmp_path / "no" / "a.svg")
    wrong = refused(2, *words, tmp_path / "a.svg", "spectrum", "--projection", "fc9")
    assert "there is no projection 'fc9'" in wrong


def test_options_of_formats_are_options_of_the_commands(folder, refused, tmp_path):
    cell = ["--rule", "SET", "--density", "0.1", "--seed", "0"]
    out = str(tmp_path / "a.conn")
    assert "projection= one of" in refused(2, "graph", "export", folder, out, *cell)
    assert cli.main(["graph", "export", str(folder), out, *cell, "--projection", "fc1.weight"]) == 0
    assert len(read_graph(out).projections) == 1
    gexf = str(tmp_path / "a.gexf")
    assert cli.main(["graph", "export", str(folder), gexf, *cell, "--weight", "abs"]) == 0
    assert 'weight="-' not in (tmp_path / "a.gexf").read_text()
    assert read_graph(gexf)["weight"].min() < 0
    (tmp_path / "m.csv").write_text("0,2,0,0\n0,0,0,0\n0,0,0,0\n0,0,0,0\n")
    for rows, key in (("pre", 4), ("post", 1)):
        npz = str(tmp_path / "m.npz")
        assert cli.main(["graph", "import", str(tmp_path / "m.csv"), npz, "--rows", rows]) == 0
        assert read_graph(npz).keys.tolist() == [key]
    message = refused(2, "graph", "import", gexf, tmp_path / "x.npz", "--rows", "pre")
    assert "gexf files have no option rows=; they have none" in message
