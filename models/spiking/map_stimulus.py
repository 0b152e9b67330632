"""The map's stimulus as code of its neurons, for standalone programs, which run no Python."""

from __future__ import annotations

from math import exp
from typing import Any

import brian2 as b2
import numpy as np
from brian2 import ms


def runs_python() -> bool:
    """Whether networks run Python between time steps, which standalone programs do not."""
    return b2.get_device() is b2.all_devices["runtime"]


def stimulate_in_code(neurons: b2.NeuronGroup, p: Any, above: np.ndarray) -> None:
    """Let the stimulus jump each ``t_stim`` to a neuron that Brian2's own random numbers choose.

    neurons: with the shared variable ``centre`` and the chance ``p``; p: the map's parameters;
    above: rates above ``f_base`` at all neurons, before any scaling, for a stimulus at one of them,
    (size,).

    Raises ValueError for a stimulus that is not gaussian or has a dead tick.
    """
    if p.shape != "gaussian" or p.dead_tick:
        raise ValueError(
            "in a standalone program the map has a gaussian stimulus and no dead tick: use "
            "brian2.set_device('runtime') for others."
        )
    if p.case == 3:
        neurons.p[: p.size] = 1 - exp(-p.f_mean * p.dt * 1e-3)
        return
    neurons.namespace.update(
        side=p.side, n_sources=p.size, wide=2 * p.sigma_stim**2, step=p.dt * 1e-3,
        f_base=p.f_base, f_above=(p.f_mean - p.f_base) / above.mean(),
    )  # fmt: skip
    neurons.run_regularly(
        """centre = int(rand() * n_sources)
        down = abs(i // side - centre // side)
        across = abs(i % side - centre % side)
        down = clip(down, 0, side - down)
        across = clip(across, 0, side - across)
        rate = f_base + f_above * exp(-(down**2 + across**2) / wide)
        p = int(i < n_sources) * (1 - exp(-rate * step))""",
        dt=p.t_stim * ms, when="start", name="map_stimulus",
    )  # fmt: skip
