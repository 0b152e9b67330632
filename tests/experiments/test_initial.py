"""The key `initial` of an experiment: where the edges of rules that begin sparse are."""

import pytest
from digits_run import DENSITIES, HEADER

import rewire
from rewire.experiments import cli, kinds
from rewire.experiments.errors import ConfigError


def tree(**more):
    return {
        "name": "initial", "model": {"name": "mlp", "hidden": [24, 16]}, "data": "digits",
        "optimizer": {"name": "sgd", "lr": 0.1}, "batch": 50, "steps": 20, "seeds": [0, 1],
        "densities": [0.3, 0.2], "rules": ["Dense", "IMP", "SNIP", "SET"], **more,
    }  # fmt: skip


def test_cells_that_begin_sparse_hold_it_and_others_keep_their_names():
    before, after = (kinds.plan(kinds.parse(t)) for t in (tree(), tree(initial="regular")))
    for old, new in zip(before, after, strict=True):
        assert (old.hash == new.hash) == (old.rule != "SET")
        assert new.config.get("initial") == ("regular" if new.rule == "SET" else None)
    table = {"name": "small-world", "beta": 0.1}  # the default: the same cells
    same = kinds.plan(kinds.parse(tree(initial=table)))
    assert same[-1].config["initial"] == "small-world"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"initial": "small_world"}, r"initial: .*'small_world' \(did you mean 'small-world'\?\)"),
        ({"initial": "nonzero"}, "the models are drawn anew: they have no zeros"),
        ({"initial": {"name": "small-world", "bet": 1}}, "did you mean 'beta'"),
        ({"initial": "receptive-field"}, r"at density 0.3: receptive-field needs places .*'fc3.w"),
        ({"initial": "ramanujan", "densities": [0.05]}, "ramanujan needs 2 edges at each unit"),
        ({"initial": "regular", "rules": ["Dense", "IMP"]}, "every rule begins with every edge"),
        (
            {"initial": "scale-free", "limits": [{"limit": "FanIn", "most": 25}]},
            "the ScaleFree topology to start from breaks a limit",
        ),
        ({"initial": 3}, "initial"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_had_is_refused_with_the_file(more, message):
    with pytest.raises(ConfigError, match=message):
        kinds.parse(tree(**more))


def test_a_run_starts_from_it(tmp_path):
    pytest.importorskip("sklearn")
    header = HEADER.replace("SUBSTRATE", "sparse").replace("DENSITIES", "0.3, 0.1")
    rules = 'initial = "regular"\nrules = ["SET", "SNIP"]\n'
    (tmp_path / "e.toml").write_text(header + rules)
    code = cli.main(["run", str(tmp_path / "e.toml"), "--out", str(tmp_path / "out"), "-j", "0"])
    assert code == 0
    run = rewire.open(tmp_path / "out")
    for density in DENSITIES:
        start = run.cell("SET", density).start
        for p in start.projections:
            fan_in = start.fan_in(p.target)
            assert int(fan_in.max() - fan_in.min()) <= 1
        assert run.cell("SNIP", density).config.get("initial") is None
