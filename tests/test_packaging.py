"""What users install: the source distribution, the wheel that it makes, and their C++ modules."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from rewire import native

ROOT = Path(__file__).parents[1]
NATIVE = ROOT / "rewire" / "native"
SETUP = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")

# A test must not wait for a package index: it builds with what is installed.
builds = pytest.mark.skipif(
    int(version("setuptools").split(".")[0]) < 77 or find_spec("pybind11") is None,
    reason="a build needs setuptools 77 and pybind11",
)


def build(kind: str, folder: Path, out: Path) -> Path:
    """A distribution of the source in a folder, without compiling."""
    out.mkdir()
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(out)!r}))"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"CC": "false", "CXX": "false"},
        capture_output=True,
        text=True,
        check=True,
    )
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    """The source distribution, unpacked: what a wheel is built from elsewhere."""
    folder = tmp_path_factory.mktemp("packaging")
    clean = shutil.ignore_patterns(
        ".*", "build", "dist", "runs", "__pycache__", "*.so", "*.egg-info"
    )
    shutil.copytree(ROOT, folder / "clone", ignore=clean)
    with tarfile.open(build("sdist", folder / "clone", folder / "sdist")) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.glob("neurorewire-*")
    return source


def files_of(folder: Path) -> set[str]:
    """The files of the three packages below a folder, as a wheel names them."""
    return {
        "/".join((*name.split("."), *path.relative_to(folder / top).parts))
        for name, top in SETUP["FOLDERS"].items()
        for path in (folder / top).rglob("*")
        if path.is_file() and path.suffix not in {".pyc", ".so"}
    }


@builds
def test_the_wheel_has_every_file_of_the_three_folders(unpacked, tmp_path):
    """Python files by being found, others where pyproject.toml names their kind."""
    with zipfile.ZipFile(build("wheel", unpacked, tmp_path / "wheel")) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == files_of(ROOT)


@builds
@pytest.mark.parametrize("name", [
    "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "constraints.txt", "pyproject.toml",
    "setup.py", "tests/conftest.py", "docs/quickstart.svg",
])  # fmt: skip
def test_the_source_distribution_has_what_a_build_and_its_reader_need(unpacked, name):
    assert (unpacked / name).is_file()


@builds
def test_the_source_distribution_has_all_of_the_c_plus_plus(unpacked):
    sources = {path.relative_to(ROOT) for path in NATIVE.rglob("*.[ch]pp")}
    assert sources and all((unpacked / path).is_file() for path in sources)


def test_every_folder_with_python_files_is_a_package():
    packages = SETUP["packages"](ROOT)
    assert {"rewire", "rewire.native", "rewire.models", "rewire.experiments.store"} <= set(packages)
    for package in packages:
        name = max((n for n in SETUP["FOLDERS"] if f"{package}.".startswith(f"{n}.")), key=len)
        folder = (
            ROOT / SETUP["FOLDERS"][name] / package.removeprefix(name).replace(".", "/").lstrip("/")
        )
        assert (folder / "__init__.py").is_file(), package


# -- C++ ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine, platform, modules", [
    ("x86_64", "linux-x86_64", ["_sparse", "_sparse_v3", "_sparse_v4"]),
    ("x86_64", "macosx-11.0-x86_64", ["_sparse", "_sparse_v3", "_sparse_v4"]),
    ("aarch64", "linux-aarch64", ["_sparse"]),
    ("arm64", "macosx-11.0-arm64", ["_sparse"]),
    ("AMD64", "win-amd64", ["_sparse"]),
])  # fmt: skip
def test_only_x86_has_generations(machine, platform, modules):
    generations = SETUP["generations"](machine, platform)
    assert list(generations) == modules
    assert generations["_sparse"] == []


def test_every_generation_finds_its_module_in_the_bindings():
    text = (NATIVE / "sparse" / "bindings.cpp").read_text()
    names = set(re.findall(r"^PYBIND11_MODULE\((\w+),", text, re.M))
    assert names == set(SETUP["generations"]("x86_64", "linux-x86_64"))


def test_bindings_are_compiled_once_for_all_generations():
    """So they may not see vectors, whose types differ; and the engine's functions are linked."""

    def headers(path: Path) -> set[Path]:
        included = {path.parent / name for name in re.findall(r'#include "(.+)"', path.read_text())}
        return included.union(*map(headers, included))

    assert NATIVE / "sparse" / "vectors.hpp" not in headers(NATIVE / "sparse" / "bindings.cpp")
    assert NATIVE / "sparse" / "vectors.hpp" in headers(NATIVE / "sparse" / "engine.cpp")
    modules = [SETUP["engine"](name, []) for name in ("_sparse", "_sparse_v3")]
    assert modules[0][-1] == modules[1][-1]
    assert not set(modules[0][:-1]) & set(modules[1][:-1])


@pytest.mark.skipif(native.kernels is None, reason="the kernels were not built")
def test_every_engine_that_was_built_can_be_loaded():
    """An engine that does not load is passed over in silence, for a slower one."""
    folder = Path(native.__file__).parent
    generation = native.kernels.generation()
    names = {
        path.name.partition(".")[0] for path in folder.glob(f"_sparse*{EXTENSION_SUFFIXES[0]}")
    }
    mine = {
        name for name in names if int(name.removeprefix("_sparse").lstrip("_v") or 0) <= generation
    }
    assert set(native.engines()) == mine
