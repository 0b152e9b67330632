"""Events of a camera as the spikes of a Brian2 group: one neuron for each pixel and polarity."""

from __future__ import annotations

from typing import Any

import numpy as np

from .brian import brian2

SHAPE = (2, 34, 34)  # polarities, rows and columns of N-MNIST


def spikes(
    x: np.ndarray,
    y: np.ndarray,
    t: np.ndarray,
    polarity: np.ndarray,
    *,
    shape: tuple[int, int, int] = SHAPE,
    dt: float = 1e-3,
    start: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Neurons and time steps of the spikes, each (S,) int64, in order of time, then of neuron.

    x, y, polarity: (E,) column, row and 0 or 1 of each event; t: (E,) in microseconds.
    dt, start: in seconds; ``start`` is when the recording begins in the simulation.

    Neuron (polarity x rows + y) x columns + x, as ``Events.counts`` lies flat. A neuron spikes at
    most once a step, so that several events of it in one step are one spike.

    >>> neurons, steps = spikes([0, 1], [0, 0], [500, 2500], [0, 1], shape=(2, 1, 2))
    >>> neurons.tolist(), steps.tolist()  # polarity 0 at x = 0, polarity 1 at x = 1
    ([0, 3], [0, 2])

    Raises:
        ValueError: arrays of different lengths, or an event outside ``shape`` or before time 0.
    """
    columns = [np.asarray(c, np.int64) for c in (polarity, y, x)]
    t = np.asarray(t, np.int64)
    if len({len(c) for c in (*columns, t)}) != 1:
        raise ValueError("x, y, t and polarity differ in length: give one of each for an event.")
    for name, column, size in zip(("polarity", "y", "x"), columns, shape, strict=True):
        if len(column) and not (0 <= column.min() and column.max() < size):
            raise ValueError(
                f"{name} goes from {column.min()} to {column.max()}, but a camera of {shape} has "
                f"0 to {size - 1}."
            )
    # whole microseconds, so that no event is lost to rounding on the edge of a step
    step = (t + round(start * 1e6)) // round(dt * 1e6)
    if len(step) and step.min() < 0:
        raise ValueError(f"an event comes {-step.min()} steps before the simulation begins.")
    neurons = int(np.prod(shape))
    spike = np.unique(step * neurons + np.ravel_multi_index(tuple(columns), shape))
    return spike % neurons, spike // neurons


def spike_generator(
    x: np.ndarray,
    y: np.ndarray,
    t: np.ndarray,
    polarity: np.ndarray,
    *,
    shape: tuple[int, int, int] = SHAPE,
    dt: float = 1e-3,
    start: float = 0.0,
    name: str = "events",
) -> Any:
    """A SpikeGeneratorGroup that replays the events of one recording; arguments of :func:`spikes`.

    ``spike_generator(*train[0])`` is the first of ``load_events()``'s training recordings. ``dt``
    must be that of the simulation, in seconds.

    Raises:
        ImportError: Brian2 is missing.
    """
    neuron, step = spikes(x, y, t, polarity, shape=shape, dt=dt, start=start)
    b2 = brian2()
    return b2.SpikeGeneratorGroup(
        int(np.prod(shape)),
        neuron,
        step * dt * b2.second,
        dt=dt * b2.second,
        name=name,
        sorted=False,
    )
