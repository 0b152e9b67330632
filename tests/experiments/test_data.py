"""Data sets in memory: what `load` returns, how it splits and scales, and what it refuses."""

import gzip
import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from rewire.experiments import cli, data
from rewire.experiments.data import packaged, sources
from rewire.experiments.data.dataset import Raw, Scaling, Split, shuffled, stratified
from rewire.experiments.errors import ConfigError, DataError

PACKAGED = ("mnist5k", "digits")
FILES = ("mnist", "fashion-mnist", "cifar10", "nmnist")
PARTS = ("train", "validation", "test")


def needs(name):
    """Skip where the files of a data set are absent; never where they are damaged."""
    info = data.available()[name]
    if not info.present:
        pytest.skip(f"{name} is not on this machine (looked in {', '.join(info.looked)})")


def parts(dataset):
    return [getattr(dataset, part) for part in PARTS]


def digest(tensor):
    return hashlib.sha256(tensor.contiguous().numpy()).hexdigest()[:16]


def rows(split):
    return {bytes(row) for row in split.x.numpy().reshape(len(split), -1)}


# --- what comes out


@pytest.mark.parametrize("name", [*PACKAGED, *FILES])
def test_shapes_sizes_and_types_are_those_announced(name):
    needs(name)
    info, loaded = data.available()[name], data.load(name)
    assert [len(split) for split in parts(loaded)] == [info.train, info.validation, info.test]
    assert (loaded.name, loaded.classes, loaded.shape) == (name, info.classes, info.shape)
    for split in parts(loaded):
        assert split.x.dtype == torch.float32
        assert split.y.dtype == torch.int64
        assert split.x.shape == (len(split), *info.shape)
        assert split.x.is_contiguous()
        assert set(split.y.tolist()) == set(range(info.classes))


@pytest.mark.parametrize("name", [*PACKAGED, *FILES])
def test_the_published_mean_and_std_are_those_of_training_and_validation(name):
    needs(name)
    loaded = data.load(name, normalise="none")
    pixels = torch.cat([loaded.train.x, loaded.validation.x])
    for channel, (mean, std) in enumerate(
        zip(loaded.scaling.mean, loaded.scaling.std, strict=True)
    ):
        count = torch.bincount(pixels[:, channel].flatten(), minlength=256).double()
        value = torch.arange(256).double() / loaded.scaling.peak
        found = (count @ value / count.sum()).item()
        assert round(found, 4) == mean
        assert round((count @ (value - found) ** 2 / count.sum()).sqrt().item(), 4) == std


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("mnist", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], None),
        ("fashion-mnist", [6000] * 10, [1000] * 10),
        ("cifar10", [5000] * 10, [1000] * 10),
    ],
)
def test_class_counts_of_the_official_files(name, train, test):
    needs(name)
    loaded = data.load(name, normalise="none")
    labels = torch.cat([loaded.train.y, loaded.validation.y])
    assert torch.bincount(labels).tolist() == train
    assert test is None or torch.bincount(loaded.test.y).tolist() == test


def test_mnist_begins_with_its_famous_digits():
    needs("mnist")
    loaded = data.load("mnist")
    assert loaded.train.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert loaded.test.y[:5].tolist() == [7, 2, 1, 0, 4]


def test_every_image_of_mnist5k_is_a_training_image_of_mnist():
    needs("mnist")
    small, full = (data.load(name, normalise="none") for name in ("mnist5k", "mnist"))
    assert set().union(*map(rows, parts(small))) <= rows(full.train) | rows(full.validation)


# --- scaling


def test_standard_is_the_formula_with_the_published_numbers():
    raw, scaled = (data.load("mnist5k", normalise=n) for n in ("none", "standard"))
    assert torch.allclose(scaled.test.x, (raw.test.x.float() / 255 - 0.1310) / 0.3082, atol=1e-6)


@pytest.mark.parametrize(("name", "peak"), [("mnist5k", 255), ("digits", 16)])
def test_unit_is_the_share_of_the_brightest_pixel(name, peak):
    raw, scaled = (data.load(name, normalise=n) for n in ("none", "unit"))
    assert raw.train.x.dtype == torch.uint8
    assert torch.equal(scaled.train.x, raw.train.x.float() / peak)
    assert (scaled.train.x.min(), scaled.train.x.max()) == (0, 1)


