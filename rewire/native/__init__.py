"""The C++ kernels, where the package was built with a compiler; every caller has another form.

``kernels`` is the compiled module, or None: where it was not built, or where the environment says
``REWIRE_NATIVE=0``. Both forms give the same numbers.
"""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType

kernels: ModuleType | None = None
missing = ""  # why there are none
if os.environ.get("REWIRE_NATIVE") == "0":
    missing = "switched off by REWIRE_NATIVE=0"
else:
    try:
        kernels = import_module("rewire.native._kernels")
    except ImportError as error:
        missing = f"not built: {error}. Reinstall with a C++ compiler on the PATH"
