"""Only what pyproject.toml cannot say: the optional C++ kernels."""

import platform
import sysconfig
from glob import glob

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

kernels = Pybind11Extension(
    "rewire.native._kernels",
    ["rewire/native/kernels.cpp"],
    depends=[
        f"rewire/native/{name}.hpp"
        for name in ("arrays", "choose", "paths", "queue", "random", "slots")
    ],
    cxx_std=17,
    # no contraction into fused multiply-adds: the same numbers as numpy and torch
    extra_compile_args=["-O3", "-ffp-contract=off"],
    optional=True,
)

# The sparse engine, one module for each generation of processors; the best is chosen at import.
GENERATIONS = {"_sparse": []}
if platform.machine() in ("x86_64", "AMD64") and not sysconfig.get_platform().startswith("win"):
    GENERATIONS["_sparse_v3"] = ["-march=x86-64-v3"]
    GENERATIONS["_sparse_v4"] = ["-march=x86-64-v4", "-mprefer-vector-width=512"]

sparse = [
    Pybind11Extension(
        f"rewire.native.{name}",
        ["rewire/native/sparse/module.cpp"],
        depends=glob("rewire/native/sparse/*.hpp"),
        cxx_std=17,
        define_macros=[("REWIRE_MODULE", name)],
        extra_compile_args=["-O3", "-g0", "-ffp-contract=fast", "-fno-math-errno", *flags],
        optional=True,
    )
    for name, flags in GENERATIONS.items()
]
setup(ext_modules=[kernels, *sparse])
