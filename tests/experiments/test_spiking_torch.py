"""Rules made for spiking networks, on one that torch trains: learnt digits, exact edges."""

import pytest

pytest.importorskip("sklearn")

from digits_run import HEADER, POSSIBLE, run

from rewire.experiments import cli

OF_TIME = """
[[rules]]
rule = "EarlyTime"
when = { every = 10 }
history = 2

[[rules]]
rule = "STDS"
"""
OF_EDGES = """
[[rules]]
rule = "NDSNN"
when = { every = 10 }

[[rules]]
rule = "ESLSNN"
when = { every = 10 }
grow = "gradient"
"""


@pytest.fixture(autouse=True)
def spiking(monkeypatch):
    spikes = HEADER.replace('{ name = "mlp"', '{ name = "spiking-mlp"')
    monkeypatch.setattr("digits_run.HEADER", spikes)


@pytest.mark.parametrize(
    ("world", "rules"),
    [("masked", OF_TIME), pytest.param("sparse", OF_EDGES, marks=pytest.mark.slow)],
)
def test_they_learn_with_exactly_their_edges(tmp_path, world, rules):
    rows = run(tmp_path, rules, world, densities=(0.3,))
    assert len(rows) == rules.count("[[rules]]")
    for row in rows:
        assert row["edges"] == round(0.3 * POSSIBLE)
        assert row["test_accuracy"] > 0.6, row["label"]


def test_a_rule_of_time_is_refused_by_name_where_it_cannot_be(tmp_path, capsys):
    assert run(tmp_path, OF_TIME, "sparse", densities=(0.3,), code=2) == []
    assert "EarlyTime" in capsys.readouterr().err
    text = (tmp_path / "experiment.toml").read_text()
    (tmp_path / "other.toml").write_text(
        text.replace("spiking-mlp", "mlp").replace("sparse", "auto")
    )
    assert cli.main(["run", str(tmp_path / "other.toml"), "--out", str(tmp_path / "o")]) != 0
    assert "timesteps" in capsys.readouterr().err
