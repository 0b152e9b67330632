"""A map's start in a MATLAB file: what is read, and that nothing else passes for one."""

import zlib

import numpy as np
import pytest
from scipy import io as scipy_io

b2 = pytest.importorskip("brian2")

from rewire.analysis import topography  # noqa: E402
from rewire.models.spiking.connectivity_file import (  # noqa: E402
    MOST_BYTES,
    ConnectivityFileError,
    digest_of,
    read,
)
from rewire.models.spiking.matlab_file import matrices  # noqa: E402
from rewire.models.spiking.topographic_map import STARTS, TopographicMap  # noqa: E402

SIZE, SLOTS = 16, 4


@pytest.fixture(autouse=True)
def numpy_target():
    before = b2.prefs.codegen.target
    b2.prefs.codegen.target = "numpy"
    yield
    b2.prefs.codegen.target = before


def partners():
    """(slots, targets): sources, then laterals, and the last target's last slot is empty."""
    rng = np.random.default_rng(0)
    half = SLOTS // 2
    forward = rng.integers(1, SIZE + 1, (half, SIZE))
    lateral = rng.integers(SIZE + 1, 2 * SIZE + 1, (half, SIZE))
    table = np.concatenate([forward, lateral]).astype(np.uint16)
    table[-1, -1] = 0
    return table


def file_of(folder, **changes):
    path = folder / "InitialConnectivity.mat"
    weights = np.random.default_rng(1).random((SLOTS, SIZE)) * 0.2
    tree = {"ConnPostToPre": partners(), "WeightPostToPre": weights} | changes
    scipy_io.savemat(path, {k: v for k, v in tree.items() if v is not None})
    return path


def small(path, **options):
    return TopographicMap(side=4, slots=SLOTS, start="bamford", start_file=str(path), **options)


def test_a_map_starts_with_the_files_synapses_and_weights(tmp_path):
    path = file_of(tmp_path)
    built = small(path).build(seed=5, replicates=2)
    weights = scipy_io.loadmat(path)["WeightPostToPre"].T
    table = partners().T.astype(int) - 1
    pre = np.asarray(built.synapses.i).reshape(2, SIZE, SLOTS)
    for copy in range(2):
        forward, lateral = (0 <= table) & (table < SIZE), table >= SIZE
        assert (pre[copy][forward] == table[forward] + copy * SIZE).all()
        assert (pre[copy][lateral] == table[lateral] + (1 + copy) * SIZE).all()
        assert pre[copy, -1, -1] == built.null
        w = np.asarray(built.synapses.w).reshape(2, SIZE, SLOTS)[copy]
        assert (w == np.where(table < 0, 0, weights)).all()
    pre = np.asarray(small(path, lateral=False).build().synapses.i).reshape(SIZE, SLOTS)
    assert (pre[:, SLOTS // 2 :] == 2 * SIZE).all()
    assert (np.asarray(small(path, w_0=0.1).build().synapses.w)[:-1] == 0.1).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ConnPostToPre": None}, "ConnPostToPre must be a matrix of .4, 16. real .* is missing"),
        ({"WeightPostToPre": np.zeros((5, 16))}, r"WeightPostToPre must .* but is \(5, 16\)"),
        ({"ConnPostToPre": np.full((4, 16), 33)}, "number partners from 1 to 32.* goes from 33"),
        ({"ConnPostToPre": np.full((4, 16), -1)}, "number partners from 1 to 32"),
        ({"ConnPostToPre": np.full((4, 16), 1.5)}, "number partners from 1 to 32"),
        ({"ConnPostToPre": np.full((4, 16), np.nan)}, "number partners from 1 to 32"),
        ({"WeightPostToPre": np.full((4, 16), 0.3)}, "lie from 0 to g_max = 0.2"),
        ({"WeightPostToPre": np.full((4, 16), np.inf)}, "lie from 0 to g_max = 0.2"),
        (
            {"ConnPostToPre": np.full((4, 16), 1j)},
            "ConnPostToPre must be .* real numbers .* is missing",
        ),
        (
            {"ConnPostToPre": np.full((4, 16), {"a": 1}, object)},
            "ConnPostToPre must be .* real numbers .* is missing",
        ),
    ],
)
def test_files_of_something_else_are_refused(tmp_path, changes, message):
    with pytest.raises(ConnectivityFileError, match=message):
        small(file_of(tmp_path, **changes)).build()


def test_missing_and_oversized_files_are_refused(tmp_path):
    with pytest.raises(ConnectivityFileError, match=r"none\.mat cannot be read .*start_file names"):
        small(tmp_path / "none.mat").build()
    with pytest.raises(ConnectivityFileError, match="cannot be read"):
        small(tmp_path).build()
    big = tmp_path / "big.mat"
    with big.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(ConnectivityFileError, match="more than connectivity of a map takes"):
        small(big).build()


