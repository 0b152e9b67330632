"""Trained spiking networks to NIR and back: neurons with their parameters, weights, recurrence.

NIR (Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9) describes neurons in continuous time.
A time step of ``dt`` seconds is a step of Euler's: leak = 1 - dt / tau, and the resistance tau / dt
lets a current of 1 raise a potential by 1. What reads the outputs over the steps (mean, max, last)
is no part of NIR: it is told to `from_nir`.

>>> import torch
>>> from rewire import models
>>> net = models.build("spiking-rnn", generator=torch.Generator().manual_seed(0),
...                    input_shape=(8, 12), classes=3, hidden=[9], leak=0.75)
>>> whole = to_nir(net)
>>> sorted(whole.nodes)
['fc1', 'fc2', 'input', 'lif1', 'output', 'rec1']
>>> again = from_nir(whole, steps=8)
>>> events = (torch.rand(5, 8, 12) < 0.4).float()
>>> torch.equal(again(events), net(events))
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from .neurons import ALIF, LIF
from .trained import SpikingNet

if TYPE_CHECKING:
    import nir


def _nir() -> Any:
    try:
        import nir
    except ImportError as error:
        raise ImportError('NIR needs its package: pip install "neurorewire[files]".') from error
    return nir


def to_nir(model: SpikingNet, dt: float = 1e-3) -> nir.NIRGraph:
    """The network as a NIR graph; nodes are named as its layers, absent synapses are 0.

    Raises:
        ImportError: nir is not installed.
        ValueError: another class of model, or units that NIR has no node for: adaptive ones, those
            whose reset subtracts, those that never leak; a ``dt`` that is not above 0.
    """
    nir = _nir()
    layers = dense_layers(model)
    _check_step(dt)
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    before = "input"
    nodes["input"] = nir.Input({"input": np.array([layers["fc1"][0].shape[1]])})
    for i in range(1, model.layers + 1):
        units, fc, lif = model.get_submodule(f"lif{i}"), f"fc{i}", f"lif{i}"
        n = layers[fc][0].shape[0]
        nodes[fc], nodes[lif] = _weights(nir, *layers[fc]), _neurons(nir, units, n, dt)
        edges += [(before, fc), (fc, lif)]
        if model.recurrent:
            nodes[f"rec{i}"] = _weights(nir, *layers[f"rec{i}"])
            edges += [(lif, f"rec{i}"), (f"rec{i}", lif)]
        before = lif
    head = f"fc{model.layers + 1}"
    nodes[head] = _weights(nir, *layers[head])
    edges.append((before, head))
    classes = layers[head][0].shape[0]
    if model.readout.leak:
        tau, r = _constants(model.readout.leak, classes, dt)
        nodes["readout"] = nir.LI(tau=tau, r=r, v_leak=np.zeros(classes))
        edges.append((head, "readout"))
        head = "readout"
    nodes["output"] = nir.Output({"output": np.array([classes])})
    return nir.NIRGraph(nodes, [*edges, (head, "output")])


def from_nir(
    whole: nir.NIRGraph,
    *,
    steps: int,
    dt: float = 1e-3,
    readout: Literal["mean", "max", "last"] = "mean",
) -> SpikingNet:
    """The network of a NIR graph: linear layers with LIF neurons between them, one after another,
    each with weights among its own neurons or none.

    steps: time steps T of an example. dt: seconds of one, as the graph was made with.

    Raises:
        ImportError: nir is not installed.
        ValueError: the graph has another structure or another node, or neurons of a layer that
            differ in what `SpikingNet` has one number for.
    """
    nir = _nir()
    _check_step(dt)
    chain, among, leaky = _chain(nir, whole)
    lifs = [whole.nodes[name] for name in chain[1::2]]
    leaks = {_leak(name, whole.nodes[name], dt) for name in chain[1::2]}
    thresholds = {_one(name, "v_threshold", whole.nodes[name]) for name in chain[1::2]}
    for name, node in zip(chain[1::2], lifs, strict=True):
        if np.any(node.v_reset) or np.any(node.v_leak):
            raise ValueError(f"{name!r} rests at or resets to another potential than 0.")
    if max(len(leaks), len(thresholds)) > 1:
        raise ValueError(f"layers differ in leak {sorted(leaks)} or threshold "
                         f"{sorted(thresholds)}: a SpikingNet has one of each.")  # fmt: skip
    matrices = [np.asarray(whole.nodes[name].weight) for name in chain[::2]]
    biases = [getattr(whole.nodes[name], "bias", None) for name in chain[::2]]
    model = SpikingNet(
        generator=torch.Generator(),
        input_shape=(steps, matrices[0].shape[1]),
        classes=len(matrices[-1]),
        hidden=[len(w) for w in matrices[:-1]],
        recurrent=bool(among),
        leak=leaks.pop(),
        threshold=thresholds.pop(),
        readout=readout,
        readout_leak=_leak(leaky, whole.nodes[leaky], dt) if leaky else 0.0,
        bias=any(b is not None for b in biases),
    )
    state = {f"fc{i}.weight": w for i, w in enumerate(matrices, start=1)}
    state |= {f"rec{i}.weight": w for i, w in enumerate(among, start=1)}
    if any(b is not None for b in biases):
        for i, (w, b) in enumerate(zip(matrices, biases, strict=True), start=1):
            state[f"fc{i}.bias"] = np.zeros(len(w)) if b is None else b
    tensors = {name: torch.from_numpy(np.asarray(array).copy()) for name, array in state.items()}
    model = model.to(tensors["fc1.weight"].dtype)
    model.load_state_dict(tensors)
    return model


def dense_layers(model: Any) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Weight (n_post, n_pre) and bias of each layer of a `SpikingNet`, by name.

    Raises ValueError for another class, or weights that are lists of edges.
    """
    if not isinstance(model, SpikingNet):
        raise ValueError(
            f"a {type(model).__name__} has no such form: take a SpikingNet (spiking-net, "
            "spiking-rnn, lsnn)."
        )
    layers = {}
    for name in model.takes_spikes:
        parameters = {n: p.detach().cpu() for n, p in model.get_submodule(name).named_parameters()}
        weight, bias = parameters["weight"], parameters.get("bias")
        if weight.dim() != 2:
            raise ValueError(
                f"{name!r} holds a list of edges, of the sparse world: take net.to_dense()."
            )
        layers[name] = weight.numpy(), None if bias is None else bias.numpy()
    return layers


