"""The compiled parts, where the package was built with a compiler; every caller has another form.

``kernels`` is the compiled module of rewiring ticks, which gives the same numbers as the forms
without it. ``sparse`` is the engine that trains on lists of edges (``rewire.worlds.sparse.plan``),
in the form that this processor runs fastest. Each is None where it was not built, or where the
environment says ``REWIRE_NATIVE=0``.
"""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType

kernels: ModuleType | None = None
sparse: ModuleType | None = None
missing = ""  # why there are none


def engines() -> dict[str, ModuleType]:
    """The forms of the sparse engine that were built and that this processor can run, best first.

    None of them where ``REWIRE_NATIVE=0`` or where the kernels were not built.
    """
    if kernels is None:
        return {}
    generation, found = kernels.generation(), {}
    for needs, name in ((4, "_sparse_v4"), (3, "_sparse_v3"), (0, "_sparse")):
        if generation >= needs:
            try:
                found[name] = import_module(f"rewire.native.{name}")
            except ImportError:  # that form was not built: the next one does the same, slower
                continue
    return found


if os.environ.get("REWIRE_NATIVE") == "0":
    missing = "switched off by REWIRE_NATIVE=0"
else:
    try:
        kernels = import_module("rewire.native._kernels")
    except ImportError as error:
        missing = f"not built: {error}. Reinstall with a C++ compiler on the PATH"
    sparse = next(iter(engines().values()), None)