def test_damage_is_told_or_leaves_the_connectivity_as_it_was(tmp_path):
    path = file_of(tmp_path)
    whole = path.read_bytes()
    expected = read(path, size=SIZE, slots=SLOTS, w_max=0.2)
    rng = np.random.default_rng(0)
    damaged = [whole[:k] for k in range(0, len(whole), 37)] + [b"", b"no MATLAB", whole[::-1]]
    for k in range(0, len(whole), 2):  # of this file scipy's reader crashes on some
        content = bytearray(whole)
        content[k] ^= int(rng.integers(1, 256))
        damaged.append(bytes(content))
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            connectivity = read(path, size=SIZE, slots=SLOTS, w_max=0.2)
        except ConnectivityFileError:
            refused += 1
        else:
            assert connectivity.sources.shape == expected.sources.shape
            assert connectivity.sources.min() >= -1 and connectivity.sources.max() < 2 * SIZE
            assert 0 <= connectivity.weights.min() and connectivity.weights.max() <= 0.2
    assert refused > 100


@pytest.mark.parametrize("packed", [True, False])
def test_matrices_are_those_that_scipy_reads_of_a_sound_file(tmp_path, packed):
    rng = np.random.default_rng(0)
    tree = {
        "a": rng.random((3, 4)), "b": rng.integers(0, 9, (2, 5)).astype(np.uint16),
        "c": np.float32(rng.random((1, 1))), "d": np.zeros((0, 3)),
        "text": "words", "z": 1j * np.ones(2),
    }  # fmt: skip
    scipy_io.savemat(tmp_path / "a.mat", tree, do_compression=packed)
    arrays = matrices((tmp_path / "a.mat").read_bytes(), 1 << 20)
    theirs = scipy_io.loadmat(tmp_path / "a.mat")
    assert sorted(arrays) == ["a", "b", "c", "d"]
    assert all(np.array_equal(arrays[name], theirs[name]) for name in arrays)


def test_a_packed_file_that_promises_little_and_holds_much_is_not_unpacked(tmp_path):
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    bomb = zlib.compress(bytes(MOST_BYTES + 1), 9)
    path = tmp_path / "bomb.mat"
    path.write_bytes(header + (15).to_bytes(4, "little") + len(bomb).to_bytes(4, "little") + bomb)
    with pytest.raises(ConnectivityFileError, match="unpacks to more than"):
        small(path).build()


def test_another_file_than_the_one_a_simulation_started_from_is_refused(tmp_path):
    path = file_of(tmp_path)
    digest = small(path).pinned()["start_sha256"]
    assert digest == digest_of(path) and len(digest) == 64
    small(path, start_sha256=digest).build()
    table = partners()
    table[0, 0] = table[0, 0] % SIZE + 1
    file_of(tmp_path, ConnPostToPre=table)
    with pytest.raises(ConnectivityFileError, match="not the file that this simulation started"):
        small(path, start_sha256=digest).build()


def test_bamford_and_its_file_go_together():
    for options in ({"start": "bamford"}, {"start_file": "a.mat"}):
        with pytest.raises(ValueError, match='start = "bamford" goes with start_file'):
            TopographicMap(**options)


# -- the draw that is like the published file -------------------------------------------------


def fields(pre):
    n = len(pre)
    counts = np.zeros((n, 16, 16))
    for j, sources in enumerate(pre):
        np.add.at(counts[j], np.divmod(sources, 16), 1)
    return topography.locate(counts, np.stack(np.divmod(np.arange(n), 16), 1).astype(float))


def test_the_matched_start_is_the_formation_rules_with_the_published_deviation():
    p = TopographicMap(start="matched")
    for seed in (0, 1):
        pre = STARTS["matched"](p, np.random.default_rng([seed, 0]))
        kernel = STARTS["kernel"](p, np.random.default_rng([seed, 0]))
        map_ = fields(pre[:, :16])
        assert map_.ad == pytest.approx(0.82, abs=0.01)
        assert map_.sigma_aff == pytest.approx(2.355, abs=0.04)
        assert fields(kernel[:, :16]).ad < 0.815
        same = (pre == kernel).all(1)
        assert 0.5 < same.mean() < 1 and np.array_equal(pre[:, 16:], kernel[:, 16:])


def test_a_map_that_cannot_have_the_published_deviation_is_refused():
    with pytest.raises(ValueError, match=r'"matched" cannot bring .* an AD of 0\.82'):
        TopographicMap(side=4, slots=8, sigma_form=0.01, start="matched").build()
