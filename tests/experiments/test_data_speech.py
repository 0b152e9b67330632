"""Spoken digits as log-mel frames: what is computed, what is read, and the real recordings."""

import wave
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

import rewire
from rewire.experiments import data
from rewire.experiments.data import speech
from rewire.experiments.errors import DataError


def tone(hertz, samples=800, amplitude=9_000):
    at = np.arange(samples) / speech.RATE
    return (amplitude * np.sin(2 * np.pi * hertz * at)).astype(np.int16)


def test_frames_are_those_of_a_transform_written_out():
    samples = tone(440) + tone(1_500, amplitude=2_000)
    frames = speech.log_mel(samples)
    at = np.arange(speech.BINS // 2 + 1)[:, None] * np.arange(speech.WINDOW) / speech.BINS
    waves = np.exp(-2j * np.pi * at)  # (bins, samples)
    hann = np.sin(np.pi * np.arange(speech.WINDOW) / speech.WINDOW) ** 2
    for i, frame in enumerate(frames):
        cut = samples[i * speech.HOP : i * speech.HOP + speech.WINDOW] / 32_768 * hann
        power = np.abs(waves @ cut) ** 2
        assert np.allclose(frame, np.log(np.maximum(speech.mel_bands() @ power, speech.FLOOR)))
    assert len(frames) == (len(samples) - speech.WINDOW) // speech.HOP + 1 == 8


def test_bands_rise_with_the_tone_and_leave_nothing_out():
    bands = speech.mel_bands()
    assert bands.shape == (40, 129) and bands.max() <= 1 and (bands.sum(1) > 1).all()
    inside = np.linspace(0, 4_000, 129)
    covered = bands.sum(0)[(inside > 40) & (inside < 3_700)]
    assert np.allclose(covered, 1)  # neighbours' slopes add up
    loudest = [int(speech.log_mel(tone(f)).mean(0).argmax()) for f in (200, 500, 1_000, 3_000)]
    assert loudest == sorted(set(loudest))
    assert (speech.log_mel(np.zeros(400, np.int16)) == np.log(speech.FLOOR)).all()
    assert speech.log_mel(tone(440, samples=199)).shape == (0, 40)


def wav(path, samples, rate=8_000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture
def few(tmp_path, monkeypatch):
    """The layout of a clone, with recordings of two digits."""
    monkeypatch.setenv("REWIRE_DATA", str(tmp_path))
    folder = tmp_path / "free-spoken-digit-dataset"
    for digit in (0, 7):
        for index in (0, 4, 5, 12):
            name = f"{digit}_jackson_{index}.wav"
            wav(folder / "recordings" / name, tone(300 + 300 * digit + index, 1_000 + 100 * index))
    return folder


def read_as_known(monkeypatch):
    with pytest.raises(DataError, match=r"8 recordings of sha256 (\w+), expected 3,000") as error:
        speech.read_fsdd()
    monkeypatch.setattr(speech, "SHA256", str(error.value).split("sha256 ")[1].split(",")[0])
    return speech.read_fsdd()


def test_indices_below_five_are_for_testing_and_the_next_ones_come_last(few, monkeypatch):
    raw = read_as_known(monkeypatch)
    assert raw.x_train.shape == raw.x_test.shape == (4, speech.PLACES, 40)
    lengths = [(y >= 0).sum() for y in raw.y_train]
    assert lengths == [(1_000 + 100 * i - 200) // 80 + 1 for i in (12, 12, 5, 5)]
    assert [y.max() for y in raw.y_train] == [0, 7, 0, 7]
    assert sorted((y >= 0).sum() for y in raw.y_test) == [11, 11, 16, 16]
    for x, y in ((raw.x_train, raw.y_train), (raw.x_test, raw.y_test)):
        assert not x[y < 0].any()
        assert (np.diff((y >= 0).astype(int), axis=1) <= 0).all()  # padding is at the end
    frames = raw.x_train[raw.y_train >= 0].astype(float)
    assert np.allclose(frames.mean(0), 0, atol=1e-5) and np.allclose(frames.std(0), 1, atol=1e-5)


def test_an_archive_is_read_as_the_folder_is(few, monkeypatch):
    folder = read_as_known(monkeypatch)
    with zipfile.ZipFile(few / speech.ARCHIVE, "w") as archive:
        for path in (few / "recordings").iterdir():
            archive.write(path, f"recordings/{path.name}")
            path.unlink()
    zipped = speech.read_fsdd()
    for name in ("x_train", "y_train", "x_test", "y_test"):
        assert np.array_equal(getattr(folder, name), getattr(zipped, name))


def test_other_recordings_are_refused(few):
    wav(few / "recordings" / "seven.wav", tone(300))
    with pytest.raises(DataError, match="seven.wav is not named DIGIT_SPEAKER_INDEX.wav"):
        speech.read_fsdd()
    (few / "recordings" / "seven.wav").unlink()
    path = wav(few / "recordings" / "0_jackson_0.wav", tone(300), rate=16_000)
    with pytest.raises(DataError, match="0_jackson_0.wav: 16,000 Hz, 16 bits, 1 channels"):
        speech.read_fsdd()
    path.write_bytes(b"no sound")
    with pytest.raises(DataError, match="0_jackson_0.wav: is no wav file"):
        speech.read_fsdd()


def test_without_recordings_it_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setenv("REWIRE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="fsdd is not on this machine: looked in .*fsdd"):
        data.load("fsdd")


def test_the_real_recordings_are_learned_frame_by_frame():
    if not data.available()["fsdd"].present:
        pytest.skip("fsdd is not on this machine: set $REWIRE_DATA")
    loaded, task = data.load("fsdd"), data.info("fsdd").task
    parts = loaded.train, loaded.validation, loaded.test
    assert [len(part) for part in parts] == [2_400, 300, 300]
    for part in parts[1:]:
        assert np.bincount(part.y[:, 0], minlength=10).tolist() == [30] * 10
    frames = loaded.train.x[loaded.train.y >= 0]
    assert abs(float(frames.mean())) < 0.05 and abs(float(frames.std()) - 1) < 0.05
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    net = rewire.attach(model, optimizer, rewire.SET(when=rewire.every(20)), density=0.3)
    for step in range(100):
        optimizer.zero_grad()
        x, y = loaded.train.batch(torch.arange(50) * 48 + step % 48)
        task.loss(model(x), y).backward()
        optimizer.step()
    _, accuracy = task.measure(net.world, loaded.test)
    assert accuracy > 0.3  # a tenth by chance
