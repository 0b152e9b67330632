"""Experiment files: what they may say, and how they are told what they may not."""

# ruff: noqa: E501  (a table reads better when a mistake is one line)

import json
import re
import time
import tomllib

import pytest

from rewire.experiments import building, kinds
from rewire.experiments.config import checking, optimizers, presets, toml
from rewire.experiments.config.problems import Problems
from rewire.experiments.errors import ConfigError

GOOD = """
name = "small"
model = "lenet-300-100"
data = "mnist5k"
optimizer = { name = "adam", lr = 1e-3 }
batch = 60
steps = 100
densities = [0.2, 0.05]
seeds = 2

[[rules]]
rule = "Dense"

[[rules]]
rule = "IMP"

[[rules]]
rule = "DeepR"
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="e.toml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def good(**changes):
    """The tree of GOOD with some keys changed, or removed where they are ``...``."""
    tree = {**tomllib.loads(GOOD), **changes}
    return {key: value for key, value in tree.items() if value is not ...}


# --- good files ---


def test_a_file_becomes_an_experiment(write):
    experiment = kinds.load(write(GOOD))
    assert experiment.model.name == "lenet-300-100"
    assert experiment.optimizer == optimizers.Adam(name="adam", lr=1e-3)
    assert experiment.seeds == [0, 1]
    assert [entry.label for entry in experiment.rules] == ["Dense", "IMP", "DeepR"]


def test_a_name_is_the_files_unless_it_gives_one(write):
    assert kinds.load(write(GOOD.replace('name = "small"', ""), "mine.toml")).name == "mine"


def test_json_says_the_same_as_toml(write):
    path = write(json.dumps(tomllib.loads(GOOD)), "e.json")
    assert kinds.load(path) == kinds.load(write(GOOD))


@pytest.mark.parametrize("name", sorted(presets.presets()))
def test_every_preset_is_sound_and_survives_a_round_trip(name):
    experiment = kinds.load(name)
    assert experiment.title and experiment.about and experiment.source and experiment.time
    text = toml.to_toml(experiment.as_tree())
    assert kinds.parse(tomllib.loads(text)) == experiment


def test_toml_comes_back_whatever_the_text_holds():
    tree = {"a": 'quote " back \\ tab \t del \x7f nul \x00 é', "b": {"*.w": 1e-5, "c": [True, 2]},
            "t": [{"x": {}}, {"y": [], "z z": -0.5}]}  # fmt: skip
    assert tomllib.loads(toml.to_toml(tree)) == tree


def test_a_rule_trains_as_the_experiment_does_but_for_its_own_table():
    tree = good(schedule={"kind": "step", "factor": 0.8, "every": "epoch"})
    tree["rules"][2]["train"] = {"optimizer": {"lr": 0.1}, "epochs": 2}
    tree["rules"][1]["train"] = {"optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.9}}
    dense, imp, deep_r = kinds.parse(tree).rules
    assert dense.training.optimizer.lr == 1e-3
    assert imp.training.optimizer == optimizers.SGD(name="sgd", lr=0.5, momentum=0.9)
    assert deep_r.training.optimizer == optimizers.Adam(name="adam", lr=0.1)
    resolved = deep_r.training.resolved(n_train=601)
    assert (resolved.steps, resolved.schedule.every) == (22, 11)  # the eleventh batch holds one


def test_an_epoch_is_a_period_that_rules_understand():
    tree = good()
    tree["rules"][2] = {"rule": "SET", "when": {"every": "epoch", "stop": 0.5}}
    assert kinds.parse(tree).rules[2].build(epoch=67).when.n == 67


def test_schedules_multiply_the_learning_rate_as_they_say():
    step = optimizers.StepSchedule(kind="step", factor=0.5, every=10, warmup=4)
    assert [step.at(s, 100) for s in (0, 3, 9, 10, 25)] == [0.25, 1.0, 1.0, 0.5, 0.25]
    stones = optimizers.MilestoneSchedule(kind="milestones", at=[5, 8])
    assert [stones.at(s, 10) for s in (4, 5, 8)] == pytest.approx([1, 0.1, 0.01])
    cosine = optimizers.CosineSchedule(kind="cosine")
    assert [cosine.at(s, 10) for s in (0, 5)] == pytest.approx([1, 0.5])
    assert cosine.at(9, 10) == pytest.approx(0.0245, abs=1e-4)  # at 10, after the level, it is 0


def test_every_optimiser_is_torchs():
    import torch

    for name in checking._TABLES[("optimizer",)][1]:
        table = kinds.parse(good(optimizer={"name": name, "lr": 0.1})).optimizer
        made = building.build_optimizer(table, [torch.zeros(2, requires_grad=True)])
        assert type(made).__name__.lower() == name and made.param_groups[0]["lr"] == 0.1
        default = getattr(torch.optim, type(made).__name__)([torch.zeros(2)], lr=0.1)
        for option in table.model_dump(exclude={"name"}):  # our defaults are torch's
            assert made.param_groups[0][option] == pytest.approx(default.param_groups[0][option])


@pytest.mark.parametrize("name", building.TORCH_OPTIMIZERS)
def test_an_optimiser_keeps_as_many_tensors_as_the_table_says(name):
    import torch

    known = building.TORCH_OPTIMIZERS[name]
    momentum = {"momentum": 0.9} if name == "sgd" else {}
    table = kinds.parse(good(optimizer={"name": name, "lr": 0.1, **momentum})).optimizer
    weight = torch.ones(3, requires_grad=True)
    made = building.build_optimizer(table, [weight])
    weight.sum().backward()
    made.step()
    state = [v for v in made.state[weight].values() if getattr(v, "shape", ()) == weight.shape]
    assert len(state) == known.moments
    assert bool(made.param_groups[0].get("fused")) == known.fused


def test_the_json_schema_knows_the_names():
    whole = kinds.json_schema()
    torch, brian = whole["else"], whole["then"]
    assert whole["if"]["properties"]["world"] == {"enum": ["brian"]}
    for tree, model, own in ((torch, "mlp", "batch"), (brian, "topographic-map", "seconds")):
        assert "DeepR" in tree["properties"]["rules"]["items"]["properties"]["rule"]["enum"]
        assert model in tree["properties"]["model"]["anyOf"][0]["enum"]
        assert own in tree["properties"] and "name" not in tree["required"]
    assert "seconds" not in torch["properties"] and "Model" in whole["$defs"]
    assert torch["properties"]["world"]["enum"] == ["masked", "sparse", "auto"]
    assert torch["properties"]["substrate"]["deprecated"]  # the old word


def test_the_old_word_for_a_world_is_read_and_names_the_same_cells():
    old, new = (kinds.parse(good(**{key: "sparse"})) for key in ("substrate", "world"))
    assert old == new and old.world == "sparse" and old.as_tree()["world"] == "sparse"
    cells = kinds.plan(new)
    assert {cell.config["substrate"] for cell in cells} == {"sparse"}
    assert "substrate" not in kinds.plan(kinds.parse(good(world="masked")))[0].config


def test_the_old_and_the_new_word_together_are_refused():
    with pytest.raises(ConfigError, match="substrate: is the old word for 'world': give only one"):
        kinds.parse(good(substrate="sparse", world="sparse"))
    by_override = kinds.load(good(substrate="sparse"), ["world=masked"])
    assert by_override.world == "masked"


# --- overrides ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.01", 0.01), (".3", 0.3), ("-.5", -0.5), ("[.1, .02]", [0.1, 0.02]), ("3", 3),
        ("1e-4", 1e-4), ("true", True), ("False", False), ("adam", "adam"), ('"5"', "5"),
        ("[IMP,DeepR]", ["IMP", "DeepR"]), ('["IMP","DeepR"]', ["IMP", "DeepR"]), ("[]", []),
        ("{cosine=.3}", {"cosine": 0.3}), ("none", None), ("v1.5", "v1.5"), ("1.", "1."),
        ("a = 1\nb = 2", "a = 1\nb = 2"), ("[" * 5000, "[" * 5000), ("", ""),
    ],
)  # fmt: skip
def test_override_values_read_as_people_type_them(text, value):
    assert toml.literal(text) == value


def test_overrides_reach_everywhere():
    overrides = ["optimizer.lr=0.01", "seeds=[4]", "densities=[.1]", "rules.IMP.fraction=.3",
                 "data=digits", "data.validation=100", "model.dropout=.1", "epochs=3",
                 "rules.DeepR.train.batch=10"]  # fmt: skip
    e = kinds.load("quickstart", overrides)
    assert (e.optimizer.lr, e.seeds, e.densities) == (0.01, [4], [0.1])
    assert (e.data.name, e.data.validation, e.model.options) == ("digits", 100, {"dropout": 0.1})
    assert (e.steps, e.epochs) == (None, 3)
    rules = {entry.label: entry for entry in e.rules}
    assert rules["IMP"].fields["fraction"] == 0.3
    assert rules["DeepR"].training.batch == 10 and rules["IMP"].training.batch != 10


def test_rules_override_keeps_the_named_ones_and_adds_new_ones():
    tree = toml.override(
        good(contrasts=[["IMP", "Dense"], ["IMP", "DeepR"]]), ["rules=[SET,IMP,Dense]"], Problems()
    )
    assert [t["rule"] for t in tree["rules"]] == ["SET", "IMP", "Dense"]
    assert tree["contrasts"] == [["IMP", "Dense"]]
    assert [entry.label for entry in kinds.parse(tree).rules] == ["SET", "IMP", "Dense"]


def test_a_label_with_dots_and_a_rules_name_both_find_their_table():
    tree = good()
    tree["rules"][1] |= {"label": "p.2"}
    tree["rules"][2] |= {"label": "Deep"}
    changed = toml.override(tree, ["rules.p.2.fraction=.5", "rules.DeepR.l1=1e-3"], Problems())
    assert changed["rules"][1]["fraction"] == 0.5 and changed["rules"][2]["l1"] == 1e-3
    assert "fraction" not in tree["rules"][1]  # the tree given is left alone


def test_none_removes_a_key():
    tree = toml.override(good(schedule={"kind": "cosine"}), ["schedule=none"], Problems())
    assert kinds.parse(tree).schedule is None


def test_steps_and_epochs_replace_each_other():
    assert "steps" not in toml.override(good(), ["epochs=2"], Problems())


# --- mistakes: (what to change, path that is named, what is said) ---

RULE = {"rule": "IMP"}
MISTAKES = {
    "unknown key": ({"titel": "x"}, "titel", "did you mean 'title'"),
    "unknown optimiser key": ({"optimizer": {"name": "adam", "lrr": 1, "lr": 1.0}}, "optimizer.lrr", "'lr'"),
    "unknown optimiser": ({"optimizer": {"name": "adm", "lr": 1.0}}, "optimizer", "did you mean 'adam'"),
    "optimiser without name": ({"optimizer": {"lr": 1.0}}, "optimizer", "needs 'name'"),
    "optimiser without lr": ({"optimizer": "adam"}, "optimizer.lr", "missing"),
    "optimiser of the wrong type": ({"optimizer": 3}, "optimizer", "should be a table, found 3"),
    "text for a number": ({"optimizer": {"name": "adam", "lr": "0.1"}}, "optimizer.lr", "should be a number, found '0.1'"),
    "negative lr": ({"optimizer": {"name": "adam", "lr": -1.0}}, "optimizer.lr", "greater than 0, found -1.0"),
    "momentum of one": ({"optimizer": {"name": "sgd", "lr": 1.0, "momentum": 1.0}}, "optimizer.momentum", "less than 1"),
    "nesterov alone": ({"optimizer": {"name": "sgd", "lr": 1.0, "nesterov": True}}, "optimizer", "momentum above 0"),
    "one beta": ({"optimizer": {"name": "adam", "lr": 1.0, "betas": [0.9]}}, "optimizer.betas", "at least 2"),
    "unknown schedule": ({"schedule": {"kind": "cosin"}}, "schedule", "did you mean 'cosine'"),
    "schedule without kind": ({"schedule": {"factor": 0.1}}, "schedule", "needs 'kind'"),
    "schedule key": ({"schedule": {"kind": "step", "factr": 1.0, "every": 1}}, "schedule.factr", "did you mean 'factor'"),
    "schedule period": ({"schedule": {"kind": "step", "factor": 1.0, "every": "week"}}, "schedule.every", "'epoch'"),
    "milestone": ({"schedule": {"kind": "milestones", "at": [0]}}, "schedule.at[0]", "greater than or equal to 1"),
    "no batch": ({"batch": None}, "batch", "found None"),
    "batch of nothing": ({"batch": 0}, "batch", "greater than or equal to 1"),
    "batch as text": ({"batch": "60"}, "batch", "should be a integer, found '60'"),
    "batch as truth": ({"batch": True}, "batch", "found True"),
    "steps and epochs": ({"epochs": 3}, "", "both are given"),
    "evaluate_every": ({"evaluate_every": 0}, "evaluate_every", "found 0"),
    "unknown model": ({"model": "lenet-300-10"}, "model.name", "did you mean 'lenet-300-100'"),
    "unknown model option": ({"model": {"name": "lenet-300-100", "biass": False}}, "model.biass", "did you mean 'bias'"),
    "bad model option": ({"model": {"name": "lenet-300-100", "init": "glorot"}}, "model", "glorot"),
    "model without name": ({"model": {"bias": False}}, "model.name", "missing"),
    "model as number": ({"model": 5}, "model", "should be a table"),
    "unknown data": ({"data": "mnits"}, "data.name", "did you mean 'mnist'"),
    "unknown data key": ({"data": {"name": "mnist5k", "validaton": 3}}, "data.validaton", "did you mean 'validation'"),
    "too much held out": ({"data": {"name": "mnist5k", "validation": 4500}}, "data.validation", "1 to 4,499"),
    "normalise": ({"data": {"name": "mnist5k", "normalise": "std"}}, "data.normalise", "'standard'"),
    "density above one": ({"densities": [0.2, 1.5]}, "densities", "found 1.5"),
    "density of one": ({"densities": [1.0]}, "densities", "Dense is 1"),
    "density as text": ({"densities": ["0.2"]}, "densities", "found '0.2'"),
    "density twice": ({"densities": [0.2, 0.2]}, "densities", "each density once"),
    "densities as number": ({"densities": 0.2}, "densities", "a list"),
    "densities left out": ({"densities": ...}, "densities", "is missing"),
    "no densities": ({"densities": []}, "densities", "a list"),
    "negative seed": ({"seeds": [-1]}, "seeds", "non-negative"),
    "seed twice": ({"seeds": [1, 1]}, "seeds", "each seed once"),
    "a billion seeds": ({"seeds": 10**9}, "seeds", "1 to 10,000"),
    "no seeds": ({"seeds": 0}, "seeds", "found 0"),
    "distribution": ({"distribution": "erkk"}, "distribution", "did you mean 'erk'"),
    "distribution density": ({"distribution": {"fc1": 2.0}}, "distribution", "'fc1'"),
    "distribution and densities": ({"distribution": {"fc*": 0.1}}, "densities", "give only one"),
    "distribution of no layer": ({"densities": ..., "rules": ["SET"], "distribution": {"fc9": 0.1}}, "distribution", "fc9"),
    "distribution of some layers": ({"densities": ..., "rules": ["SET"], "distribution": {"fc1": 0.1}}, "distribution", "fc2"),
    "density of less than an edge": ({"densities": [1e-6]}, "densities", "at least one"),
    "rates of no layer": ({"rules": [{"rule": "IMP", "scope": "layer", "rates": {"fc9": 0.1}}], "densities": [0.2]}, "rules.IMP", "fc9"),
    "density below IMP's smallest graph": ({"rules": [{"rule": "IMP", "rates": {"fc1": 0}}], "densities": [0.2]}, "rules.IMP", "cannot reach density 0.2"),
    "no such parameter": ({"include": ["conv*"]}, "include", "conv"),
    "no rules": ({"rules": []}, "rules", "at least 1"),
    "rules as text": ({"rules": "IMP"}, "rules", "list"),
    "rule as number": ({"rules": [7]}, "rules[0]", "should be a table"),
    "unknown rule": ({"rules": [{"rule": "DeepRR"}]}, "rules.DeepRR.rule", "did you mean 'DeepR'"),
    "rule without name": ({"rules": [{"rul": "IMP"}]}, "rules[0]", "did you mean 'rul'"),
    "unknown field": ({"rules": [{"rule": "IMP", "fractoin": 0.2}]}, "rules.IMP", "did you mean 'fraction'"),
    "field of a wrong type": ({"rules": [{"rule": "DeepR", "l1": "small"}]}, "rules.DeepR", "l1"),
    "field out of range": ({"rules": [{"rule": "IMP", "fraction": 2.0}]}, "rules.IMP", "(0, 1)"),
    "bad when": ({"rules": [{"rule": "SET", "when": {"evry": 3}}]}, "rules.SET", "every"),
    "label twice": ({"rules": [RULE, RULE]}, "rules.IMP", "label"),
    "label as number": ({"rules": [{"rule": "IMP", "label": 3}]}, "rules[0].label", "short text"),
    "train key": ({"rules": [{"rule": "IMP", "train": {"stps": 5}}]}, "rules.IMP.train.stps", "did you mean 'steps'"),
    "train value": ({"rules": [{"rule": "IMP", "train": {"steps": -5}}]}, "rules.IMP.train.steps", "found -5"),
    "train as number": ({"rules": [{"rule": "IMP", "train": 3}]}, "rules.IMP.train", "should be a table"),
    "branch without tickets": ({"rules": [{"rule": "RandomReinit"}]}, "rules.RandomReinit", "IMP"),
    "branch of another": ({"rules": [RULE, {"rule": "RandomReinit", "of": "IPM"}]}, "rules.RandomReinit.of", "did you mean 'IMP'"),
    "imp's counts without IMP": ({"distribution": "imp", "rules": [{"rule": "SET"}]}, "distribution", "add IMP"),
    "contrast": ({"contrasts": [["IMP", "DepR"]]}, "contrasts[0]", "did you mean 'DeepR'"),
    "contrast of three": ({"contrasts": [["IMP", "DeepR", "Dense"]]}, "contrasts[0]", "at most 2"),
    "name with a slash": ({"name": "../../etc"}, "name", "names a folder"),
    "device": ({"device": "gpu"}, "device", "'cuda'"),
    "lists of edges on a GPU": ({"device": "cuda", "world": "sparse"}, "device", "kept on the CPU"),
    "threads": ({"threads": 0}, "threads", "greater than or equal to 1"),
    "infinity": ({"optimizer": {"name": "adam", "lr": float("inf")}}, "optimizer.lr", "finite"),
    "not a number in a rule": ({"rules": [{"rule": "IMP", "fraction": float("nan")}]}, "rules[0].fraction", "finite"),
    "bottomless": ({"model": {"name": "mlp", "x": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}}, "model.x", "nested more than"),
    "huge number": ({"batch": 10**30}, "batch", "too large"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_named_with_their_path_and_a_way_out(case):
    changes, path, said = MISTAKES[case]
    tree = good(**changes)
    begin = time.process_time()
    with pytest.raises(ConfigError) as caught:
        kinds.parse(tree)
    assert time.process_time() - begin < 1
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert re.search(rf"^  {re.escape(path)}(:| |\b)", message, re.M), message
    assert said in message, message


def test_all_mistakes_are_told_at_once():
    tree = good(
        titel="x", batch=0, model="lenett", densities=[2.0], optimizer={"name": "adm", "lr": 1.0},
        rules=[{"rule": "IPM"}, {"rule": "DeepR", "l2": 1, "train": {"bach": 3}}],
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        kinds.parse(tree)
    message = str(caught.value)
    for path in ("titel", "batch", "model.name", "densities", "optimizer", "rules.IPM.rule",
                 "rules.DeepR:", "rules.DeepR.train.bach"):  # fmt: skip
        assert f"\n  {path}" in message, message
    assert message.count("no optimiser") == 1  # and each of them once


# --- files that are no experiment: (name, content, what is said, line) ---

FILES = {
    "broken TOML": ("e.toml", "a = 1\nb = = 2\n", "is not TOML", 2),
    "end of file": ("e.toml", "a = [1,\n2", "is not TOML", 2),
    "key twice": ("e.toml", "a = 1\na = 2\n", "given twice", 2),
    "table twice": ("e.toml", "[a]\nx=1\n[a]\n", "given twice", 3),
    "not UTF-8": ("e.toml", b"a = 1\nb = '\xff\xfe'\n", "not UTF-8", 2),
    "binary": ("e.toml", bytes(range(256)), "not UTF-8", 2),
    "deep": ("e.toml", "a = " + "[" * 20_000, "nested too deeply", None),
    "deep but closed": ("e.toml", "a = " + "[" * 60 + "]" * 60, "nested more than", None),
    "deep by dots": ("e.toml", ".".join(["a"] * 5000) + " = 1", "nested more than", None),
    "large": ("e.toml", "# " + "x" * 1_000_001, "larger than 1,000,000 bytes", None),
    "endless number": ("e.toml", "a = " + "9" * 10_000, "is not TOML", None),
    "date": ("e.toml", "title = 2026-11-23\n", "title is a date", None),
    "infinity": ("e.toml", "batch = inf", "finite", None),
    "broken JSON": ("e.json", '{"a": 1,\n "b": }', "is not JSON", 2),
    "JSON key twice": ("e.json", '{"a": 1,\n"b": 2,\n"a": 3}', "given twice", 3),
    "JSON list": ("e.json", "[1, 2]", "should hold a table", None),
    "deep JSON": ("e.json", '{"a": ' + "[" * 100_000, "nested too deeply", None),
    "JSON not a number": ("e.json", '{"batch": NaN}', "finite", None),
    "empty JSON": ("e.json", "", "is not JSON", 1),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_no_experiment_are_refused_with_file_line_and_reason(write, case):
    name, content, said, line = FILES[case]
    path = write(content, name)
    begin = time.process_time()
    with pytest.raises(ConfigError) as caught:
        kinds.load(path)
    assert time.process_time() - begin < 1
    message = str(caught.value)
    where = f"{path}:{line}: " if line else f"{path}: "
    assert message.startswith(where), message
    assert said in message and len(message) < 1000, message


def test_garbage_never_ends_in_anything_but_a_refusal(write):
    import random

    random = random.Random(0)
    text = toml.to_toml(good())
    for _ in range(200):
        cut = bytearray(text.encode())
        for _ in range(random.randrange(1, 8)):
            cut[random.randrange(len(cut))] = random.randrange(256)
        cut = cut[: random.randrange(len(cut) + 1)]
        try:
            kinds.load(write(bytes(cut)))
        except ConfigError as error:
            assert error.exit_code == 2


def test_a_folder_a_missing_file_and_a_device_are_no_files(tmp_path):
    with pytest.raises(ConfigError, match="not a regular file"):
        kinds.load(tmp_path)
    with pytest.raises(ConfigError, match="not a regular file"):
        kinds.load("/dev/zero")
    with pytest.raises(ConfigError, match="did you mean 'quickstart'"):
        kinds.load("quikstart")
    with pytest.raises(ConfigError, match="no experiment file or preset"):
        kinds.load(tmp_path / "no.toml")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.lr", "should read key=value"),
        ("=3", "should read key=value"),
        (
            "rules=[SET,{rule=IMP,fraction=.5}]",
            "rules: is no list or table of TOML (text in tables needs quotes",
        ),
        ("model={name=mlp}", "model: is no list or table of TOML (text in tables needs quotes"),
        ("a..b=3", "should read key=value"),
        ("optimiser.lr=3", "did you mean 'optimizer'"),
        ("rules.IPM.fraction=3", "did you mean 'IMP'"),
        ("rules.IMP=3", "names a rule, not a field"),
        ("batch.size=3", "'batch' is 60, not a table"),
        ("seeds=many", "seeds"),
        ("rules=[IPM]", "did you mean 'IMP'"),
    ],
)
def test_overrides_that_reach_nothing_are_refused(override, said):
    with pytest.raises(ConfigError) as caught:
        kinds.load("quickstart", [override])
    assert said in str(caught.value)
