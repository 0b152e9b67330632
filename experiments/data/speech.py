"""Spoken digits as log-mel frames, with a class at each: the free spoken digit dataset.

A recording is a file ``DIGIT_SPEAKER_INDEX.wav`` of 8 kHz. Its test part are the indices below 5,
by the authors' rule; here the next five of each speaker and digit, 5 to 9, validate.
"""

from __future__ import annotations

import hashlib
import io
import re
import wave
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..tasks import IGNORED
from . import places
from .dataset import Raw
from .places import Place

RATE, CLASSES = 8_000, 10
WINDOW, HOP, BINS = 200, 80, 256  # samples: 25 ms, 10 ms, and of the transform
BANDS, FLOOR = 40, 1e-8  # mel bands, and the power below which silence is silence
PLACES = 100  # frames of an example: a second; what is longer is cut
FOLDERS = ("fsdd", "free-spoken-digit-dataset")
ARCHIVE, RECORDINGS = "recordings.zip", "recordings"
SHA256 = (
    "c508ca40e62214f8ea81451ff705df6e9a68265da606e26d5455a6a8d1e5bf81"  # of the samples, by name
)
NAME = re.compile(r"(?:.*/)?(\d)_([a-z]+)_(\d+)\.wav")


def locate_fsdd() -> Place:
    """The folder with the archive of all recordings, or with the folder that a clone of the
    authors' repository has."""
    return places.find(FOLDERS, [ARCHIVE, f"{RECORDINGS}/0_jackson_0.wav"])


def read_fsdd() -> Raw:
    """Frames of 40 log-mel bands, (N, 100, 40) float32, and the digit at each, (N, 100).

    Bands have mean 0 and deviation 1 over the frames of training and validation; places after the
    end of a recording hold 0, and their targets do not count.

    Raises:
        DataError: the recordings are not there, or not those that are known.
    """
    place = locate_fsdd()
    if place.path is None:
        raise places.missing("fsdd", place, fetched=False)
    recordings, digest = dict[tuple[int, int, str], np.ndarray](), hashlib.sha256()
    for name, content in sorted(_files(place.path)):
        digit, speaker, index = _named(place.path, name)
        samples = samples_of(content, name)
        recordings[-index, digit, speaker] = samples  # the last of the training part validate
        digest.update(f"{digit}_{speaker}_{index}".encode() + samples.tobytes())
    if digest.hexdigest() != SHA256:
        raise DataError(
            f"{place.path}: {len(recordings):,} recordings of sha256 {digest.hexdigest()}, "
            f"expected 3,000 of {SHA256}. Remove or replace {place.path.name}/."
        )
    order = sorted(recordings)
    frames = [log_mel(recordings[key])[:PLACES] for key in order]
    tests = np.array([key[0] > -5 for key in order])
    x = np.zeros((len(frames), PLACES, BANDS), np.float32)
    y = np.full((len(frames), PLACES), IGNORED, np.int64)
    trained = np.concatenate([f for f, test in zip(frames, tests, strict=True) if not test])
    mean, std = trained.mean(0), trained.std(0)
    for i, (key, own) in enumerate(zip(order, frames, strict=True)):
        x[i, : len(own)] = (own - mean) / std
        y[i, : len(own)] = key[1]
    return Raw(x[~tests], y[~tests], x[tests], y[tests])


def log_mel(samples: np.ndarray) -> np.ndarray:
    """The logarithm of the power in each of 40 mel bands, every 10 ms, (frames, 40) float64.

    samples: 16-bit, at 8 kHz. A frame sees 25 ms under Hann's window; the last samples that fill
    none are left out.

    >>> tone = (9_000 * np.sin(2 * np.pi * 1_000 * np.arange(800) / RATE)).astype(np.int16)
    >>> frames = log_mel(tone)
    >>> frames.shape, frames.argmax(1).tolist()
    ((8, 40), [18, 18, 18, 18, 18, 18, 18, 18])
    """
    if len(samples) < WINDOW:
        return np.zeros((0, BANDS))
    cut = np.lib.stride_tricks.sliding_window_view(samples / 2.0**15, WINDOW)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(cut * window, BINS)) ** 2
    return np.log(np.maximum(power @ mel_bands().T, FLOOR))


@cache
def mel_bands() -> np.ndarray:
    """Triangles of equal width on the mel scale from 0 to 4 kHz, (40, 129), 1 at their middle."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, BANDS + 2) / 2595) - 1)
    at = np.linspace(0, RATE / 2, BINS // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.clip(np.minimum((at - low) / (middle - low), (high - at) / (high - middle)), 0, None)


def samples_of(content: bytes, name: str) -> np.ndarray:
    """The samples of a wav file, int16. Raises DataError for other than 8 kHz, 16 bits, one
    channel."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            form = file.getframerate(), file.getsampwidth(), file.getnchannels()
            if form != (RATE, 2, 1):
                raise DataError(f"{name}: {form[0]:,} Hz, {8 * form[1]} bits, {form[2]} channels; "
                                f"expected {RATE:,} Hz, 16 bits, one channel.")  # fmt: skip
            return np.frombuffer(file.readframes(file.getnframes()), "<i2")
    except (wave.Error, EOFError) as error:
        raise DataError(f"{name}: is no wav file ({error}).") from error


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every recording of an archive, or a folder."""
    try:
        if (folder / ARCHIVE).is_file():
            with zipfile.ZipFile(folder / ARCHIVE) as archive:
                for name in archive.namelist():
                    if name.endswith(".wav"):
                        yield name.rpartition("/")[2], archive.read(name)
            return
        for path in (folder / RECORDINGS).glob("*.wav"):
            yield path.name, path.read_bytes()
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{folder}: cannot be read ({error}). Remove or replace it.") from error


def _named(folder: Path, name: str) -> tuple[int, str, int]:
    match = NAME.fullmatch(name)
    if match is None:
        raise DataError(f"{folder}: {name} is not named DIGIT_SPEAKER_INDEX.wav.")
    return int(match[1]), match[2], int(match[3])
