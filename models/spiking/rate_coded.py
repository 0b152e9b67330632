"""A trained ReLU network as a spiking one: integrate-and-fire neurons whose rates are activations.

Conversion as of Diehl et al. (2015, IJCNN) and Rueckauer et al. (2017, Frontiers in Neuroscience
11:682): neurons without leak, reset by subtraction, thresholds balanced by a high percentile of
each layer's activations. The output layer does not fire; its membrane potential adds up the votes.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> weights = [rng.normal(size=(8, 4)), rng.normal(size=(3, 8))]
>>> images = rng.random((5, 4))
>>> found = simulate(balanced(weights, images), images, duration=0.2)
>>> bool((found.predictions == activations(weights, images)[-1].argmax(1)).mean() > 0.7)
True
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from .brian import code_target

if TYPE_CHECKING:
    from torch import nn

Matrix: TypeAlias = "np.ndarray | sp.sparray | sp.spmatrix"  # (n_post, n_pre)
PERCENTILE = 99.9
ENCODINGS = ("current", "poisson")
TRANSPARENT = ("Flatten", "Dropout", "ReLU", "Identity")  # layers that conversion need not look at


@dataclass(frozen=True, eq=False)
class Responses:
    """What the network did with N images.

    potentials: (N, classes) of the output neurons at the end, in thresholds.
    spikes: (N, layers) of the input (0 where it is a current) and of each hidden layer.
    events: (N,) synaptic events: a spike counts once for each synapse that carries it. The constant
            currents of the first layer's synapses are no events.
    build, run: wall seconds to build the network, and to simulate (compilation included).
    """

    potentials: np.ndarray
    spikes: np.ndarray
    events: np.ndarray
    build: float
    run: float

    @property
    def predictions(self) -> np.ndarray:
        """The class with the highest potential, (N,); ties go to the lower class."""
        return self.potentials.argmax(1)

    @property
    def images_per_second(self) -> float:
        """Images per wall second, building included."""
        return len(self.potentials) / (self.build + self.run)


def matrices(model: nn.Module) -> list[sp.csr_array]:
    """The weights of a PyTorch MLP in order of definition; those that are 0 are no synapses.

    Raises:
        ValueError: a layer has a bias, or is not linear, ReLU, flattening or dropout.
    """
    out = []
    for name, layer in model.named_modules():
        kind = type(layer).__name__
        if any(layer.children()) or kind in TRANSPARENT:
            continue
        if kind != "Linear":
            raise ValueError(f"{name!r} is a {kind}; only linear layers with ReLU are converted.")
        if layer.bias is not None:
            raise ValueError(f"{name!r} has a bias; train the model with bias=False to convert it.")
        out.append(sp.csr_array(layer.weight.detach().cpu().double().numpy()))
    return out


def activations(weights: Sequence[Matrix], images: np.ndarray) -> list[np.ndarray]:
    """What each layer of the ReLU network says, (N, n_post) each; the last is linear.

    images: (N, ...), flattened.
    """
    layer, out = _flat(images), []
    for i, w in enumerate(_checked(weights, layer.shape[1])):
        layer = (w @ layer.T).T
        if i < len(weights) - 1:
            layer = np.maximum(layer, 0)
        out.append(layer)
    return out


def balanced(
    weights: Sequence[Matrix], images: np.ndarray, percentile: float = PERCENTILE
) -> list[sp.csr_array]:
    """Weights for neurons of threshold 1: an activation at the percentile fires at the full rate.

    images: some of those trained on, (N, ...). A layer's weights are multiplied by the percentile
    of the activations before it and divided by that of its own, which changes no prediction.
    """
    layers = activations(weights, images)
    scales = [1.0, *(float(np.percentile(np.abs(a), percentile)) or 1.0 for a in layers)]
    checked = _checked(weights, _flat(images).shape[1])
    return [
        w * (before / after) for w, before, after in zip(checked, scales, scales[1:], strict=False)
    ]


def simulate(
    weights: Sequence[Matrix],
    images: np.ndarray,
    *,
    duration: float = 0.1,
    rate: float = 200.0,
    encoding: str = "current",
    copies: int = 400,
    target: str = "numpy",
    dt: float = 1e-3,
    seed: int = 0,
) -> Responses:
    """Show each image for ``duration`` seconds to a network of its own.

    Args:
        weights: (n_post, n_pre) of each layer, from :func:`balanced`.
        images: (N, ...) in [0, 1], flattened.
        rate: in Hz, of a pixel of 1 and of an activation at the balancing percentile. Rounding
            costs 1 / (rate x duration) of an activation, spikes cost time in proportion.
        encoding: "current" drives the first layer by the constant currents W x; "poisson" has each
            pixel fire at random.
        copies: images in one simulation, each in its copy of the network. The network is built
            once and used again until all images are through.
        target: "numpy" or "cython", see :func:`~rewire.models.spiking.brian.code_target`.
        seed: of Brian2's global generator (numpy's), used by "poisson" only.

    Raises:
        ValueError: shapes that do not follow on, no images or some outside [0, 1], a rate above
            1 / dt.
        ImportError: Brian2 is missing.
    """
    x = _flat(images)
    layers = _checked(weights, x.shape[1])
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding = {encoding!r}: choose one of {', '.join(ENCODINGS)}.")
    if not 0 < rate * dt <= 1:
        raise ValueError(f"rate = {rate} Hz: a neuron fires at most once a step, {1 / dt:g} Hz.")
    if not len(x):
        raise ValueError("there are no images to show.")
    if not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(
            f"images go from {x.min():g} to {x.max():g}, but rates need 0 to 1: load the data set "
            'with normalise="unit", and train on the same.'
        )
    with code_target(target) as b2:
        if encoding == "poisson":
            b2.seed(seed)
        began = time.perf_counter()
        network = _Copies(b2, layers, min(copies, len(x)), encoding, rate, dt)
        built = time.perf_counter()
        parts = [network.show(x[at : at + copies], duration) for at in range(0, len(x), copies)]
        ended = time.perf_counter()
    potentials, spikes, events = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Responses(potentials, spikes, events, built - began, ended - built)


class _Copies:
    """Disjoint copies of one network, neurons of a layer side by side, copy after copy."""

    def __init__(
        self, b2: Any, layers: list[sp.csr_array], n: int, encoding: str, rate: float, dt: float
    ):
        self.b2, self.n, self.rate, self.poisson = b2, n, rate, encoding == "poisson"
        self.first = layers[0]
        self.sizes = [layers[0].shape[1], *(w.shape[0] for w in layers)]
        # synapses out of each neuron; a current has no spikes to carry
        self.fan_out = [np.bincount(w.indices, minlength=w.shape[1]) for w in layers]
        clock = b2.Clock(dt * b2.second)
        self.groups = [self._layer(i, clock) for i in range(not self.poisson, len(self.sizes))]
        between = layers if self.poisson else layers[1:]
        synapses = [
            self._synapses(w, source, target)
            for w, source, target in zip(between, self.groups[:-1], self.groups[1:], strict=True)
            if w.nnz
        ]
        self.network = b2.Network(*self.groups, *synapses)

    def _layer(self, i: int, clock: Any) -> Any:
        n, b2 = self.n * self.sizes[i], self.b2
        common = {"clock": clock, "name": f"layer_{i}", "namespace": {}}
        if i == 0:
            return b2.NeuronGroup(
                n,
                "frequency : Hz (constant)\ncount : integer",
                threshold="rand() < frequency * dt",
                reset="count += 1",
                **common,
            )
        model = "dv/dt = drive : 1\ndrive : Hz (constant)\ncount : integer"
        if i == len(self.sizes) - 1:
            return b2.NeuronGroup(n, model, method="euler", **common)
        return b2.NeuronGroup(
            n,
            model,
            method="euler",
            threshold="v >= 1",
            reset="v -= 1\ncount += 1",
            **common,
        )

    def _synapses(self, w: sp.csr_array, source: Any, target: Any) -> Any:
        coo = w.tocoo()
        copy = np.arange(self.n)[:, None]
        synapses = self.b2.Synapses(
            source,
            target,
            "w : 1 (constant)",
            on_pre="v_post += w",
            clock=source.clock,
            name=f"into_{target.name}",
            namespace={},
        )
        synapses.connect(
            i=(coo.col + copy * w.shape[1]).ravel(), j=(coo.row + copy * w.shape[0]).ravel()
        )
        synapses.w = np.tile(coo.data, self.n)
        return synapses

    def show(
        self, images: np.ndarray, duration: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Potentials (k, classes), spikes (k, layers) and events (k,) of k <= n images."""
        k, hertz = len(images), self.b2.Hz
        x = np.zeros((self.n, images.shape[1]))
        x[:k] = images
        for group in self.groups:
            group.count = 0
        for group in self.groups[self.poisson :]:
            group.v = 0
        if self.poisson:
            self.groups[0].frequency = x.ravel() * self.rate * hertz
        else:
            self.groups[0].drive = (self.first @ x.T).T.ravel() * self.rate * hertz
        self.network.run(duration * self.b2.second, namespace={})
        counts = [np.asarray(g.count).reshape(self.n, -1)[:k] for g in self.groups[:-1]]
        if not self.poisson:
            counts.insert(0, np.zeros((k, self.sizes[0]), int))
        spikes = np.stack([c.sum(1) for c in counts], 1)
        events = np.sum([c @ f for c, f in zip(counts, self.fan_out, strict=True)], axis=0)
        return np.asarray(self.groups[-1].v).reshape(self.n, -1)[:k].copy(), spikes, events


def _flat(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images, float)
    return images.reshape(len(images), math.prod(images.shape[1:]))


def _checked(weights: Sequence[Matrix], n_pre: int) -> list[sp.csr_array]:
    """The weights as CSR without stored zeros, if each takes what the one before it gives."""
    out = []
    for i, w in enumerate(weights):
        w = sp.csr_array(w, dtype=float, copy=True)
        w.eliminate_zeros()
        w.sum_duplicates()
        if w.shape[1] != n_pre:
            raise ValueError(
                f"layer {i} has weights of shape {w.shape}, which take {w.shape[1]} inputs, but "
                f"get {n_pre}; weights are (n_post, n_pre), images (N, n_pre)."
            )
        n_pre = w.shape[0]
        out.append(w)
    if not out:
        raise ValueError("there are no weights: give one (n_post, n_pre) matrix for each layer.")
    return out
