"""What pyproject.toml cannot say: which packages there are, and how C++ compiles quickly.

The C++ modules are optional. An object file is compiled once, whatever modules it is linked into,
and as many at a time as there are cores; `pip install -v .` shows a line for each.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

NATIVE = Path("rewire/native")
OBJECTS = Path("build/objects")  # kept for the next build
# -g0: debugging information, which Python's own flags ask for, takes half of the time.
# GCC's own headers of AVX-512 warn of numbers that they leave undefined on purpose.
COMMON = ["-std=c++17", "-g0", "-fvisibility=hidden", "-Wno-uninitialized"]
if sys.platform == "win32":
    COMMON = ["/std:c++17", "/EHsc", "/bigobj"]
# No contraction into fused multiply-adds: the same numbers as numpy and torch.
KERNELS = ["-O3", "-ffp-contract=off"]
ENGINE = ["-O3", "-ffp-contract=fast", "-fno-math-errno"]
# What only hands arrays over gains nothing from more than -O1, and takes a third longer to compile.
BINDINGS = ["-O1"]


# The folders of the repository that are packages, and their import names.
FOLDERS = {"rewire": "rewire", "rewire.models": "models", "rewire.experiments": "experiments"}


def packages(root: Path = Path()) -> list[str]:
    """Every folder with Python files in it, by its import name."""
    return sorted(
        {
            ".".join((name, *path.parent.relative_to(root / folder).parts))
            for name, folder in FOLDERS.items()
            for path in (root / folder).rglob("*.py")
        }
    )


@dataclass(frozen=True)
class Object:
    """An object file: a source below rewire/native and what it is compiled with."""

    source: str
    flags: tuple[str, ...]
    macros: tuple[tuple[str, str], ...] = ()
    python: bool = False  # whether it reads Python's and pybind11's headers
    variant: str = ""  # tells apart the objects of one source

    def __str__(self) -> str:
        return f"{self.source} {self.variant}".strip()


def generations(machine: str, platform: str) -> dict[str, list[str]]:
    """The modules of the sparse engine on this machine, and the flags of each.

    One for each generation of x86-64 processors, of which the best is chosen at import; elsewhere
    one for all.
    """
    modules: dict[str, list[str]] = {"_sparse": []}
    if machine in ("x86_64", "AMD64") and not platform.startswith("win"):
        modules["_sparse_v3"] = ["-march=x86-64-v3"]
        modules["_sparse_v4"] = ["-march=x86-64-v4", "-mprefer-vector-width=512"]
    return modules


def engine(module: str, flags: list[str]) -> list[Object]:
    """The objects of one module of the sparse engine.

    The engine's own come first: where an inline function is in several objects, the linker takes
    the first, which is the one that is compiled for speed.
    """
    numbers = [
        Object(
            "sparse/engine.cpp",
            (*ENGINE, *flags),
            (("REWIRE_NUMBER", number),),
            variant=f"{module.removeprefix('_')}, {number}",
        )
        for number in ("float", "double")
    ]
    return [*numbers, Object("sparse/bindings.cpp", (*BINDINGS,), python=True)]


def modules() -> dict[str, list[Object]]:
    """The objects of each module, those that take longest first."""
    kernels = {"_kernels": [Object("kernels.cpp", (*KERNELS,), python=True)]}
    sparse = generations(platform.machine(), sysconfig.get_platform())
    return kernels | {name: engine(name, flags) for name, flags in reversed(sparse.items())}


def extension(name: str, objects: list[Object]) -> Extension:
    """A module that may be missing: everything works without it, as `rewire doctor` says."""
    return Extension(
        f"rewire.native.{name}",
        sorted({str(NATIVE / o.source) for o in objects}),
        depends=[str(path) for path in sorted(NATIVE.glob("**/*.[ch]pp"))],
        language="c++",
        optional=True,
    )


class BuildPackages(build_py):
    """Copies packages to a folder without those of an earlier build, which may be gone since."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class BuildExtensions(build_ext):
    """Compiles all objects of all modules side by side, then links the modules.

    An object that an earlier build compiled from the same text by the same compiler is taken from
    there: a second environment in the same clone waits for the linker only.
    """

    def build_extensions(self) -> None:
        objects = dict.fromkeys(o for each in modules().values() for o in each)
        self.parallel = None  # modules are linked one after the other
        print(f"compiling {len(objects)} files of C++, {cores()} at a time", flush=True)
        with ThreadPoolExecutor(cores()) as pool:
            self.paths = {o: pool.submit(self.compile, o) for o in objects}
            super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        name = ext.name.rpartition(".")[2]
        ext.extra_objects = [self.paths[o].result() for o in modules()[name]]
        sources, ext.sources = ext.sources, []  # they are compiled
        try:
            super().build_extension(ext)
        finally:
            ext.sources = sources
        print(f"{name}: linked", flush=True)

    def compile(self, o: Object) -> str:
        """The path of an object file."""
        path = OBJECTS / f"{self.key(o)}{self.compiler.obj_extension}"
        if path.exists():
            print(f"{o}: compiled before", flush=True)
            return str(path)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as unfinished:
            (made,) = self.compiler.compile(
                [str(NATIVE / o.source)],
                output_dir=unfinished,
                macros=list(o.macros),
                include_dirs=[pybind11.get_include()] if o.python else [],
                extra_postargs=[*COMMON, *o.flags],
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = shutil.copy(made, path.with_suffix(".part"))
        os.replace(whole, path)  # never half a file under that name
        print(f"{o}: compiled in {time.perf_counter() - started:.0f} s", flush=True)
        return str(path)

    def key(self, o: Object) -> str:
        """A name for all that an object file depends on."""
        command = getattr(self.compiler, "compiler_so_cxx", None) or ["the default compiler"]
        about = [repr(o), repr(COMMON), *command, version_of(command[0])]
        about.append(os.environ.get("MACOSX_DEPLOYMENT_TARGET", ""))
        if o.python:
            about += [sysconfig.get_config_var("SOABI") or sys.version, pybind11.__version__]
        texts = [NATIVE / o.source, *sorted(NATIVE.glob("**/*.hpp"))]
        about += [path.read_text(encoding="utf-8") for path in texts]
        return hashlib.sha256("\0".join(about).encode()).hexdigest()[:32]


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def version_of(compiler: str) -> str:
    """What a compiler says that it is."""
    try:
        return subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    except OSError:
        return ""


if __name__ == "__main__":  # which it is in a build, and is not in a test
    setup(
        packages=packages(),
        package_dir=FOLDERS,
        ext_modules=[extension(name, objects) for name, objects in modules().items()],
        cmdclass={"build_py": BuildPackages, "build_ext": BuildExtensions},
    )
