"""Sessions inside other people's trainers: Lightning, Hugging Face's Trainer, accelerate.

Each module imports its package when it is itself imported, and ``import rewire`` imports none of
them. Any other trainer takes ``net.optimizer``, whose steps are the session's.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ..names import no_attribute

_TRAINERS = ("accelerate", "hf", "lightning")


def __getattr__(name: str) -> ModuleType:
    if name in _TRAINERS:
        return import_module(f".{name}", __name__)
    raise no_attribute(__name__, name, _TRAINERS)


def __dir__() -> list[str]:
    return sorted({*globals(), *_TRAINERS})
