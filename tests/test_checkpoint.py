"""Checkpoints: what goes in comes out, exactly; damage is found; the newest good one wins."""

import collections
import contextlib
import json
import math
import os
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewire import atomic, checkpoint
from rewire.checkpoint import CheckpointError, Generations, load, save

DTYPES = (
    "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 bfloat16 float32 float64 "
    "complex64 float8_e4m3fn float8_e5m2"
).split()


def raw(tensor):
    """The bytes of a tensor: NaNs and the sign of zero count."""
    return tensor.contiguous().view(torch.uint8).tolist() if tensor.dim() else raw(tensor[None])


def same(a, b):
    """Equal in types, order, bits and shapes, all the way down."""
    if isinstance(a, torch.Tensor):
        return (
            type(b) is torch.Tensor
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and (not a.numel() or raw(a) == raw(b))
        )
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return [(type(k), k) for k in a] == [(type(k), k) for k in b] and all(
            same(a[k], b[k]) for k in a
        )
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return struct.pack(">d", a) == struct.pack(">d", b)
    return a == b


def round_trip(path, tree, meta=None):
    save(path / "x.safetensors", tree, meta)
    return load(path / "x.safetensors")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (3, 5)])
def test_every_dtype_and_shape_comes_back_bit_by_bit(tmp_path, dtype, shape):
    dtype = getattr(torch, dtype)
    size = math.prod(shape) * dtype.itemsize
    noise = torch.randint(0, 2 if dtype is torch.bool else 256, (size,), dtype=torch.uint8)
    tensor = noise.view(dtype).reshape(shape) if size else torch.empty(shape, dtype=dtype)
    assert same(tensor, round_trip(tmp_path, tensor)[0])


def test_structure_comes_back_with_its_types(tmp_path):
    tree = {
        "": {}, "1": [], 1: (), -7: ("a", ["b", ("c",)]), 2**80: None,
        "a.b": torch.ones(2), "a": {"b": torch.zeros(3)}, "__metadata__": torch.ones(1),
        "dict": {"tuple": [1], "tensor": "x"}, "é\x00\ud800": "\ud800☃\n",
    }  # fmt: skip
    meta = {"populations": [{"name": "in", "size": 784}], "slots": None, 3: (1.5, True)}
    tree_back, meta_back = round_trip(tmp_path, tree, meta)
    assert same(tree, tree_back)
    assert same(meta, meta_back)


@pytest.mark.parametrize("value", [0, -1, True, False, 2**53 + 1, -(2**63), 2**63, 2**64, "big"])
def test_ints_of_any_size_come_back(tmp_path, value):
    value = 10**5000 if value == "big" else value  # too long for str(), so for the test's name
    assert same([value], round_trip(tmp_path, [value])[0])


@pytest.mark.parametrize(
    "value",
    [0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan,
     struct.unpack(">d", bytes.fromhex("fff8000000abcdef"))[0]],
)  # fmt: skip
def test_floats_come_back_bit_by_bit(tmp_path, value):
    assert same({"x": value}, round_trip(tmp_path, {"x": value})[0])


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=30,
)


@given(tree=trees)
@settings(max_examples=100, deadline=None)
def test_any_tree_comes_back(tmp_path_factory, tree):
    folder = tmp_path_factory.mktemp("tree")
    assert same(tree, round_trip(folder, tree, {"tree": tree})[0])


def test_saving_takes_no_copy_of_the_tensors(tmp_path):
    tree = {"weight": torch.ones(1 << 20), "keys": torch.arange(1 << 20)}
    tracemalloc.start()
    try:
        save(tmp_path / "x.safetensors", tree)
        assert tracemalloc.get_traced_memory()[1] < 1 << 19
    finally:
        tracemalloc.stop()
    assert same(tree, load(tmp_path / "x.safetensors")[0])


def test_other_readers_of_safetensors_open_it(tmp_path):
    tree = {name: torch.ones(3).to(getattr(torch, name)) for name in DTYPES}
    save(tmp_path / "x.safetensors", {"odd": torch.ones(3, dtype=torch.bool), **tree})
    found = safetensors.torch.load_file(tmp_path / "x.safetensors")
    assert found.keys() == {"odd", *DTYPES}
    assert all(same(tree[name], found[name]) for name in DTYPES)


