"""Programs without Python draw the random numbers, and the absent synapses, that Python draws."""

import shutil
import subprocess
import sysconfig
from itertools import pairwise

import numpy as np
import pytest
import torch

from rewire.compiled import normals
from rewire.graph import Graph, Population, Projection, Space
from rewire.native import __file__ as native
from rewire.select.capacity import UNLIMITED
from rewire.select.grow import sample_absent
from rewire.streams import rng_for

MAIN = """
#include <cmath>
#include <cstdio>
#include <memory>
#include <unordered_set>
#include "standalone/room.hpp"

using namespace rewire;

int main(int, char** argv) {
    Settings from(argv[1]);
    Results to(argv[2]);
    Streams streams(from);
    Normals normals(from);
    const std::vector<int64_t> sizes = from.next<int64_t>();
    for (size_t i = 0; i < sizes.size(); ++i) {
        Stream stream = streams.of(i);
        std::vector<int64_t> one(sizes[i]), other = stream.order(sizes[i]);
        std::iota(one.begin(), one.end(), 0);
        stream.permute(one);
        stream.permute(one);
        stream.skip(3);
        const float* normal = normals.block(stream.normals());
        to.add(std::vector<double>(one.begin(), one.end()));
        to.add(std::vector<double>(other.begin(), other.end()));
        to.add(std::vector<double>(normal, normal + BLOCK));
        to.add(std::vector<double>(1, stream.next()));
    }
    const int64_t cases = from.next<int64_t>()[0];
    for (int64_t i = 0; i < cases; ++i) {
        std::vector<double> w;
        const Graph graph(from, w);
        std::vector<Place> gone;
        const std::vector<int64_t> dropped = from.next<int64_t>();
        for (size_t cell = 0, row = 0, at = 0; cell < graph.held.size(); ++cell)
            for (size_t k = 0; k < graph.held[cell].size(); ++k, ++row)
                if (at < dropped.size() && dropped[at] == static_cast<int64_t>(row)) {
                    gone.push_back(Place{cell, static_cast<int64_t>(k)});
                    ++at;
                }
        std::vector<size_t> ends;
        for (const int64_t end : from.next<int64_t>()) ends.push_back(end);
        const std::vector<int64_t> counts = from.next<int64_t>();
        const bool again = from.next<int64_t>()[0] != 0;
        Stream stream = Streams(from).of(0);
        try {
            const auto drawn = sample_absent(graph, ends, counts, stream, gone, again);
            to.add(std::vector<double>(drawn.begin(), drawn.end()));
        } catch (const Refusal&) {
            to.add(std::vector<double>(1, -1.0));
        }
        to.add(std::vector<double>(1, stream.next()));
    }
    to.close();
}
"""
SIZES = [0, 1, 2, 3, 7, 64, 1000, 4097]


def halves(stream):
    return [stream.key % 2**64, stream.key >> 64]


def random_case(i):
    """A graph whose units have slots, edges that are about to go, and how many are to come."""
    rng = np.random.default_rng(i)
    slots = int(rng.integers(2, 70))
    n_pre, n_post = slots + int(rng.integers(1, 4)), int(rng.integers(1, 12))
    parallel = i % 4 == 3
    space = Space(
        [Population("a", n_pre), Population("b", n_post, slots=slots)],
        [
            Projection("ab", "a", "b", "spiking", (n_post, n_pre), parallel),
            Projection("bb", "b", "b", "spiking", (n_post, n_post), parallel),
        ],
    )
    keys = []
    for unit in range(n_post):
        held = slots - int(rng.integers(0, 2))
        pre = rng.choice(n_pre + n_post, min(held, n_pre + n_post), replace=parallel)
        keys += [unit * n_pre + p for p in pre if p < n_pre]
        keys += [n_post * n_pre + unit * n_post + p - n_pre for p in pre if p >= n_pre]
    graph = Graph(space, torch.tensor(sorted(keys), dtype=torch.int64))
    drop = np.sort(rng.choice(len(graph), int(rng.integers(1, len(graph) // 2 + 2)), replace=False))
    wide = i % 3 == 0
    lost = [int(((drop >= lo) & (drop < hi)).sum()) for lo, hi in pairwise(graph.bounds)]
    return graph, drop, [len(drop)] if wide else lost, wide, i % 2 == 0


def arrays_of(graph, drop, counts, wide, again, seed):
    space = graph.space
    slot = np.zeros(len(graph), np.int64)
    ends = [0, 2] if wide else [0, 1, 2]
    return [
        space.bounds, [p.shape[1] for p in space.projections], [0, 0], [0, 0], [70, 70],
        space.parallel, [p.size for p in space.populations],
        [UNLIMITED if p.slots is None else p.slots for p in space.populations], space.lands,
        range(70 * 20), np.array([1.0]), graph.array, slot, drop, ends, counts, [again],
        np.array(halves(rng_for(seed, "absent")), np.uint64),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """What the program draws: of each size, then of each case."""
    compiler = (sysconfig.get_config_var("CXX") or "c++").split()[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no compiler {compiler}")
    folder = tmp_path_factory.mktemp("draws")
    (folder / "main.cpp").write_text(MAIN)
    include = f"-I{native.rsplit('/', 1)[0]}"
    command = [compiler, "-std=c++11", "-O0", "-w", include, "main.cpp", "-o", "main"]
    subprocess.run(command, cwd=folder, check=True)
    keys = [half for i in range(len(SIZES)) for half in halves(rng_for(i, "draws"))]
    arrays = [np.array(keys, np.uint64), normals(True), SIZES, [CASES]]
    for i in range(CASES):
        arrays += arrays_of(*random_case(i), i)
    with (folder / "in").open("wb") as file:
        for x in arrays:
            x = x if isinstance(x, np.ndarray) else np.array(x, np.int64)
            file.write(np.int64(x.size).tobytes() + np.ascontiguousarray(x).tobytes())
    subprocess.run([folder / "main", folder / "in", folder / "out"], check=True)
    from rewire.worlds.brian.standalone import _read

    return _read(folder / "out")


CASES = 60


def test_the_numbers_of_a_stream_are_those_of_python(drawn):
    for i, n in enumerate(SIZES):
        rng = rng_for(i, "draws")
        permuted, order, normal, one = drawn[4 * i : 4 * i + 4]
        assert order.tolist() == rng.order(n).tolist()
        twice = rng.numpy.permutation(rng.numpy.permutation(np.arange(n)))
        assert permuted.tolist() == twice.tolist()
        assert (normal == rng.normal(256).double().numpy()).all()
        assert one[0] == rng.doubles(4)[3]


def test_absent_synapses_are_those_of_python(drawn):
    permuted = refused = 0
    for i in range(CASES):
        graph, drop, counts, wide, again = random_case(i)
        rng = rng_for(i, "absent")
        try:
            k = counts[0] if wide else counts
            expected = sample_absent(graph, k, rng, without=torch.from_numpy(drop), again=again)
        except ValueError:
            refused, expected = refused + 1, torch.tensor([-1])
        permuted += rng._numpy is not None
        found, one = drawn[4 * len(SIZES) + 2 * i : 4 * len(SIZES) + 2 * i + 2]
        assert found.tolist() == expected.tolist()
        assert one[0] == rng.doubles(1)[0]
    assert permuted > 5 and refused < CASES / 2
