"""The old name of :mod:`rewire.worlds`, for programs that were written for it.

>>> from rewire.substrates.masked import Masked
>>> import rewire.worlds.masked
>>> Masked is rewire.worlds.masked.Masked
True
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__path__: list[str] = []  # its modules are those below, and no files
OLD = {
    "bare": ["bare"],
    "brian": ["brian", "brian.loop", "brian.wiring"],
    "masked": ["masked", "masked.world", "torch_model.probe"],
    "sparse": ["sparse", "sparse.world"],
    "stacked": ["stacked", "stacked.loop", "stacked.stack"],
}


class _Moved(ModuleType):
    """A module of the old name, that looks up what is asked of it where it stands now."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        modules = OLD[self.__name__.rpartition(".")[2]]
        for module in modules:
            value = getattr(import_module(f"rewire.worlds.{module}"), name, None)
            if value is not None:
                return value
        raise AttributeError(f"there is no {name!r} in rewire.worlds.{modules[0]}.")


for _name in OLD:
    sys.modules[f"{__name__}.{_name}"] = globals()[_name] = _Moved(f"{__name__}.{_name}")
