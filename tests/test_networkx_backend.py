"""The backend of networkx: its own tests of these functions, and the same numbers on graphs."""

import os
import subprocess
import sys
from importlib.metadata import entry_points

import networkx as nx
import numpy as np
import pytest

from rewire import networkx_backend as backend

OWN_TESTS = (
    "networkx.algorithms.tests.test_cluster",
    "networkx.algorithms.bipartite.tests.test_cluster",
    "networkx.algorithms.tests.test_efficiency",
    "networkx.algorithms.tests.test_reciprocity",
    "networkx.algorithms.shortest_paths.tests.test_generic",
)


@pytest.fixture
def environment(tmp_path):
    """An environment in which networkx finds the backend, installed or not."""
    paths = [os.environ.get("PYTHONPATH", "")]
    if not [e for e in entry_points(group="networkx.backends") if e.name == "rewire"]:
        info = tmp_path / "backend-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: backend\nVersion: 1\n")
        (info / "entry_points.txt").write_text(
            "[networkx.backends]\nrewire = rewire.networkx_backend\n"
            "[networkx.backend_info]\nrewire = rewire.networkx_backend:get_info\n"
        )
        paths.insert(0, str(tmp_path))
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def test_networkx_own_tests_pass(environment):
    environment |= {"NETWORKX_TEST_BACKEND": "rewire", "NETWORKX_FALLBACK_TO_NX": "True"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs"]
    out = subprocess.run(
        [*command, *OWN_TESTS], env=environment, capture_output=True, text=True, cwd="/"
    )
    assert out.returncode == 0, out.stdout[-3000:]
    assert int(out.stdout.split(" passed")[0].split()[-1]) > 100


ASKED = """
import networkx as nx
from rewire import networkx_backend
G = nx.gnp_random_graph(60, 0.3, seed=0)
calls = []
plain = networkx_backend.transitivity
networkx_backend.transitivity = lambda G: calls.append(1) or plain(G)
assert nx.transitivity(G, backend="rewire") == nx.transitivity(G)
assert len(calls) == 1
print("once")
"""


def test_networkx_finds_it_by_name(environment):
    out = subprocess.run(
        [sys.executable, "-c", ASKED], env=environment, capture_output=True, text=True
    )
    assert out.stdout == "once\n", out.stderr


@pytest.mark.parametrize("name", backend.FUNCTIONS)
@pytest.mark.parametrize("seed", range(6))
def test_numbers_are_those_of_networkx(name, seed):
    directed = name == "overall_reciprocity"
    rng = np.random.default_rng(seed)
    net = nx.gnp_random_graph(30, rng.uniform(0.1, 0.5), seed=seed, directed=directed)
    function = nx.bipartite.robins_alexander_clustering if "robins" in name else getattr(nx, name)
    arrays = backend.convert_from_nx(net)
    try:
        expected = function(net)
    except nx.NetworkXError as error:
        with pytest.raises(type(error), match=str(error)):
            getattr(backend, name)(arrays)
        return
    value = getattr(backend, name)(arrays)
    assert value == pytest.approx(expected, rel=1e-12)
    assert not isinstance(value, dict) or list(value) == list(expected)


def test_what_it_cannot_do_is_left_to_networkx():
    net, loops = nx.path_graph(4), nx.Graph([(0, 0), (0, 1)])
    assert backend.can_run("clustering", (net,), {}) is True
    for args, kwargs in [((net, [0]), {}), ((net,), {"weight": "weight"}), ((loops,), {}),
                         ((nx.MultiGraph(net),), {}), ((net.to_directed(),), {})]:  # fmt: skip
        assert isinstance(backend.can_run("clustering", args, kwargs), str)
    assert backend.should_run("clustering", (net,), {}) == "the graph is small"
    assert set(backend.get_info()["functions"]) == set(backend.FUNCTIONS)
