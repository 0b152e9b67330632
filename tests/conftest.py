"""Settings of every test: one thread, seeded, and property tests that draw the same examples."""

import gc
import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
gc.disable()  # while all tests and what they import are loaded, none of which is garbage
settings.register_profile(
    "rewire",
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("rewire")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests are run by one process: what a fixture trains for them is trained once."""
    if config.getvalue("dist") != "load":  # another way was asked for
        return None
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # files in the order of collection
    return LoadFileScheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of a table marked ``every_other`` the cells like a chessboard's white ones stay, the others
    are slow: of three parameters or more, all values of any two still meet. Tests that kill
    processes, the longest files, come first: no process is left alone with them at the end."""
    items.sort(key=lambda item: "reliability" not in item.path.parts)
    for item in items:
        if item.get_closest_marker("every_other") and sum(item.callspec.indices.values()) % 2:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish():
    """Leaves what was loaded out of later collections, which Brian2 asks for at every run and a
    pool before it forks: they look through what tests have made, not through a million objects."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def seeded():
    """Random numbers of a test are the same in every run and in every order of the tests."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
