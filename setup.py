"""Only what pyproject.toml cannot say: the optional C++ kernels."""

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

kernels = Pybind11Extension(
    "rewire.native._kernels",
    ["rewire/native/kernels.cpp"],
    depends=[
        f"rewire/native/{name}.hpp" for name in ("arrays", "choose", "queue", "random", "slots")
    ],
    cxx_std=17,
    # no contraction into fused multiply-adds: the same numbers as numpy and torch
    extra_compile_args=["-O3", "-ffp-contract=off"],
    optional=True,
)
setup(ext_modules=[kernels])
