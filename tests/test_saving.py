"""A session goes to one file and comes back to the same bits, in another process and world."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import rewire
from rewire import checkpoint, every, saving

WORLDS = ("masked", "sparse")
OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.1),
}
RULES = {
    "set": lambda: rewire.SET(fraction=0.3, when=every(2)),
    "rigl": lambda: rewire.RigL(fraction=0.3, when=every(2)),
    "deepr": rewire.DeepR,
    "gmp": lambda: rewire.GMP(when=every(2)),
    "snip": rewire.SNIP,
    "popup": rewire.EdgePopup,
    "two": lambda: [
        rewire.On(rule=rewire.SET(fraction=0.3, when=every(2)), projections=("0",)),
        rewire.AgeLimit(most=4),
    ],
}
CASES = [
    ("masked", "set", "adam"), ("sparse", "set", "adam"), ("masked", "rigl", "sgd"),
    ("sparse", "rigl", "sgd"), ("masked", "gmp", "adagrad"), ("sparse", "gmp", "adagrad"),
    ("masked", "deepr", "sgd"), ("sparse", "deepr", "adam"), ("masked", "popup", "adam"),
    ("masked", "snip", "adam"), ("sparse", "snip", "adam"), ("masked", "two", "adam"),
    ("sparse", "two", "sgd"), ("auto", "set", "adam"),
]  # fmt: skip


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10), nn.Linear(10, 4)
    )


def batches(n=10):
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(8, 12, generator=draw), torch.randint(4, (8,), generator=draw))
        for _ in range(n)
    ]


def probe():
    return rewire.Probe(batches(2), lambda model, batch: cross_entropy(model(batch[0]), batch[1]))


def attached(world, rule, optimizer="adam", model=None, **options):
    model = mlp() if model is None else model
    chosen = RULES[rule]() if isinstance(rule, str) else rule
    options = {"density": 0.3, "seed": 3, "steps": 100, "probe": probe(), **options}
    return rewire.attach(
        model, OPTIMIZERS[optimizer](model.parameters()), chosen, world=world, **options
    )


def trained(net, steps):
    for x, y in steps:
        net.world.model.zero_grad()
        cross_entropy(net.world.model(x), y).backward()
        net.step()
    return net


def loaded(path, optimizer, rule=None, model=None, **options):
    model = mlp(seed=9) if model is None else model
    options = {"probe": probe(), **options}
    return rewire.load(path, model, OPTIMIZERS[optimizer](model.parameters()), rule, **options)


def all_of(net):
    """Everything that training depends on, as one tree."""
    return {"world": net.world.snapshot(), "session": net.state_dict()}


def differences(one, other, at=""):
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and torch.equal(one, other)
        return [] if same else [at]
    if isinstance(one, dict):
        if {*map(str, one)} != {*map(str, other)}:
            return [f"{at}: {sorted(map(str, one))} or {sorted(map(str, other))}"]
        return [d for k in one for d in differences(one[k], other[k], f"{at}.{k}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [at]
        return [d for i, x in enumerate(one) for d in differences(x, other[i], f"{at}.{i}")]
    return [] if one == other else [f"{at}: {one!r} or {other!r}"]


def continued(folder):
    """In the other process: load each file, train on, and keep everything."""
    torch.set_num_threads(1)  # as here: sums of other parts have other last digits
    for i, (_, _, optimizer) in enumerate(CASES):
        net = trained(loaded(Path(folder, f"{i}.safetensors"), optimizer), batches()[5:])
        net.check()
        checkpoint.save(Path(folder, f"{i}-end.safetensors"), all_of(net))


def test_another_process_goes_on_to_the_same_bits(tmp_path):
    straight = []
    for i, (world, rule, optimizer) in enumerate(CASES):
        half = trained(attached(world, rule, optimizer), batches()[:5])
        rewire.save(half, tmp_path / f"{i}.safetensors")
        straight.append(all_of(trained(half, batches()[5:])))
    code = f"import sys; sys.path[:0] = {sys.path!r}; import test_saving as t; "
    command = [sys.executable, "-c", f"{code} t.continued({str(tmp_path)!r})"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for i, case in enumerate(CASES):
        tree, _ = checkpoint.load(tmp_path / f"{i}-end.safetensors")
        assert differences(straight[i], tree) == [], case


@pytest.mark.every_other
@pytest.mark.parametrize("rule", ["set", "rigl", "gmp", "two"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("worlds", [WORLDS, WORLDS[::-1], ("masked", "auto")], ids="-".join)
def test_a_file_of_one_world_goes_on_in_the_other(tmp_path, worlds, optimizer, rule):
    (origin, world), path = worlds, tmp_path / "net.safetensors"
    half = trained(attached(origin, rule, optimizer), batches()[:5])
    rewire.save(half, path)
    other = trained(loaded(path, optimizer, world=world), batches()[5:])
    trained(half, batches()[5:])
    assert other.world.name == ("masked" if world == "masked" else "sparse")
    assert torch.equal(other.graph.keys, half.graph.keys)
    assert torch.allclose(other.graph["weight"], half.graph["weight"], atol=1e-5)
    assert other.history.formed == half.history.formed
    other.check()


def test_silent_edges_do_not_cross(tmp_path):
    rewire.save(attached("masked", "popup"), tmp_path / "net")
    with pytest.raises(ValueError, match="silent edges are edges"):
        loaded(tmp_path / "net", "adam", world="sparse")


@pytest.mark.parametrize("world", WORLDS)
def test_going_back_to_the_best_brings_edges_weights_and_moments(tmp_path, world):
    net = trained(attached(world, "set"), batches()[:4])
    average = net.averaged(0.9, each_step=True)
    rewire.save(net, tmp_path / "best")
    best = all_of(net)
    trained(net, batches()[4:])
    assert differences(best, all_of(net)) and average.updates == 6
    net.load(tmp_path / "best")
    assert differences(best, all_of(net)) == [] and average.updates == 0
    net.check()
    trained(net, batches()[4:])
    again = trained(loaded(tmp_path / "best", "adam"), batches()[4:])
    assert differences(all_of(net), all_of(again)) == []


@pytest.mark.parametrize("world", WORLDS)
def test_what_is_no_fit_is_refused_by_name_and_changes_nothing(tmp_path, world):
    net = trained(attached(world, "set"), batches()[:3])
    path = tmp_path / "net"
    rewire.save(net, path)
    wide = nn.Sequential(*mlp()[:3], nn.Linear(16, 11), nn.Linear(11, 4))
    before = {name: p.clone() for name, p in wide.state_dict().items()}
    with pytest.raises(ValueError, match=r"another model: '\S+' is of shape .*net.load\(path\)"):
        loaded(path, "adam", model=wide)
    with pytest.raises(ValueError, match="optimizer Adam, this one is SGD"):
        loaded(path, "sgd", model=wide.__class__(*mlp()))
    assert all(torch.equal(p, before[name]) for name, p in wide.state_dict().items())
    with pytest.raises(ValueError, match=r"rules \['0.SET'\], not \['0.RigL'\]"):
        loaded(path, "adam", rewire.RigL())
    with pytest.raises(ValueError, match=r"SET.fraction is 0.3 in this file, and 0.5 in the rule"):
        loaded(path, "adam", rewire.SET(fraction=0.5))
    split = mlp()
    groups = [{"params": list(split.parameters())[:3]}, {"params": list(split.parameters())[3:]}]
    with pytest.raises(ValueError, match=r"groups of \[8\] parameters, this one has \[3, 5\]"):
        rewire.load(path, split, torch.optim.Adam(groups))
    with pytest.raises(ValueError, match=r"float64, in this one"):
        loaded(path, "adam", model=mlp().double())


@pytest.mark.parametrize("world", WORLDS)
def test_a_session_that_does_not_fit_does_not_go_back(tmp_path, world):
    rewire.save(trained(attached(world, "set"), batches()[:3]), tmp_path / "net")
    for rule, options, why in (
        ("rigl", {}, "saved by the rules"), ("set", {"seed": 4}, "saved under seed 3"),
        ("set", {"optimizer": "sgd"}, "of the optimizer Adam"),
        ("set", {"world": WORLDS[world == "masked"]}, "in the .* world, and this session"),
    ):  # fmt: skip
        other = attached(**{"world": world, "rule": rule, **options})
        before = all_of(other)
        with pytest.raises(ValueError, match=why):
            other.load(tmp_path / "net")
        assert differences(before, all_of(other)) == []


def test_a_damaged_missing_or_foreign_file_is_refused(tmp_path):
    path = tmp_path / "net"
    rewire.save(attached("masked", "set"), path)
    blob = bytearray(path.read_bytes())
    blob[-7] ^= 1
    (tmp_path / "bad").write_bytes(blob)
    checkpoint.save(tmp_path / "other", {"x": 1})
    for name, why in (("bad", "digest"), ("none", "no such file"), ("other", "did not write it")):
        with pytest.raises(checkpoint.CheckpointError, match=why):
            loaded(tmp_path / name, "adam")
    assert json.loads(path.read_bytes()[8:].split(b"\n")[0][: int.from_bytes(blob[:8], "little")])


def test_what_comes_along_is_read_from_the_file(tmp_path):
    net = attached("masked", "set")
    average = net.averaged(0.9, each_step=True)
    trained(net, batches()[:3])
    extra = {"epoch": 3, "average": average.state_dict()}
    rewire.save(net, tmp_path / "net", extra=extra)
    assert differences(extra, saving.extra_of(tmp_path / "net")) == []
    with pytest.raises(TypeError, match="extra.hook is a function"):
        rewire.save(net, tmp_path / "net", extra={"hook": lambda: 0})
    assert saving.extra_of(tmp_path / "net")["epoch"] == 3


def test_a_rule_of_ones_own_comes_by_its_class_and_one_without_a_table_as_it_is(tmp_path):
    class Odd(rewire.SET):
        pass

    class Opaque(rewire.Static):
        def to_table(self):
            return {"what": object()}

    for rule, found in ((Odd(fraction=0.2), Odd(fraction=0.2)), (Opaque(), Opaque())):
        rewire.save(attached("masked", rule), tmp_path / "net")
        with pytest.raises(ValueError, match="pass it as rule=|Pass it as rule="):
            loaded(tmp_path / "net", "adam")
        net = loaded(tmp_path / "net", "adam", found)
        assert type(net.rules[0]) is type(rule)


def test_limits_positions_and_choices_come_back(tmp_path):
    limits = [rewire.FanIn(most=9), rewire.Dale(excitatory=0.7)]
    net = trained(
        attached("masked", "set", limits=limits, exclude=["4"], density=0.2), batches()[:5]
    )
    rewire.save(net, tmp_path / "net")
    again = loaded(tmp_path / "net", "adam")
    assert again.limits == net.limits
    assert [p.name for p in again.graph.projections] == ["0.weight", "3.weight"]
    for a, b in ((net, again),):
        assert (
            differences(all_of(trained(a, batches()[5:])), all_of(trained(b, batches()[5:]))) == []
        )


def test_a_model_on_meta_goes_on_as_lists_of_edges(tmp_path):
    with torch.device("meta"):
        wide = nn.Sequential(nn.Linear(12, 400), nn.ReLU(), nn.Linear(400, 4))
    net = trained(attached("sparse", "set", model=wide, density=0.01), batches()[:3])
    rewire.save(net, tmp_path / "net")
    with torch.device("meta"):
        new = nn.Sequential(nn.Linear(12, 400), nn.ReLU(), nn.Linear(400, 4))
    again = loaded(tmp_path / "net", "adam", model=new)
    assert (
        differences(all_of(trained(net, batches()[3:])), all_of(trained(again, batches()[3:])))
        == []
    )


def test_a_world_without_a_model_is_refused(tmp_path):
    space = rewire.Space(
        [rewire.Population("a", 3)], [rewire.Projection("p", "a", "a", "linear", (3, 3))]
    )
    session = rewire.Session(
        rewire.Bare(space), rewire.Graph(space, torch.arange(4)), rewire.Static()
    )
    with pytest.raises(ValueError, match="the bare world has no torch model to save"):
        rewire.save(session, tmp_path / "net")
