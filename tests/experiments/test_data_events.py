"""Recordings of an event camera: what is read, what is refused, and the real N-MNIST."""

import numpy as np
import pytest

from rewire.experiments import data
from rewire.experiments.data import events, sources
from rewire.experiments.data.events import read_events
from rewire.experiments.errors import DataError

# two recordings of 3 and 2 events, and an empty one between them
ARRAYS = {
    "x": np.array([0, 33, 0, 5, 5], np.uint8),
    "y": np.array([1, 2, 1, 6, 6], np.uint8),
    "p": np.array([1, 0, 1, 0, 1], np.uint8),
    "dt": np.array([10, 0, 65_535, 7, 3], np.uint16),
    "offset": np.array([0, 3, 3, 5]),
    "label": np.array([4, 0, 9], np.uint8),
    "id": np.array([7, 8, 60_001]),
}


def archive(folder, **changes):
    """An archive like N-MNIST's; None leaves an array out."""
    path = folder / "events.npz"
    arrays = {k: v for k, v in {**ARRAYS, **changes}.items() if v is not None}
    np.savez_compressed(path, **arrays)
    return path


def test_times_begin_anew_with_each_recording(tmp_path):
    found = read_events(archive(tmp_path))
    assert len(found) == 3
    assert found[0].t.tolist() == [10, 10, 65_545]  # beyond what 16 bits hold
    assert found[1].t.tolist() == []
    assert found[-1].t.tolist() == [7, 10]
    assert found[2].x.tolist() == [5, 5] and found[2].y.tolist() == [6, 6]
    assert found[2].polarity.tolist() == [0, 1]
    with pytest.raises(IndexError, match="3 recordings, and no number 3"):
        found[3]


def test_counts_are_events_per_polarity_row_and_column(tmp_path):
    counts = read_events(archive(tmp_path)).counts()
    assert counts.shape == (3, 2, 34, 34) and counts.dtype == np.uint8
    assert counts.sum((1, 2, 3)).tolist() == [3, 0, 2]
    assert counts[0, 1, 1, 0] == 2 and counts[0, 0, 2, 33] == 1
    assert counts[2, :, 6, 5].tolist() == [1, 1]


def test_counts_stop_at_what_a_byte_holds(tmp_path):
    many = {k: np.full(300, 2, ARRAYS[k].dtype) for k in ("x", "y", "dt")}
    many |= {"p": np.zeros(300, np.uint8), "offset": np.array([0, 0, 0, 300])}
    assert read_events(archive(tmp_path, **many)).counts().max() == 255


def test_parts_keep_whole_recordings(tmp_path):
    whole = read_events(archive(tmp_path))
    part = whole.part(np.array([True, False, True]))
    assert part.offset.tolist() == [0, 3, 5]
    assert part.label.tolist() == [4, 9] and part.id.tolist() == [7, 60_001]
    for mine, theirs in zip(part[1], whole[2], strict=True):
        assert mine.tolist() == theirs.tolist()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dt": None}, "has no array dt"),
        ({"x": ARRAYS["x"][:4]}, "x, y, p and dt differ in length"),
        ({"id": ARRAYS["id"][:2]}, "label and id differ in length"),
        ({"offset": np.array([0, 3, 5])}, "offset does not cut 5 events into 3 recordings"),
        ({"offset": np.array([0, 4, 3, 5])}, "offset does not cut"),
        ({"offset": np.array([0, 3, 3, 4])}, "offset does not cut"),
        ({"offset": np.array([1, 3, 3, 5])}, "offset does not cut"),
        ({"y": np.array([1, 2, 34, 6, 6], np.uint8)}, "a pixel lies outside 34 x 34"),
        ({"p": np.array([1, 0, 2, 0, 1], np.uint8)}, "a polarity is neither 0 nor 1"),
        ({"label": np.array([4, 0, 10], np.uint8)}, "a label is no digit"),
        ({"dt": ARRAYS["dt"].astype(float)}, r"dt is float64 of shape \(5,\)"),
        ({"x": np.zeros((5, 1), np.uint8)}, r"x is uint8 of shape \(5, 1\)"),
        ({"x": np.array([None] * 5, dtype=object)}, "cannot be read"),  # a pickle: never opened
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, says):
    path = archive(tmp_path, **changes)
    with pytest.raises(DataError, match=says) as error:
        read_events(path)
    assert str(error.value).startswith(str(path))


def test_another_file_is_refused_before_it_is_opened(tmp_path):
    path = archive(tmp_path)
    with pytest.raises(DataError, match="bytes, expected 5"):
        read_events(path, size=5)
    with pytest.raises(DataError, match="has sha256 .*, expected 00"):
        read_events(path, sha256="00")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be read"):
        read_events(path)


def test_what_is_not_there_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("REWIRE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="nmnist is not on this machine") as error:
        data.load_events()
    assert str(tmp_path / "nmnist-small") in str(error.value)
    assert "fetch" not in str(error.value)  # there is nowhere to fetch it from


# -- the real one -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recordings():
    if not data.available()["nmnist"].present:
        pytest.skip("nmnist is not on this machine: set $REWIRE_DATA")
    return data.load_events()


def test_real_recordings_are_of_the_published_size(recordings):
    train, test = recordings
    assert (len(train), len(test)) == (1000, 100)
    assert len(train.x) + len(test.x) == 4_518_827
    assert (test.id >= events.FIRST_TEST_ID).all() and (train.id < events.FIRST_TEST_ID).all()
    for i in (0, 500, 999):  # three saccades of 100 ms each
        t = train[i].t
        assert (np.diff(t) >= 0).all()
        assert 0.28e6 < t[-1] < 0.34e6


def test_real_labels_are_those_of_the_mnist_digits_recorded(recordings):
    if not data.available()["mnist"].present:
        pytest.skip("mnist is not on this machine: set $REWIRE_DATA")
    mnist = sources.source("mnist").read()
    train, test = recordings
    assert (train.label == mnist.y_train[train.id - 1]).all()
    assert (test.label == mnist.y_test[test.id - events.FIRST_TEST_ID]).all()


def test_pictures_of_the_events_look_like_their_digits(recordings):
    """A recording's picture is nearer to the mean of its own class than to others'."""
    loaded = data.load("nmnist")
    x, y = loaded.train.x.flatten(1), loaded.train.y
    means = np.stack([x[y == digit].mean(0) for digit in range(10)])
    test = loaded.test.x.flatten(1).numpy()
    nearest = ((test[:, None] - means) ** 2).sum(2).argmin(1)
    assert (nearest == loaded.test.y.numpy()).mean() > 0.6
