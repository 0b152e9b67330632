"""Data sets of spikes: 0 or 1 of each channel in each time step, (N, T, ...)."""

from __future__ import annotations

import numpy as np

from ..tasks import IGNORED
from . import events, speech
from .dataset import Raw
from .events import Events
from .source import Source

STEPS, STEP = 10, 32_000  # of N-MNIST: time steps, microseconds of each (a recording has 315,000)
DELTA, POOLED = 0.5, 4  # of speech: deviations of a band, frames of 10 ms in a time step


def binned(recordings: Events, steps: int = STEPS, step: int = STEP) -> np.ndarray:
    """Whether each pixel had an event of each polarity in each step, (N, steps, 2, 34, 34) uint8.

    step: in microseconds. Events after the last step are left out.

    >>> x = y = np.zeros(3, np.uint8)
    >>> one = Events(x, y, np.array([0, 31_999, 32_000]), np.ones(3, np.uint8), np.array([0, 3]),
    ...              np.zeros(1, int), np.zeros(1, int))
    >>> binned(one)[0, :3, :, 0, 0].tolist()
    [[0, 1], [0, 1], [0, 0]]
    """
    recording = np.repeat(np.arange(len(recordings)), np.diff(recordings.offset))
    at = recordings.t // step
    kept = at < steps
    spikes = np.zeros((len(recordings), steps, 2, events.SIDE, events.SIDE), np.uint8)
    columns = (recording, at, recordings.polarity, recordings.y, recordings.x)
    spikes[tuple(column[kept] for column in columns)] = 1
    return spikes


def send_on_delta(values: np.ndarray, delta: float) -> np.ndarray:
    """Spikes of two polarities where values have risen or fallen by ``delta``, (N, T, 2, bands)
    uint8: up, down.

    values: (N, T, bands). Each band of each example keeps a level, 0 at first; at a step where its
    value is ``delta`` or more from the level there is one spike, and the level goes by whole deltas
    to within one of the value (Miskowicz 2006, doi:10.3390/s6010049).

    >>> spikes = send_on_delta(np.array([0.0, 0.6, 0.9, 2.2, 0.1]).reshape(1, 5, 1), 0.5)
    >>> spikes[0, :, 0, 0].tolist(), spikes[0, :, 1, 0].tolist()  # levels 0, .5, .5, 2, .5
    ([0, 1, 0, 1, 0], [0, 0, 0, 0, 1])
    """
    n, steps, bands = values.shape
    level, spikes = np.zeros((n, bands)), np.zeros((n, steps, 2, bands), np.uint8)
    for t in range(steps):
        away = np.trunc((values[:, t] - level) / delta)
        spikes[:, t, 0], spikes[:, t, 1] = away > 0, away < 0
        level += delta * away
    return spikes


def read_nmnist_events() -> Raw:
    """N-MNIST's recordings in 10 steps of 32 ms."""
    train, test = events.load_events()
    return Raw(binned(train), train.label, binned(test), test.label)


def read_fsdd_spikes() -> Raw:
    """Spoken digits as spikes of 40 bands that grow louder, then of 40 that grow softer, in 25
    steps of 40 ms, (N, 25, 80) uint8; and the digit, (N,)."""
    raw = speech.read_fsdd()
    x_train, x_test = (
        _of_speech(x, y) for x, y in ((raw.x_train, raw.y_train), (raw.x_test, raw.y_test))
    )
    return Raw(x_train, raw.y_train[:, 0], x_test, raw.y_test[:, 0])


def _of_speech(frames: np.ndarray, targets: np.ndarray) -> np.ndarray:
    spikes = send_on_delta(frames, DELTA)
    spikes[targets == IGNORED] = 0  # after the end of a recording
    n, steps, _, bands = spikes.shape
    return spikes.reshape(n, steps // POOLED, POOLED, 2 * bands).max(2)


def _spikes(name: str, shape: tuple[int, ...], **of: object) -> Source:
    """Read as 0 and 1 whatever the scaling, and as float32."""
    return Source(name=name, shape=shape, classes=10, peak=1.0, mean=(0.0,) * shape[0],
                  std=(1.0,) * shape[0], **of)  # type: ignore[arg-type]  # fmt: skip


SPIKES = (
    _spikes(
        "nmnist-events",
        (STEPS, 2, events.SIDE, events.SIDE),
        title="1,100 recordings of N-MNIST as spikes: whether a pixel had an event in each of 10 "
        "steps of 32 ms",
        train=900,
        validation=100,
        test=100,
        origin="the recordings of `nmnist`; events of a pixel and polarity in a step are one spike",
        licence="CC BY-SA 4.0 (as usually given; the files state none)",
        citation="Orchard, Jayawant, Cohen, Thakor 2015 (doi:10.3389/fnins.2015.00437)",
        read=read_nmnist_events,
        locate=events.locate_nmnist,
        split_seed=0,
    ),
    _spikes(
        "fsdd-spikes",
        (speech.PLACES // POOLED, 2 * speech.BANDS),
        title="3,000 spoken digits as spikes of 40 bands that grow louder or softer, in 25 steps "
        "of 40 ms",
        train=2_400,
        validation=300,
        test=300,
        origin="the log-mel frames of `fsdd`, a spike where a band has changed by half a standard "
        "deviation (send-on-delta), four frames to a step; the parts are those of `fsdd`",
        licence="CC BY-SA 4.0",
        citation="Jackson, Souza, Flaks, Pan, Nicolas, Thite 2018 (free-spoken-digit-dataset, "
        "doi:10.5281/zenodo.1342401)",
        read=read_fsdd_spikes,
        locate=speech.locate_fsdd,
    ),
)