def _check_step(dt: float) -> None:
    if not 0 < dt < np.inf:
        raise ValueError(f"dt = {dt}: choose the seconds of a time step, above 0.")


def _weights(nir: Any, weight: np.ndarray, bias: np.ndarray | None) -> Any:
    return nir.Linear(weight) if bias is None else nir.Affine(weight, bias)


def _neurons(nir: Any, units: Any, n: int, dt: float) -> Any:
    if isinstance(units, ALIF):
        raise ValueError("NIR has no neuron whose threshold adapts: lsnn cannot be written.")
    assert isinstance(units, LIF)
    if units.reset != "zero":
        raise ValueError(f'NIR resets neurons to a potential: reset = "{units.reset}" has no form.')
    tau, r = _constants(units.leak, n, dt)
    return nir.LIF(tau=tau, r=r, v_leak=np.zeros(n), v_threshold=np.full(n, units.threshold),
                   v_reset=np.zeros(n))  # fmt: skip


def _constants(leak: float, n: int, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Time constants and resistances of n neurons."""
    if leak == 1:
        raise ValueError("leak = 1 never leaks: NIR's time constant would be infinite.")
    return np.full(n, dt / (1 - leak)), np.full(n, 1 / (1 - leak))


def _one(name: str, attribute: str, node: Any) -> float:
    values = np.unique(getattr(node, attribute))
    if len(values) != 1:
        raise ValueError(f"neurons of {name!r} differ in {attribute}: a SpikingNet has one.")
    return float(values[0])


def _leak(name: str, node: Any, dt: float) -> float:
    tau, r = _one(name, "tau", node), _one(name, "r", node)
    if not np.isclose(r * dt / tau, 1, rtol=1e-9):
        raise ValueError(
            f"a current of 1 raises potentials of {name!r} by {r * dt / tau:.6g} in a step of {dt} "
            "s, not by 1: give the dt that the graph was made with."
        )
    return 1 - dt / tau


def _chain(nir: Any, whole: Any) -> tuple[list[str], list[np.ndarray], str]:
    """Names of weights and neurons in turn from the input on; weights among the neurons of each
    layer; and the name of leaky outputs, "" where there are none."""
    after: dict[str, list[str]] = {}
    for a, b in whole.edges:
        after.setdefault(a, []).append(b)
    kinds = {name: type(node) for name, node in whole.nodes.items()}
    weights = (nir.Linear, nir.Affine)
    starts = [name for name, kind in kinds.items() if kind is nir.Input]
    chain, among, at = list[str](), list[np.ndarray](), starts[0] if len(starts) == 1 else ""
    while at and kinds[at] is not nir.Output and len(chain) <= len(kinds):
        following = after.get(at, [])
        loops = [n for n in following if kinds[at] is nir.LIF and after.get(n) == [at]]
        forward = [n for n in following if n not in loops]
        if len(forward) != 1 or len(loops) > 1:
            break
        for name in loops:
            if not issubclass(kinds[name], weights) or np.any(
                getattr(whole.nodes[name], "bias", 0)
            ):
                raise ValueError(f"{name!r} joins neurons among themselves, and is no Linear.")
            among.append(np.asarray(whole.nodes[name].weight))
        at = forward[0]
        if kinds[at] is not nir.Output:
            chain.append(at)
    leaky = chain.pop() if chain and kinds[chain[-1]] is nir.LI else ""
    fits = at and kinds[at] is nir.Output and len(chain) >= 3 and len(chain) % 2 == 1
    fits = fits and all(issubclass(kinds[n], weights) for n in chain[::2])
    fits = fits and all(kinds[n] is nir.LIF for n in chain[1::2])
    if not fits or len(among) not in (0, len(chain) // 2):
        raise ValueError(
            "it is no chain of linear layers with LIF neurons between them, all of them recurrent "
            f"or none; its nodes are {', '.join(f'{n} ({k.__name__})' for n, k in kinds.items())}."
        )
    return chain, among, leaky
