"""Tests of worlds share small modules, and what several processes came to."""

import fcntl
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """``filled(name, fill)``: the folder of a name, for which ``fill(folder)`` is called once in
    this run of the tests, by whichever worker of pytest-xdist comes first; the others wait."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # of all workers

    def once(name, fill):
        folder, done = root / name, root / f"{name}.done"
        with open(root / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir(exist_ok=True)
                fill(folder)
                done.touch()
        return folder

    return once


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """The folder of a standalone program of Brian2: one network's is compiled once."""
    return tmp_path_factory.mktemp("program")


@pytest.fixture
def runtime():
    """Brian2 simulates in this process again afterwards."""
    import brian2 as b2

    b2.prefs.codegen.target = "numpy"
    flags = b2.prefs["codegen.cpp.extra_compile_args_gcc"]
    yield
    b2.device.reinit()
    b2.set_device("runtime")
    b2.prefs["codegen.cpp.extra_compile_args_gcc"] = flags
