"""What ten columns learn of MNIST's digits: ``python -m benchmarks.columns > results.json``.

The unsupervised experiment of Hopkins et al. (2018): a pair of sheets for each digit sees images of
that digit only, and the class of a test image is that of the column whose targets fire most. Cases
are a setting, with or without lateral synapses, with or without STDP:

============ ========================================================================
``32 slots`` for each target, lateral formation within sigma 1: the script's defaults
``96 slots`` and sigma 2: what the authors' later analysis names
============ ========================================================================

such as "96 slots, lateral, STDP" and "32 slots, feed-forward, no STDP". Two more: ``start`` is
"32 slots, lateral, STDP" before it has learned; ``later`` starts with no synapses and shows each
image for 200 ms, as the later script, with five times as many attempts, so that slots fill.

Accuracies are of test images that no column has seen:

``columns``: the column that fires most, the authors' readout; ``columns, t_stim`` shows each image
for t_stim only, as their script of that time does. With ``--regressions`` also ``rates``,
``neurons``: logistic regression on the ten columns' rates, and on the spikes of all 7,840 targets,
fitted to responses to training images; ``pixels``: the same on the images themselves.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import date
from importlib.metadata import version
from typing import Any

import brian2 as b2
import numpy as np
from sklearn.linear_model import LogisticRegression

import rewire
from rewire.experiments import data
from rewire.models.spiking.columns import SETTINGS, Columns, parameters
from rewire.models.spiking.topographic_map import TopographicMap
from rewire.worlds.brian.loop import drive
from rewire.worlds.brian.wiring import Wiring
from rewire.worlds.brian.world import Brian

from .timing import machine

CASES: dict[str, dict[str, Any]] = {
    f"{setting}, {'lateral' if lateral else 'feed-forward'}, {'STDP' if stdp else 'no STDP'}": {
        "setting": setting,
        "lateral": lateral,
        "stdp": stdp,
    }
    for setting in SETTINGS
    for lateral in (True, False)
    for stdp in (True, False)
}
USUAL = "32 slots, lateral, STDP"
OTHERS = {"start": CASES[USUAL], "later": {"start": "empty", "t_stim": 200.0}}
FASTER = {"later": 5}  # times as many attempts
PERIOD = 10.0  # ms between ticks: 100 attempts on each column's 25,088 slots
SHOW = 100.0  # ms for each image in a test

Images = tuple[np.ndarray, np.ndarray]  # (N, side, side) and their classes (N,)


def learning(p: TopographicMap, images: Images, seed: int, rate: float) -> tuple[Columns, list]:
    """Ten columns and the sessions that rewire them, ``rate`` attempts a second each."""
    x, y = images
    net = Columns([x[y == c] for c in range(10)], p, seed=seed)
    wiring = Wiring(net.network, net.synapses, null=net.null, w_max=p.g_max, traces=("r", "o"),
                    period=PERIOD * b2.ms)  # fmt: skip
    rule = rewire.StructuralPlasticity.bogdan(
        rate=rate, slots=p.slots, birth=p.g_max, threshold=p.g_max / 2,
        sigma_form=p.sigma_form / p.side, sigma_form_lateral=p.sigma_form_lateral / p.side,
    )  # fmt: skip
    sessions = []
    for column, (sources, targets) in enumerate(zip(net.sources, net.targets, strict=True)):
        ends = {"in": sources, "out": targets}
        world = Brian(
            wiring,
            sources=ends if p.lateral else {"in": sources},
            targets={"out": targets},
            positions={name: p.positions for name in (ends if p.lateral else ("in", "out"))},
        )
        session = rewire.Session(world, world.graph(), rule, seed=1000 * seed + column)
        sessions.append(session)
    return net, sessions


def readouts(net: Columns, train: Images | None, test: Images) -> dict[str, Any]:
    """Accuracies on the test images, plasticity off, and how fast the targets fire meanwhile.

    train: what regressions are fitted to; None for no regressions.
    """
    scores: dict[str, Any] = {"columns, t_stim": _right(net.test(test[0]).argmax(1), test[1])}
    seen = None if train is None else net.responses(train[0], t_show=SHOW)
    asked = net.responses(test[0], t_show=SHOW)
    rates = asked.sum(-1) / (asked.shape[-1] * SHOW * 1e-3)
    scores["columns"] = _right(rates.argmax(1), test[1])
    if train is not None and seen is not None:
        scores |= _regressions(seen, asked, train, test)
    own = rates[np.arange(len(rates)), test[1]]
    return scores | {
        "test_rate_hz": float(rates.mean()),
        "test_rate_of_own_column_hz": float(own.mean()),
        "test_rate_hz_by_class_and_column": [
            rates[test[1] == c].mean(0).round(2).tolist() for c in range(10)
        ],
    }


def _regressions(
    seen: np.ndarray, asked: np.ndarray, train: Images, test: Images
) -> dict[str, float]:
    """Of logistic regression, fitted to what training images do."""
    scores = {}
    for name, fitted_to, tried_on in (
        ("rates", seen.sum(-1), asked.sum(-1)),
        ("neurons", _flat(seen), _flat(asked)),
        ("pixels", _flat(train[0]), _flat(test[0])),
    ):
        scale = fitted_to.std() or 1.0
        model = LogisticRegression(max_iter=3000, C=0.1).fit(fitted_to / scale, train[1])
        scores[name] = _right(model.predict(tried_on / scale), test[1])
    return scores


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1)


def _right(predicted: np.ndarray, classes: np.ndarray) -> float:
    return float((predicted == classes).mean())


def learned(
    case: str,
    images: Images,
    train: Images | None,
    test: Images,
    *,
    seconds: int,
    rate: float,
    seed: int,
    **changes: Any,
) -> dict[str, Any]:
    """One run: what it scored in the end, and how its network is then.

    images: what the columns learn from; train and test: what they are shown afterwards, train only
    for regressions.
    changes: parameters of the map other than the published ones.
    """
    p = parameters(**{**(CASES | OTHERS)[case], **changes})
    net, sessions = learning(p, images, seed, rate)
    start = time.process_time()
    drive(*sessions, duration=seconds * b2.second, namespace={})
    spent = time.process_time() - start
    targets = 10 * p.size
    counts = np.sum([s.counts for s in sessions], 0) / targets
    events = sum(s.history.formed + s.history.dropped for s in sessions)
    weights = np.concatenate([s.graph["weight"].numpy() for s in sessions])
    return {
        "simulated_seconds": seconds,
        "attempts_per_s": rate,
        "rate_hz": float(net._fired().sum() / targets / seconds) if seconds else 0.0,
        "synapses_per_target": counts.tolist(),
        "events_per_s": events / seconds if seconds else 0.0,
        "mean_weight_over_g_max": float(weights.mean() / p.g_max),
        "cpu_seconds": spent,
        **readouts(net, train, test),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.columns", description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--rate", type=float, default=1e4, help="attempts a second a column")
    parser.add_argument("--images", type=int, default=400, help="shown to train, and to test")
    every = [*OTHERS, *CASES]
    parser.add_argument("--cases", nargs="+", choices=every, default=every, metavar="CASE",
                        help="all by default")  # fmt: skip
    parser.add_argument("--regressions", action="store_true", help="fitted to responses as well")
    parser.add_argument("--codegen", choices=["numpy", "cython"], default="cython")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    b2.prefs.codegen.target = options.codegen
    mnist = data.load("mnist", normalise="unit")
    images = mnist.train.x[:, 0].numpy(), mnist.train.y.numpy()
    n = options.images
    train = (images[0][:n], images[1][:n]) if options.regressions else None
    test = mnist.test.x[:n, 0].numpy(), mnist.test.y[:n].numpy()
    rows = {}
    for case in options.cases:
        seconds = 0 if case == "start" else options.seconds
        rows[case] = learned(case, images, train, test, seconds=seconds, seed=options.seed,
                             rate=options.rate * FASTER.get(case, 1))  # fmt: skip
        print(case, json.dumps(rows[case]), file=sys.stderr, flush=True)
    packages = ("neurorewire", "brian2", "numpy", "torch", "scikit-learn")
    summary = {
        "date": date.today().isoformat(),
        "processor": machine(),
        "versions": {name: version(name) for name in packages},
        "seed": options.seed,
        "test_images": n,
        "chance": 0.1,
        "cases": rows,
    }
    print(json.dumps(summary, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