def test_scaling_says_how_to_get_the_pixels_back():
    raw, scaled = (data.load("digits", normalise=n) for n in ("none", "standard"))
    s = scaled.scaling
    back = (scaled.test.x * s.std[0] + s.mean[0]) * s.peak
    assert torch.equal(back.round().to(torch.uint8), raw.test.x)


def test_channels_are_scaled_each_by_its_own_numbers():
    pixels = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    scaling = data.Scaling("standard", 255.0, (0.5, 0.0, 0.25), (0.5, 2.0, 0.25))
    assert scaling.apply(pixels)[0, :, 0, 0].tolist() == [1.0, 0.5, 3.0]


def test_scaling_leaves_its_argument_alone():
    pixels = torch.ones(2, 1, 2, 2)
    data.Scaling("standard", 1.0, (0.5,), (2.0,)).apply(pixels)
    assert torch.equal(pixels, torch.ones(2, 1, 2, 2))


# --- splitting


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnist5k", ["61ab20084565774e", "ee70070c0f1c5f83", "fc960e2135b75f3e"]),
        ("digits", ["9c3d54228eeed999", "82bd47c5941d2936", "c9c091bfea5f964d"]),
    ],
)
def test_the_standard_split_never_changes(name, expected):
    loaded = data.load(name, normalise="none")
    assert [digest(split.x) for split in parts(loaded)] == expected


@pytest.mark.parametrize("name", PACKAGED)
def test_parts_are_disjoint_and_stratified(name):
    train, validation, test = parts(data.load(name, normalise="none"))
    sets = rows(train), rows(validation), rows(test)
    assert (
        len(set().union(*sets)) == sum(map(len, sets)) == len(train) + len(validation) + len(test)
    )
    for split in (validation, test):
        counts = torch.bincount(split.y)
        assert counts.max() - counts.min() <= 2


@pytest.mark.parametrize("name", PACKAGED)
def test_training_examples_do_not_come_sorted_by_class(name):
    labels = data.load(name).train.y
    assert (labels[1:] == labels[:-1]).double().mean() < 0.2


def test_validation_of_mnist_is_the_end_of_its_training_file():
    needs("mnist")
    paper, small = (
        data.load("mnist", normalise="none"),
        data.load("mnist", validation=100, normalise="none"),
    )
    assert torch.equal(small.validation.x, paper.validation.x[-100:])
    assert torch.equal(small.train.x[:55_000], paper.train.x)
    assert len(small.train) == 59_900


def test_a_seed_draws_another_validation_set_and_never_moves_the_test_set():
    first, second, again = (
        data.load("digits", normalise="none", validation=200, seed=s) for s in (1, 2, 1)
    )
    assert torch.equal(first.test.x, second.test.x)
    assert torch.equal(first.validation.x, again.validation.x)
    assert rows(first.validation) != rows(second.validation)
    assert len(first.validation) == len(second.validation) == 200
    everything = [rows(d.train) | rows(d.validation) for d in (first, second)]
    assert everything[0] == everything[1]


def test_stratified_is_exact_and_gives_the_remainders_to_the_largest():
    labels = np.repeat([0, 1, 2], [50, 30, 21])
    chosen = stratified(labels, 10, seed=3)
    # shares 4.95, 2.97 and 2.08: one row is left over for each of the first two
    assert np.bincount(labels[chosen]).tolist() == [5, 3, 2]
    assert stratified(labels, 101, seed=3).all()
    assert not stratified(labels, 0, seed=3).any()
    tied = np.array([1, 0, 0, 1])
    assert tied[stratified(tied, 3, seed=0)].tolist().count(0) == 2


def test_the_stream_behind_the_splits_is_the_frozen_one():
    assert shuffled(8, 0).tolist() == [6, 2, 1, 7, 3, 0, 5, 4]


# --- batches


def test_a_batch_is_the_rows_asked_for_in_their_order():
    split = data.load("digits").train
    index = torch.tensor([7, 3, 3, 1296])
    x, y = split.batch(index)
    assert torch.equal(x, split.x[index])
    assert torch.equal(y, split.y[index])
    x.zero_()
    assert split.x[3].any()


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("normalise", ["standard", "unit"])
def test_pixels_become_the_same_inputs_batch_by_batch(monkeypatch, normalise, native):
    whole = data.load("mnist5k", normalise=normalise).train
    monkeypatch.setattr(data, "LARGE", 0)
    if not native:
        monkeypatch.setattr("rewire.kernels.pixels.compiled", None)
    pixels = data.load("mnist5k", normalise=normalise).train
    assert pixels.stored.dtype == torch.uint8 and torch.equal(pixels.x, whole.x)
    index = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))[:60]
    into = pixels.empty(60)
    for x, y in (pixels.batch(index), pixels.batch(index, into)):
        assert torch.equal(x, whole.x[index]) and torch.equal(y, whole.y[index])
    assert x is into[0] and torch.equal(pixels.part(slice(3, 9))[0], whole.x[3:9])
    with pytest.raises(IndexError):
        pixels.batch(torch.tensor([len(whole)]))


