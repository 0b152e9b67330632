"""Ten columns that each learn one digit unsupervised (Hopkins et al. 2018).

Hopkins, Pineda-García, Bogdan & Furber 2018, Interface Focus 8:20180007,
doi:10.1098/rsfs.2018.0007: structural plasticity learns the statistics of its input without
supervision. The digits are also a chapter of Bogdan's thesis of 2020; the script is in the authors'
repository. No accuracy of theirs is known to this project.

A column is a source and a target sheet as in the topographic map, 28 x 28 neurons each, and sees
images of its own class only. To test, plasticity is frozen, all columns see the same spikes, and
the class is that of the column whose targets fire most.

>>> net = Columns(images_by_class, seed=1)                         # doctest: +SKIP
>>> net.network.run(60 * second)                                   # doctest: +SKIP
>>> (net.test(test_images).argmax(1) == test_labels).mean()        # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod

import brian2 as b2
import numpy as np
from brian2 import ms

from .topographic_map import Built, TopographicMap

# Of the authors' script for the paper (neurogenesis, mnist_topographic_map_rate_based.py). Its
# later version has t_stim 200 and an empty start, and its analysis names 96 slots.
PUBLISHED = {
    "side": 28,
    "start": "random",
    "p_random": 0.01,
    "g_max": 0.1,
    "tau_minus": 20.0,
    "tau_inh": 15.0,
    "f_mean": 20.0,
    "f_base": 5.0,
    "t_stim": 20.0,
}
# Slots of a target and the reach of lateral formation, which decide whether columns learn: the
# defaults of the script, and what the authors' later analysis names.
SETTINGS: dict[str, dict[str, object]] = {
    "32 slots": {"slots": 32, "sigma_form_lateral": 1.0},
    "96 slots": {"slots": 96, "sigma_form_lateral": 2.0},
}


def parameters(setting: str = "32 slots", **changes: object) -> TopographicMap:
    """The map's parameters with the experiment's own values, those of a setting, and ``changes``.

    setting: a key of `SETTINGS`.

    Raises:
        ValueError: there is no such setting.

    >>> parameters("96 slots", lateral=False).slots
    96
    """
    if setting not in SETTINGS:
        raise ValueError(f"setting is one of {', '.join(SETTINGS)}, got {setting!r}.")
    return TopographicMap(**{**PUBLISHED, **SETTINGS[setting], **changes})  # type: ignore[arg-type]


def image_rates(images: np.ndarray, *, f_mean: float, f_base: float) -> np.ndarray:
    """Firing rates in Hz of the sources that show images (N, ...): (N, pixels).

    In proportion to brightness, with the mean f_mean over the pixels of each image, on a background
    of f_base. (The authors select a part of each image's pixels beforehand, which fire alike.)

    Raises:
        ValueError: an image has brightness below 0, or is dark altogether.
    """
    x = np.asarray(images, float).reshape(len(images), prod(np.shape(images)[1:]))
    mean = x.mean(1, keepdims=True)
    if not ((x >= 0).all() and (mean > 0).all()):
        raise ValueError(
            "brightness must be 0 or more, and above 0 somewhere in each image: load the data set "
            'with normalise="unit".'
        )
    return f_base + f_mean * x / mean


@dataclass
class _Shown:
    """Images of a test, ``steps`` time steps each from step ``first`` on.

    chances: (N, pixels) of a spike in one step; fired: spikes of each target before each image.
    """

    chances: np.ndarray
    steps: int
    first: int
    fired: list[np.ndarray] = field(default_factory=list)


class Columns(Built):
    """One copy of the map for each class, driven by that class's images.

    images: for each class an array (n, side, side), or flat; at least one image each.

    Every ``t_stim`` each column's sources go on to another image of its class, drawn from Brian2's
    global generator. ``sources[c]`` and ``targets[c]`` are the neurons of class c; ``network`` can
    be rewired as a topographic map can. Each column starts from a connectivity of its own (the
    authors' all start from the same).
    """

    def __init__(
        self, images: Sequence[np.ndarray], p: TopographicMap | None = None, *, seed: int = 0
    ):
        p = parameters() if p is None else p
        self._images = [self._rates(p, part) for part in images]
        self._shown: _Shown | None = None  # what a test shows; None while training
        super().__init__(p, seed, replicates=len(images))
        self._counter = b2.SpikeMonitor(self.neurons, record=False, name="columns_count")
        self.network.add(self._counter)

    @staticmethod
    def _rates(p: TopographicMap, images: np.ndarray) -> np.ndarray:
        """The chance of a spike in a time step of each pixel, (n, pixels)."""
        hertz = image_rates(images, f_mean=p.f_mean, f_base=p.f_base)
        if not len(hertz) or hertz.shape[1] != p.size:
            raise ValueError(
                f"each class needs images of {p.side} x {p.side} pixels, one at least; got an "
                f"array {np.shape(images)}."
            )
        return 1 - np.exp(-hertz * p.dt * 1e-3)

    def test(self, images: np.ndarray, *, t_show: float | None = None) -> np.ndarray:
        """Mean rates in Hz of each column's targets while each image is shown, (N, classes).

        The class is the argmax. Arguments and conditions are those of :meth:`responses`.
        """
        p = self.parameters
        seconds = (p.t_stim if t_show is None else t_show) * 1e-3
        return self.responses(images, t_show=t_show).sum(-1) / (p.size * seconds)

    def responses(self, images: np.ndarray, *, t_show: float | None = None) -> np.ndarray:
        """Spikes of each target neuron while each image is shown, (N, classes, pixels).

        images: (N, side, side), or flat, shown one after the other without a pause.
        t_show: ms for each, by default ``t_stim``.

        Weights stay as they are, and the sources of all columns spike alike. Time goes on: what
        neurons and traces hold carries over, and training continues with new images.
        """
        p = self.parameters
        steps = round((p.t_stim if t_show is None else t_show) / p.dt)
        presentation = self._shown = _Shown(self._rates(p, images), steps, int(self._step[0]))
        with self._frozen():
            self.network.run(len(presentation.chances) * steps * p.dt * ms, namespace={})
        return np.diff([*presentation.fired, self._fired()], axis=0)

    def _fired(self) -> np.ndarray:
        """Spikes of each column's targets so far, (classes, pixels)."""
        count = np.asarray(self._counter.count)
        return np.array([count[where] for where in self.targets])

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        learning = {name: self.synapses.namespace[name] for name in ("a_plus", "a_minus")}
        self.synapses.namespace.update(dict.fromkeys(learning, 0.0))
        due = np.array(self.synapses.due) if self.parameters.deferred else None
        try:
            yield
        finally:
            self.synapses.namespace.update(learning)
            if due is not None:
                self.synapses.due = due
            self._shown = None
            self._next_stimulus()

    def _stimulate(self) -> None:
        """Show the next image of each class, or the spikes of one image to all."""
        if self._shown is not None:
            self._show(self._shown, int(self._step[0]))
        else:
            super()._stimulate()

    def _next_stimulus(self) -> None:
        """Another image of its class for each column."""
        for column, images in zip(self.sources, self._images, strict=True):
            self._chance[column] = images[np.random.randint(len(images))]

    def _show(self, shown: _Shown, step: int) -> None:
        image, at = divmod(step - shown.first, shown.steps)
        if at == 0:
            shown.fired.append(self._fired())
        spikes = np.random.random(self.parameters.size) < shown.chances[image]
        if at == 0 and self.parameters.dead_tick:
            spikes[:] = False
        for column in self.sources:
            self._chance[column] = spikes
