"""What is known, before a standalone program runs, of the arrays that it will begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .traces import whole

NOT_KNOWN = "connect() with arrays, i=..., j=..., and give numbers or arrays to what synapses hold"


def reveal(device: Any, synapses: Any) -> None:
    """Let Brian2's arrays of these synapses be read where their values follow from the program.

    The device keeps no copy of arrays that grow, as all of a Synapses object do, but the list of
    what its program does to them.

    Raises ValueError where the synapses themselves are decided as the program runs.
    """
    variables = synapses.variables
    cache = device.array_cache
    if any(cache.get(variables[n]) is None for n in ("N", "_synaptic_pre", "_synaptic_post")):
        raise ValueError(
            f"a standalone program decides on the synapses of {synapses.name!r} as it runs, and "
            f"slots are to be known before: {NOT_KNOWN}."
        )
    n = len(cache[variables["_synaptic_pre"]])
    for name in ("_synaptic_pre", "_synaptic_post"):
        cache[variables[name]] = np.array(cache[variables[name]], np.int32)
    neurons = len(whole(synapses.source))
    counts = np.bincount(cache[variables["_synaptic_pre"]], minlength=neurons)
    cache[variables["N_outgoing"]] = counts.astype(np.int32)
    held = [v for name, v in variables.items() if variables.indices[name] == "_idx"]
    for variable in [*held, *(p._delays for p in synapses._pathways)]:
        known = variable not in device.dynamic_arrays or cache.get(variable) is not None
        if not known and (value := _value(device, variable, n)) is not None:
            cache[variable] = value


def _value(device: Any, variable: Any, n: int) -> np.ndarray | None:
    """The (n,) numbers that an array holds when the network starts; None where code computes it."""
    name = device.get_array_name(variable, access_data=False)
    value = np.zeros(n, variable.dtype)
    for what, arguments in device.main_queue:
        match what, arguments:
            case "run_code_object", (code,):
                if variable in code.variables.values():
                    return None
            case "set_by_constant", (array, number, _) if array == name:
                value[:] = number
            case "set_by_array", (array, static, _) if array == name:
                held = device.static_arrays[static]
                value[: len(held)] = held
            case "set_by_single_value", (array, item, number) if array == name:
                value[item] = float(number)
            case "set_array_by_array", (array, items, numbers) if array == name:
                value[device.static_arrays[items]] = device.static_arrays[numbers]
    return value


def written(device: Any, variable: Any) -> np.ndarray:
    """An array as the program left it."""
    path = Path(device.results_dir) / device.get_array_filename(variable)
    return np.fromfile(path, dtype=variable.dtype)
