"""Spiking networks; like all models they know nothing of rewiring.

Networks that torch trains are made of `neurons` in `trained`; `in_brian` runs them in Brian2 and
`nir_graphs` writes and reads them as NIR. The others are networks in Brian2.

Those that experiments may name are in `available`. Such a model is a frozen dataclass of parameters
with ``size``, ``positions``, ``g_max``, ``lateral`` and ``build(seed)``, which makes what
`topographic_map.Built` describes: one group of neurons with traces ``r`` and ``o``, one Synapses
object with a fixed number of slots for each target, and a null neuron.
"""

from __future__ import annotations

from .. import ModelInfo

_BUILT_IN = (
    ModelInfo(
        "topographic-map",
        "rewire.models.spiking.topographic_map:TopographicMap",
        "two sheets on a torus, 16 x 16 spiking neurons each, feed-forward and lateral STDP",
        "Bamford et al. 2010; Bogdan et al. 2018, doi:10.3389/fnins.2018.00434",
    ),
)


def available() -> dict[str, ModelInfo]:
    """The spiking models by name; Brian2 is imported when one is first asked for its options.

    >>> list(available())
    ['topographic-map']
    """
    return {model.name: model for model in _BUILT_IN}
