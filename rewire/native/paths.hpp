// Paths of three edges in a bipartite graph: CH3-L3, by which CHT grows (rewire/rules/cht.py).

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "arrays.hpp"

namespace {

// Rows that hold each column, ascending: the transpose of compressed rows.
struct ByColumn {
    std::vector<int64_t> starts;
    std::vector<int64_t> rows;

    ByColumn(const int64_t* first, const int64_t* column, int64_t n, int64_t width)
        : starts(static_cast<size_t>(width) + 1), rows(static_cast<size_t>(first[n])) {
        for (int64_t e = 0; e < first[n]; ++e) ++starts[static_cast<size_t>(column[e]) + 1];
        for (size_t c = 0; c < static_cast<size_t>(width); ++c) starts[c + 1] += starts[c];
        std::vector<int64_t> next(starts.begin(), starts.end() - 1);
        for (int64_t row = 0; row < n; ++row)
            for (int64_t e = first[row]; e < first[row + 1]; ++e)
                rows[static_cast<size_t>(next[static_cast<size_t>(column[e])]++)] = row;
    }
};

// The scores of all pairs (row, column) without an edge that a path of three edges joins: their
// flat indices, ascending, and for each the sum over such paths column - a - b - row of
// 1 / sqrt((1 + e_a)(1 + e_b)), e the neighbours of a path's inner node that lie on none of the
// pair's paths. Edges as compressed rows, ascending in each. O(paths) time, O(nodes) memory.
py::tuple paths_of_three(const Keys& starts, const Keys& columns, int64_t width) {
    const int64_t* first = starts.data();
    const int64_t* column = columns.data();
    const int64_t n = static_cast<int64_t>(starts.size()) - 1;
    const ByColumn up(first, column, n, width);
    const auto wide = static_cast<size_t>(width);
    std::vector<int64_t> common(static_cast<size_t>(n)), shared(wide), near, reached, touched;
    std::vector<double> weight(static_cast<size_t>(n)), part(wide), score(wide);
    std::vector<char> held(wide), seen(wide);
    std::vector<int64_t> at;
    std::vector<double> found;
    for (int64_t v = 0; v < n; ++v) {
        near.clear();
        reached.clear();
        for (int64_t e = first[v]; e < first[v + 1]; ++e) {
            const auto b = static_cast<size_t>(column[e]);
            held[b] = 1;
            for (int64_t i = up.starts[b]; i < up.starts[b + 1]; ++i) {
                const int64_t a = up.rows[static_cast<size_t>(i)];
                if (common[static_cast<size_t>(a)]++ == 0) near.push_back(a);
            }
        }
        for (const int64_t a : near) {  // 0 where all that a joins, v joins
            const int64_t outside = first[a + 1] - first[a] - common[static_cast<size_t>(a)];
            weight[static_cast<size_t>(a)] =
                outside > 0 ? 1 / std::sqrt(static_cast<double>(outside)) : 0.0;
        }
        for (int64_t e = first[v]; e < first[v + 1]; ++e) {
            const auto b = static_cast<size_t>(column[e]);
            touched.clear();
            for (int64_t i = up.starts[b]; i < up.starts[b + 1]; ++i) {
                const auto a = static_cast<size_t>(up.rows[static_cast<size_t>(i)]);
                if (weight[a] == 0) continue;
                for (int64_t j = first[a]; j < first[a + 1]; ++j) {
                    const auto u = static_cast<size_t>(column[j]);
                    if (held[u]) continue;
                    if (shared[u]++ == 0) touched.push_back(column[j]);
                    part[u] += weight[a];
                }
            }
            const int64_t degree = up.starts[b + 1] - up.starts[b];
            for (const int64_t c : touched) {
                const auto u = static_cast<size_t>(c);
                score[u] += part[u] / std::sqrt(static_cast<double>(degree - shared[u]));
                part[u] = 0;
                shared[u] = 0;
                if (!seen[u]) {
                    seen[u] = 1;
                    reached.push_back(c);
                }
            }
        }
        std::sort(reached.begin(), reached.end());
        for (const int64_t c : reached) {
            const auto u = static_cast<size_t>(c);
            at.push_back(v * width + c);
            found.push_back(score[u]);
            score[u] = 0;
            seen[u] = 0;
        }
        for (const int64_t a : near) common[static_cast<size_t>(a)] = 0;
        for (int64_t e = first[v]; e < first[v + 1]; ++e) held[static_cast<size_t>(column[e])] = 0;
    }
    Keys keys(static_cast<py::ssize_t>(at.size()));
    Array<double> scores(static_cast<py::ssize_t>(found.size()));
    std::copy(at.begin(), at.end(), keys.mutable_data());
    std::copy(found.begin(), found.end(), scores.mutable_data());
    return py::make_tuple(keys, scores);
}

}  // namespace