def test_views_come_back_contiguous_and_expanded_ones_whole(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    tree = [base.t(), base[:, ::2], base[1:3], base, torch.ones(1).expand(3, 2), base[:0]]
    back, _ = round_trip(tmp_path, tree)
    assert same([t.contiguous() for t in tree], back)
    back[2] += 1  # overlapping views come back independent
    assert torch.equal(back[3], base)


def test_conjugate_and_negative_views_come_back_by_value(tmp_path):
    x = torch.randn(3, dtype=torch.complex64)
    back, _ = round_trip(tmp_path, [x.conj(), x.conj().imag])
    assert torch.equal(back[0], x.conj()) and torch.equal(back[1], -x.imag)


def test_a_tensor_met_twice_is_stored_once_and_stays_one(tmp_path):
    tied = torch.randn(1000)
    back, _ = round_trip(tmp_path, {"encoder": tied, "decoder": tied, "part": tied[:10]})
    assert (tmp_path / "x.safetensors").stat().st_size < 6000
    back["encoder"][0] = 7
    assert back["decoder"][0] == 7
    assert back["part"][0] == tied[0]


def test_subclasses_come_back_plain(tmp_path):
    model = torch.nn.Linear(2, 3)
    state = collections.OrderedDict(weight=model.weight, lr=torch.tensor(0.1))
    back, _ = round_trip(tmp_path, state)
    assert type(back) is dict and type(back["weight"]) is torch.Tensor
    assert not back["weight"].requires_grad
    model.load_state_dict({"weight": back["weight"], "bias": model.bias})


def test_loaded_tensors_can_be_written_to(tmp_path):
    tree, _ = round_trip(tmp_path, {"a": torch.zeros(3), "b": torch.zeros(3)})
    tree["a"] += 1
    assert tree["b"].tolist() == [0, 0, 0]
    assert load(tmp_path / "x.safetensors")[0]["a"].tolist() == [0, 0, 0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_tensors_come_back_on_the_cpu(tmp_path):
    tensor = torch.randn(3, 4, device="cuda")
    back, _ = round_trip(tmp_path, [tensor, tensor.t(), tensor])
    assert all(t.device.type == "cpu" for t in back)
    assert torch.equal(back[0], tensor.cpu()) and torch.equal(back[1], tensor.t().cpu())


def test_an_optimiser_resumes_from_its_state(tmp_path):
    def train(model, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.ones(4, 3)).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    train(model, optimizer, 3)
    save(tmp_path / "c", {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    train(model, optimizer, 3)

    other = torch.nn.Linear(3, 2)
    other_optimizer = torch.optim.Adam(other.parameters())
    tree, _ = load(tmp_path / "c")
    other.load_state_dict(tree["model"])
    other_optimizer.load_state_dict(tree["optimizer"])
    train(other, other_optimizer, 3)
    assert torch.equal(other.weight, model.weight)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": [1, object()]}, r"a\.1 is a object: .* tensor, int"),
        ({"a": {(1, 2): 3}}, r"a has the key \(1, 2\)"),
        ({True: 3}, "has the key True"),
        ({"a": torch.eye(2).to_sparse()}, "a is a tensor of .*sparse"),
        ({"a": torch.empty(2, device="meta")}, "a is a tensor of .*meta"),
        ({"a": torch.zeros(1, dtype=torch.complex128)}, "a is a tensor of torch.complex128"),
        ({"a": {1, 2}}, "a is a set"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_place(tmp_path, tree, message):
    with pytest.raises(TypeError, match=message):
        save(tmp_path / "x", tree)
    assert not list(tmp_path.iterdir())


def test_meta_holds_no_tensors(tmp_path):
    with pytest.raises(TypeError, match=r"meta\.x is a Tensor"):
        save(tmp_path / "x", {}, {"x": torch.ones(1)})


def test_bottomless_and_bloated_trees_are_refused(tmp_path):
    loop: list = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested more than"):
        save(tmp_path / "x", loop)
    with pytest.raises(ValueError, match="put long lists of numbers into tensors"):
        save(tmp_path / "x", list(range(2_000_000)))


def test_the_same_tree_gives_the_same_bytes(tmp_path):
    tree = {"w": torch.arange(5.0), "m": {"b": torch.ones(3, dtype=torch.bool)}, "n": [1, 2]}
    save(tmp_path / "a", tree, {"x": 1, "y": 2})
    save(tmp_path / "b", tree, {"x": 1, "y": 2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_any_safetensors_reader_opens_it(tmp_path):
    from safetensors.torch import load_file

    save(tmp_path / "x", {"model": {"fc1.weight": torch.arange(3)}, "step": 3})
    assert load_file(tmp_path / "x")["model.fc1.weight"].tolist() == [0, 1, 2]


# --- what load refuses


@contextlib.contextmanager
def alarm(seconds):
    """A reader that waits for a pipe's other end fails instead of hanging the tests."""

    def ring(*_):
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def forge(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def sealed(tree, version=1):
    """A file of ours with any structure, its digest right."""
    text = json.dumps(
        {"digest": "blake2b:" + "0" * 64, "format": version, "meta": {"dict": []}, "tree": tree}
    )
    blob = json.dumps({"__metadata__": {"rewire": text}}).encode()
    blob = struct.pack("<Q", len(blob)) + blob
    at = blob.index(b"blake2b:")
    digest = checkpoint._digest(blob[:at], blob[at + 72 :])
    return blob[: at + 8] + digest + blob[at + 72 :]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: None, "there is no such file"),
        (lambda p: p.mkdir(), "Is a directory"),
        (os.mkfifo, "is not a file"),
        (lambda p: p.symlink_to("/dev/zero"), "is not a file"),
        (lambda p: p.write_bytes(b""), "truncated"),
        (lambda p: p.write_bytes(b"\x01\x00"), "truncated"),
        (lambda p: p.write_bytes(b"\x00" * 100), "it is no safetensors file"),
        (lambda p: p.write_bytes(b"\xff" * 100), "a header of 18446744073709551615 bytes"),
        (lambda p: p.write_text("<html>" + "x" * 100), "a header of"),
        (lambda p: torch.save({"a": torch.ones(3)}, p), "a header of"),
        (lambda p: forge(p, b"[" * 5_000_000), "it is no safetensors file"),
        (lambda p: forge(p, {"__metadata__": {"format": "pt"}}), "rewire did not write"),
        (lambda p: forge(p, {"__metadata__": {"rewire": "[" * 10**6}}), "cannot be read"),
        (lambda p: forge(p, {"__metadata__": {"rewire": '{"format": 1}'}}), "no digest"),
        (lambda p: forge(p, {"w": {"data_offsets": [0, 10**15]}}), "rewire did not write"),
        (lambda p: p.write_bytes(sealed({"dict": []}, version=2)), "has format 2 .* newer rewire"),
        (lambda p: p.write_bytes(sealed({"dict": []}, version="2")), "has format 2"),
        (lambda p: p.write_bytes(sealed({"pickle": "x"})), "its structure holds"),
        (lambda p: p.write_bytes(sealed({"tensor": "x"})), "damaged: KeyError"),
        (lambda p: p.write_bytes(sealed({"dict": [[[1], 2]]})), "has the key"),
        (lambda p: p.write_bytes(sealed({"dict": [[1]]})), "damaged: ValueError"),
        (lambda p: p.write_bytes(sealed(1) + b"!"), "damaged: .* bytes, not"),
    ],
)
def test_anything_else_is_refused_with_file_and_reason(tmp_path, make, reason):
    path = tmp_path / "x.safetensors"
    make(path)
    with alarm(30), pytest.raises(CheckpointError, match=reason) as caught:
        load(path)
    assert caught.value.path == path and str(path) in str(caught.value)


def test_the_forger_above_makes_loadable_files(tmp_path):
    """Otherwise the refusals above could have another reason than the one they name."""
    (tmp_path / "x").write_bytes(sealed({"dict": [["a", {"tuple": [1]}]]}))
    assert load(tmp_path / "x") == ({"a": (1,)}, {})


def test_a_huge_sparse_file_is_refused_before_its_memory_is_asked_for(tmp_path):
    path = tmp_path / "x"
    size = 1 << 45
    header = {
        "__metadata__": {"rewire": '{"format": 1}'},
        "w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]},
    }
    forge(path, header)
    try:
        os.truncate(path, path.stat().st_size + size)
    except OSError:
        size = 1 << 43  # what this file system takes
        header["w"] = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
        forge(path, header)
        os.truncate(path, path.stat().st_size + size)
    with pytest.raises(CheckpointError, match="too large"):
        load(path)


def test_errors_survive_the_way_between_processes():
    import pickle

    error = pickle.loads(pickle.dumps(CheckpointError("a/b", "gone")))
    assert str(error) == "a/b: gone" and error.path == Path("a/b")


# --- two generations


def test_nothing_saved_is_none(tmp_path):
    assert Generations(tmp_path).load_newest() is None


def test_the_newest_wins_and_both_files_are_used(tmp_path):
    generations = Generations(tmp_path)
    for step in range(5):
        generations.save({"step": step})
        assert Generations(tmp_path).load_newest() == {"step": step}
    steps = {load(path)[0]["step"] for path in generations.paths}
    assert steps == {3, 4}


def test_a_new_process_never_overwrites_the_newest(tmp_path):
    for step in range(5):
        Generations(tmp_path).save({"step": step})
        steps = {load(p)[0]["step"] for p in Generations(tmp_path).paths if p.exists()}
        assert steps == {step} | ({step - 1} if step else set())


def damage(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_damaged_newest_falls_back_and_says_so(tmp_path):
    generations = Generations(tmp_path)
    for step in range(4):
        generations.save({"step": step, "w": torch.ones(3)})
    damage(generations.paths[1])  # step 3
    fresh = Generations(tmp_path)
    with pytest.warns(UserWarning, match="checkpoint-b.* digest; going on from .*checkpoint-a"):
        assert fresh.load_newest()["step"] == 2
    assert [problem.path for problem in fresh.problems] == [generations.paths[1]]
    fresh.save({"step": 9})  # over the damaged one, not over the only good one
    assert load(fresh.paths[0])[0]["step"] == 2
    assert Generations(tmp_path).load_newest() == {"step": 9}


def test_saving_before_looking_spares_the_good_one(tmp_path):
    generations = Generations(tmp_path)
    generations.save({"step": 0, "w": torch.ones(1)})
    generations.save({"step": 1, "w": torch.ones(1)})
    damage(generations.paths[1])
    newest = generations.paths[0].read_bytes()
    Generations(tmp_path).save({"step": 2})
    assert generations.paths[0].read_bytes() == newest


def test_damaged_files_and_no_good_one_is_an_error(tmp_path):
    generations = Generations(tmp_path)
    generations.save({"w": torch.ones(1)})
    damage(generations.paths[0])
    with pytest.raises(CheckpointError, match="checkpoint-a"):
        Generations(tmp_path).load_newest()
    generations.save({"w": torch.ones(1)})
    damage(generations.paths[1])
    with pytest.raises(CheckpointError, match="no good checkpoint.*-a.* and .*-b"):
        Generations(tmp_path).load_newest()


def test_a_stray_checkpoint_is_no_generation(tmp_path):
    save(tmp_path / "checkpoint-a.safetensors", {"step": 7})
    with pytest.raises(CheckpointError, match="no generation"):
        Generations(tmp_path).load_newest()


def test_clear_removes_both(tmp_path):
    generations = Generations(tmp_path)
    generations.save(1)
    generations.save(2)
    generations.clear()
    assert not list(tmp_path.iterdir()) and generations.load_newest() is None


# --- the atomic write underneath


def test_a_save_forces_the_file_and_then_the_folder_to_the_disk(tmp_path, monkeypatch):
    calls = []

    def spy(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            result = real(*args, **kwargs)
            if name == "open":
                opened[result] = str(args[0])
            what = opened.get(args[0], "?") if name in ("write", "fsync", "close") else args[0]
            calls.append((name, Path(str(what)).suffix if str(what) != str(tmp_path) else "folder"))
            return result

        monkeypatch.setattr(os, name, call)

    opened: dict = {}
    for name in ("open", "write", "fsync", "close", "replace"):
        spy(name)
    save(tmp_path / "x.safetensors", {"w": torch.ones(10)})
    wanted = ["open .tmp", "write .tmp", "fsync .tmp", "close .tmp", "replace .tmp"]
    wanted += ["open folder", "fsync folder", "close folder"]
    names = [" ".join(call) for call in calls]
    assert [n for i, n in enumerate(names) if i == 0 or n != names[i - 1]] == wanted


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_of_the_dead_go_and_all_else_stays(tmp_path):
    host = os.uname().nodename
    dead, zombie = dead_pid(), os.fork()
    if zombie == 0:
        os._exit(0)
    os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
    gone = [f".x~{host}~{dead}~0.tmp", f".a~b~{host}~{dead}~3.tmp", f".x~{host}~{zombie}~0.tmp"]
    old = f".x~elsewhere~{os.getpid()}~0.tmp"
    stay = [
        f".x~{host}~{os.getpid()}~99.tmp", ".x~elsewhere~1~0.tmp", "x.tmp", ".x.tmp",
        f"x~{host}~{dead}~0.tmp", f".x~{host}~{dead}~0.txt", f".x~{host}~me~0.tmp",
    ]  # fmt: skip
    for name in (*gone, *stay, old):
        (tmp_path / name).touch()
    os.utime(tmp_path / old, (0, 0))
    atomic.write_atomic(tmp_path / "x", b"new")
    os.waitpid(zombie, 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*stay, "x"])


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    save(tmp_path / "x", {"step": 1})

    def full(fd, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            save(tmp_path / "x", {"step": 2})
    assert load(tmp_path / "x")[0] == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be written .No such file"):
        save(tmp_path / "no" / "x", {})


def test_a_short_write_is_carried_on(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    save(tmp_path / "x", {"w": torch.arange(100)})
    assert load(tmp_path / "x")[0]["w"].sum() == 4950


def test_four_megabytes_take_milliseconds_besides_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    tree = {"model": {str(i): torch.randn(250, 1000) for i in range(4)}}
    times = []
    for _ in range(9):
        began = time.process_time()
        save(tmp_path / "x", tree)
        times.append(time.process_time() - began)
    assert min(times) < 0.025
