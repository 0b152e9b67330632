"""Plain ``nn.Module`` models, by name or by class; they know nothing of rewiring.

>>> import torch
>>> from rewire import models
>>> g = torch.Generator().manual_seed(0)
>>> net = models.build("lenet-300-100", generator=g, input_shape=(1, 28, 28), classes=10)
>>> sum(p.numel() for p in net.parameters())
266610

A model is a pure function of its generator's seed: torch's global generator is never touched.
Models of your own are functions with the keywords ``generator``, ``input_shape`` and ``classes``
(and options) under the entry point ``rewire.models``, or named "package.module:function".
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal

from rewire.names import did_you_mean

if TYPE_CHECKING:
    from torch import Generator, nn

ENTRY_POINTS = "rewire.models"
GIVEN = ("generator", "input_shape", "classes")  # what every builder takes from `build`

_LAZY = {  # torch is imported with the first of these
    "MLP": "rewire.models.mlp",
    "lenet_300_100": "rewire.models.mlp",
    "ConvNet": "rewire.models.conv",
    "TutorialNet": "rewire.models.conv",
    "ResNet": "rewire.models.resnet",
    "DeepResNet": "rewire.models.deep_resnet",
    "VGG": "rewire.models.vgg",
    "RowReader": "rewire.models.recurrent",
    "FrameReader": "rewire.models.recurrent",
    "RecurrentLM": "rewire.models.recurrent",
    "GPT": "rewire.models.transformers",
    "ViT": "rewire.models.transformers",
    "Transformer": "rewire.models.transformers",
    "ActorCritic": "rewire.models.actor_critic",
    "SpikingMLP": "rewire.models.spiking_mlp",
    "SpikingNet": "rewire.models.spiking.trained",
    "SpikingConvNet": "rewire.models.spiking.trained",
    "INITS": "rewire.models.layers",
    "initialise": "rewire.models.layers",
}

__all__ = ["ModelInfo", "available", "build", "info", *_LAZY]


@dataclass(frozen=True)
class ModelInfo:
    """A model by name: ``target`` ("module:callable") is imported when it is built, not before.

    inputs: "pictures", (N, C, H, W) of numbers; "tokens", (N, T) of whole numbers below ``classes``
        (``input_shape`` is (T,), logits are (N, T, classes)); "token pairs", two of those as one,
        (N, 2, T); "frames", (N, T, bands) of numbers, with logits (N, T, classes); "events",
        (N, T, ...) of 0 and 1, spikes at each of T time steps, with logits (N, classes).
    """

    name: str
    target: str
    summary: str = ""
    source: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    inputs: Literal["pictures", "tokens", "token pairs", "frames", "events"] = "pictures"

    def builder(self) -> Callable[..., nn.Module]:
        """The callable behind the name (imports torch).

        Raises:
            ValueError: it cannot be imported.
        """
        module, _, attribute = self.target.partition(":")
        if module == "own":
            from .own import registered

            return registered(self.target)
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:  # a plug-in may fail in any way
            raise ValueError(
                f"the model {self.name} ({self.target}) cannot be imported: "
                f"{type(error).__name__}: {error}. Mend or uninstall that package."
            ) from error

    def options(self) -> dict[str, Any]:
        """The options that ``build`` takes for this model, with their defaults."""
        parameters = inspect.signature(self.builder()).parameters.values()
        return {
            p.name: None if p.default is p.empty else p.default
            for p in parameters
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
            and p.name not in GIVEN
            and p.name not in self.fixed
        }


LTH = "Frankle & Carbin 2019, arXiv:1803.03635"
_BUILT_IN = (
    ModelInfo(
        "lenet-300-100",
        "rewire.models.mlp:mlp",
        "fully connected, hidden layers of 300 and 100: 266,610 parameters on MNIST",
        "LeCun et al. 1998; initialised as in " + LTH,
        fixed={"hidden": (300, 100)},
    ),
    ModelInfo("mlp", "rewire.models.mlp:mlp", "fully connected, hidden layers of any widths"),
    ModelInfo(
        "spiking-mlp",
        "rewire.models.spiking_mlp:SpikingMLP",
        "leaky integrate-and-fire units, hidden layers of any widths: 266,610 parameters on MNIST",
        "surrogate gradients: Neftci, Mostafa & Zenke 2019, arXiv:1901.09948",
    ),
    ModelInfo(
        "spiking-net",
        "rewire.models.spiking.trained:SpikingNet",
        "reads events in time, leaky integrate-and-fire units, hidden layers of any widths",
        "Neftci, Mostafa & Zenke 2019, arXiv:1901.09948",
        fixed={"recurrent": False},
        inputs="events",
    ),
    ModelInfo(
        "spiking-rnn",
        "rewire.models.spiking.trained:SpikingNet",
        "reads events in time, recurrent layers of leaky integrate-and-fire units",
        "Zenke & Vogels 2021, doi:10.1162/neco_a_01367",
        fixed={"recurrent": True, "neuron": "lif"},
        inputs="events",
    ),
    ModelInfo(
        "lsnn",
        "rewire.models.spiking.trained:SpikingNet",
        "reads events in time, recurrent layers of units whose thresholds adapt",
        "Bellec et al. 2018, arXiv:1803.09574",
        fixed={"recurrent": True, "neuron": "alif"},
        inputs="events",
    ),
    ModelInfo(
        "spiking-conv",
        "rewire.models.spiking.trained:SpikingConvNet",
        "reads events in time, 3x3 convolutions of leaky integrate-and-fire units",
        "Fang et al. 2021, arXiv:2007.05785",
        inputs="events",
    ),
    ModelInfo(
        "actor-critic",
        "rewire.models.actor_critic:ActorCritic",
        "policy and value on hidden layers of any widths: 4,675 parameters on CartPole",
        "Mnih et al. 2016, arXiv:1602.01783",
    ),
    ModelInfo(
        "conv-2",
        "rewire.models.conv:ConvNet",
        "two 3x3 convolutions of 64, then 256-256: 4,301,642 parameters on CIFAR-10",
        LTH,
        fixed={"channels": (64,)},
    ),
    ModelInfo(
        "conv-4",
        "rewire.models.conv:ConvNet",
        "3x3 convolutions, two of 64 and two of 128, then 256-256: 2,425,930 parameters",
        LTH,
        fixed={"channels": (64, 128)},
    ),
    ModelInfo(
        "conv-6",
        "rewire.models.conv:ConvNet",
        "3x3 convolutions, two each of 64, 128 and 256, then 256-256: 2,262,602 parameters",
        LTH,
        fixed={"channels": (64, 128, 256)},
    ),
    ModelInfo(
        "cifar-cnn",
        "rewire.models.conv:TutorialNet",
        "two 5x5 convolutions of 64, then 384-192: 1,068,298 parameters on crops of 24 x 24",
        "TensorFlow's tutorial on CIFAR-10, after Krizhevsky's cuda-convnet",
    ),
    *(
        ModelInfo(
            f"resnet-{depth}",
            "rewire.models.resnet:ResNet",
            f"residual network for CIFAR, {depth} layers: {n:,} parameters on CIFAR-10",
            "He et al. 2016, arXiv:1512.03385",
            fixed={"depth": depth},
        )
        for depth, n in (
            (8, 75_290),
            (14, 172_506),
            (20, 269_722),
            (32, 464_154),
            (44, 658_586),
            (56, 853_018),
        )
    ),
    *(
        ModelInfo(
            f"resnet-{depth}",
            "rewire.models.deep_resnet:DeepResNet",
            f"residual network for ImageNet, {depth} layers: {n:,} parameters at 1,000 classes",
            "He et al. 2016, arXiv:1512.03385",
            fixed={"depth": depth},
        )
        for depth, n in ((18, 11_689_512), (34, 21_797_672), (50, 25_557_032))
    ),
    *(
        ModelInfo(
            f"vgg-{depth}",
            "rewire.models.vgg:VGG",
            f"VGG for CIFAR with batch norm, {depth} layers: {n:,} parameters on CIFAR-10",
            "Simonyan & Zisserman 2015, arXiv:1409.1556; its end as in " + LTH,
            fixed={"depth": depth},
        )
        for depth, n in ((11, 9_228_362), (13, 9_413_066), (16, 14_724_042), (19, 20_035_018))
    ),
    *(
        ModelInfo(
            cell,
            "rewire.models.recurrent:RowReader",
            f"reads pictures row by row, {units} of any number and layers: {n:,} on MNIST",
            source,
            fixed={"cell": cell},
        )
        for cell, units, n, source in (
            ("lstm", "LSTM units", 82_186, "Hochreiter & Schmidhuber 1997"),
            ("gru", "GRU units", 61_962, "Cho et al. 2014, arXiv:1406.1078"),
        )
    ),
    *(
        ModelInfo(
            f"{cell}-frames",
            "rewire.models.recurrent:FrameReader",
            f"a class at each frame, bidirectional {units} of any number and layers: {n:,} on fsdd",
            source,
            fixed={"cell": cell},
            inputs="frames",
        )
        for cell, units, n, source in (
            ("lstm", "LSTM units", 176_650, "Graves & Schmidhuber 2005, Neural Networks 18(5-6)"),
            ("gru", "GRU units", 133_130, "Cho et al. 2014, arXiv:1406.1078"),
        )
    ),
    ModelInfo(
        "lstm-lm",
        "rewire.models.recurrent:RecurrentLM",
        "language model of LSTM layers, tied or not: 280,897 parameters at 65 tokens",
        "Zaremba, Sutskever & Vinyals 2014, arXiv:1409.2329",
        fixed={"cell": "lstm"},
        inputs="tokens",
    ),
    ModelInfo(
        "vit",
        "rewire.models.transformers:ViT",
        "vision transformer, patches of any side: 205,066 parameters on MNIST",
        "Dosovitskiy et al. 2021, arXiv:2010.11929",
    ),
    ModelInfo(
        "gpt",
        "rewire.models.transformers:GPT",
        "language model, causal and pre-norm: 809,856 parameters at 65 tokens and a context of 64",
        "Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
        inputs="tokens",
    ),
    ModelInfo(
        "transformer",
        "rewire.models.transformers:Transformer",
        "encoder and decoder of one vocabulary: 1,454,592 parameters at 512 tokens",
        "Vaswani et al. 2017, arXiv:1706.03762",
        inputs="token pairs",
    ),
)


def available() -> dict[str, ModelInfo]:
    """Every model that ``build`` knows, those of plug-ins included; built-in names stay ours.

    >>> available()["conv-4"].options()["dropout"]
    0.0
    """
    others = (
        ModelInfo(point.name, point.value, f"from {point.dist.name}" if point.dist else "")
        for point in entry_points(group=ENTRY_POINTS)
    )
    return {model.name: model for model in (*others, *_BUILT_IN)}


def info(name: str) -> ModelInfo:
    """The model of a name that ``build`` takes: one of ``available``, or "module:callable".

    >>> info("torch.nn:Linear").options()["bias"]
    True

    Raises:
        ValueError: there is no such name.
    """
    if ":" in name:
        return ModelInfo(name, name)
    known = available()
    if name not in known:
        raise ValueError(f"there is no model {_unknown(name, known)}")
    return known[name]


def build(
    name: str,
    *,
    generator: Generator,
    input_shape: Sequence[int],
    classes: int,
    **options: Any,
) -> nn.Module:
    """The model called ``name`` for inputs of ``input_shape``, drawn from ``generator``.

    input_shape: of one example, (C, H, W) of a picture or (T,) of a sequence of tokens.

    >>> import torch
    >>> g = torch.Generator().manual_seed(0)
    >>> build("mlp", generator=g, input_shape=(1, 8, 8), classes=3, hidden=[5]).fc2.weight.shape
    torch.Size([3, 5])
    >>> build("conv4", generator=g, input_shape=(3, 32, 32), classes=10)
    Traceback (most recent call last):
    ValueError: there is no model 'conv4' (did you mean 'conv-4'?); there are ...

    Raises:
        ValueError: no such model or option, or an option out of range.
    """
    model = info(name)
    builder, allowed = model.builder(), model.options()
    for option in options:
        if option not in allowed:
            raise ValueError(f"the model {name} has no option {_unknown(option, allowed)}")
    usual = {"generator": generator, "input_shape": input_shape, "classes": classes}
    built = _called(builder, usual, {**model.fixed, **options})
    if not hasattr(built, "state_dict"):  # an nn.Module, without importing torch
        raise ValueError(f"the model {name} builds a {type(built).__name__}, not an nn.Module.")
    return built


def _called(
    builder: Callable[..., nn.Module], usual: Mapping[str, Any], options: Mapping[str, Any]
) -> nn.Module:
    """What a builder makes of those of the usual keywords that it takes. One that takes no
    generator draws from torch's own, which is seeded for the while."""
    parameters = inspect.signature(builder).parameters.values()
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    names = {p.name for p in parameters}
    keywords = {name: value for name, value in usual.items() if takes_any or name in names}
    if "generator" in keywords:
        return builder(**keywords, **options)
    import torch

    seed = torch.randint(2**62, (), generator=usual["generator"], device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        return builder(**keywords, **options)


def _unknown(given: str, known: Iterable[str]) -> str:
    """``'lenet' (did you mean 'lenet-300-100'?); there are a, b.``: the end of an error message."""
    known = list(known)
    return f"{given!r}{did_you_mean(given, known)}; there are {', '.join(known)}."


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