def test_every_channel_of_pixels_is_scaled_by_its_own_numbers():
    pixels = torch.randint(0, 256, (7, 3, 5, 5), dtype=torch.uint8)
    split = Split(pixels, torch.arange(7), Scaling("standard", 255.0, (0.1, 0.5, 0.9), (1, 2, 3)))
    x, y = split.batch(torch.tensor([6, 0]))
    assert torch.equal(x, split.x[[6, 0]]) and y.tolist() == [6, 0]


def test_a_data_set_moves_between_devices_whole():
    loaded = data.load("digits").to("meta")
    assert {t.device.type for s in parts(loaded) for t in (s.x, s.y)} == {"meta"}
    assert loaded.scaling == data.load("digits").scaling


# --- errors


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mnst", {}, r"no data set 'mnst' \(did you mean 'mnist'\?\); one of mnist5k, digits"),
        ("digits", {"normalise": "std"}, r"no way to normalise 'std'.*standard, unit, none"),
        ("digits", {"validation": 0}, "validation = 0, but digits has 1,547 examples"),
        ("digits", {"validation": 1547}, "validation = 1547, .*choose 1 to 1,546"),
        ("digits", {"seed": -1}, "seed = -1"),
    ],
)
def test_configuration_errors_say_what_there_is(name, options, message):
    with pytest.raises(ConfigError, match=message):
        data.load(name, **options)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_data_set_says_where_it_was_looked_for_and_what_to_do(
    name, monkeypatch, tmp_path
):
    monkeypatch.setenv("REWIRE_DATA", str(tmp_path / "given"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=f"{name} is not on this machine") as error:
        data.load(name)
    assert error.value.exit_code == 3
    fetchable = data.available()[name].fetchable
    assert (f"rewire data fetch {name}" in str(error.value)) == fetchable
    assert f"{tmp_path}/given is not a folder" in str(error.value)
    looked = data.available()[name].looked
    assert all(place in str(error.value) for place in looked)
    for root in ("given", "cache/rewire"):
        assert any(place.startswith(f"{tmp_path}/{root}/") for place in looked)


def test_a_missing_package_says_what_to_install(monkeypatch):
    table = replace(sources.MNIST_5K, package="no_such_package_here")
    assert table.locate().path is None
    with pytest.raises(DataError, match=r'not installed.*pip install "neurorewire\[data\]"'):
        table.read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not gzip", "cannot be read"),
        ("1,2\n3,4\n", r"has shape \(2, 2\), expected \(2, 3\)"),
        ("1,2,3\n4,5,256\n", "cannot be read"),
        ("1,2,3\n4,x,6\n", "cannot be read"),
        ("1,2,3\n4,5,7\n", "its table has sha256"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, content, message):
    path = tmp_path / "table.csv.gz"
    good = hashlib.sha256(bytes([1, 2, 3, 4, 5, 6])).hexdigest()
    path.write_bytes(gzip.compress(b"1,2,3\n4,5,6\n"))
    assert packaged.read_table(path, (2, 3), good).tolist() == [[1, 2, 3], [4, 5, 6]]
    path.write_bytes(content if isinstance(content, bytes) else gzip.compress(content.encode()))
    with pytest.raises(DataError, match=message) as error:
        packaged.read_table(path, (2, 3), good)
    assert str(path) in str(error.value)


# --- the catalogue


def test_available_lists_every_source_with_where_it_is():
    known = data.available()
    assert list(known)[:6] == [*PACKAGED, *FILES]
    assert known["mnist5k"].present
    assert known["mnist5k"].path.endswith("mnist_5k.csv.gz")
    assert not known["mnist5k"].fetchable
    assert known["cifar10"].fetchable
    assert known["cifar10"].shape == (3, 32, 32)
    assert all(info.licence and info.citation and info.origin for info in known.values())


def test_listing_data_sets_imports_neither_torch_nor_the_packages_they_come_in():
    code = (
        "import sys; from rewire.experiments import data; data.available();"
        "heavy = {'torch', 'sklearn', 'mlxtend', 'pandas', 'PIL'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def tiny_source(read, **changes):
    fields = dict(
        name="tiny",
        title="four points",
        shape=(1, 1, 2),
        classes=2,
        train=3,
        validation=1,
        test=2,
        mean=(0.0,),
        std=(1.0,),
        peak=1.0,
        origin="made up",
        licence="none",
        citation="none",
        read=read,
        locate=lambda: data.Place(None, ("memory",)),
    )
    return data.Source(**(fields | changes))


def raw(x=None, y=(0, 1, 0, 1)):
    x = np.arange(8, dtype=np.float32).reshape(4, 1, 1, 2) if x is None else x
    return Raw(x, np.array(y), x[:2], np.array(y[:2]))


class FakeEntryPoint:
    value = "someone:tiny"

    def __init__(self, name, result):
        self.name, self.result = name, result

    def load(self):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def plug_in(monkeypatch):
    def install(**points):
        found = [FakeEntryPoint(name, result) for name, result in points.items()]
        monkeypatch.setattr(sources, "entry_points", lambda group: found)

    return install


def test_entry_points_add_data_sets_but_cannot_take_a_name_of_ours(plug_in):
    plug_in(tiny=tiny_source(raw), digits=tiny_source(raw))
    assert data.available()["tiny"].title == "four points"
    loaded = data.load("tiny")
    assert loaded.train.x.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert loaded.validation.y.tolist() == [1]
    assert data.load("digits").shape == (1, 8, 8)


def test_a_broken_plug_in_is_listed_with_its_problem_and_spoils_nothing_else(plug_in):
    plug_in(broken=ImportError("no module named x"), number=7)
    known = data.available()
    assert "cannot be imported: ImportError: no module named x" in known["broken"].problem
    assert "is a int, expected a rewire.experiments.data.Source" in known["number"].problem
    assert known["digits"].problem is None
    with pytest.raises(ConfigError, match="broken"):
        data.load("broken")


def listed(name, capsys):
    assert cli.main(["data", "list", "--json"]) == 0
    (row,) = [r for r in json.loads(capsys.readouterr().out) if r["name"] == name]
    return row


def test_a_data_set_without_files_is_listed_as_here(plug_in, capsys, tmp_path, monkeypatch):
    plug_in(tiny=tiny_source(raw, locate=None, title="four [points]"))
    row = listed("tiny", capsys)
    assert (row["here"], row["problem"], row["shape"]) == ("yes", None, [1, 1, 2])
    assert cli.main(["data", "list"]) == 0 and "four [points]" in capsys.readouterr().out
    assert cli.main(["doctor", "--json"]) in (0, 1)
    assert "needs no file" in capsys.readouterr().out
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data.fetch("tiny") == tmp_path / "rewire"


def nowhere():
    raise OSError("the disk is gone")


@pytest.mark.parametrize(
    ("locate", "message"),
    [
        (nowhere, "`locate` of the data set tiny raises OSError: the disk is gone"),
        (lambda: "memory", "`locate` of the data set tiny returns a str, expected a rewire"),
    ],
)
def test_a_plug_in_that_cannot_say_where_it_is_is_listed_with_its_problem(
    plug_in, capsys, locate, message
):
    plug_in(tiny=tiny_source(raw, locate=locate))
    assert message in listed("tiny", capsys)["here"]
    assert listed("digits", capsys)["here"] == "yes"
    with pytest.raises(ConfigError, match=message):
        data.fetch("tiny")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (raw(np.zeros((4, 1, 1, 2))), "train inputs are float64"),
        (raw(np.zeros((4, 2), np.uint8)), r"shape \(4, 2\), expected uint8 or float32 of shape"),
        (raw(y=(0, 1, 0, 2)), "train labels go from 0 to 2, expected 0 to 1"),
        (raw(y=(0.0, 1.0, 0.0, 1.0)), "train labels are float64"),
    ],
)
def test_what_a_plug_in_reads_is_checked(plug_in, wrong, message):
    plug_in(tiny=tiny_source(lambda: wrong))
    with pytest.raises(DataError, match=message):
        data.load("tiny")


def test_splits_compare_by_identity_so_that_data_sets_can_be_keys():
    split = Split(torch.zeros(1), torch.zeros(1))
    assert split in {split: 1}
