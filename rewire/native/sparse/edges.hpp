// Lists of edges, and the memory of the caller's that they lie in.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "array.hpp"

namespace rewire {

// The edges of one projection, CSR by output row: edge e of row r, indptr[r] <= e < indptr[r + 1],
// comes from `index[e]`, the flat index within the row of the weight as it is stored (linear: the
// input unit; convolution: (in channel within the group, ky, kx)). Indices rise within a row.
struct Csr {
    int64_t rows = 0, columns = 0;
    const int64_t* indptr = nullptr;
    const int32_t* index = nullptr;

    int64_t edges() const { return indptr == nullptr ? 0 : indptr[rows]; }
    // Rows [first, end) of the same edges, which keep their numbers.
    Csr part(int64_t first, int64_t end) const {
        return {end - first, columns, indptr + first, index};
    }
};

// The same in memory of the caller's.
struct Connectivity : Csr {
    Array indptr_array, index_array;

    // trusted: whoever hands them over answers for what they say.
    void set(Array pointers, Array indices, bool trusted = false) {
        const int64_t* p = memory_of<int64_t>(pointers, rows + 1, "indptr");
        const int32_t* i = memory_of<int32_t>(indices, -1, "index");
        const int64_t n = indices.size;
        if (p[0] != 0 || p[rows] != n)
            refuse("indptr must run from 0 to the number of edges, " + std::to_string(n) +
                   "; it runs from " + std::to_string(p[0]) + " to " + std::to_string(p[rows]) +
                   ".");
        if (!trusted) check(p, i, n);
        indptr = p, index = i;
        indptr_array = std::move(pointers);
        index_array = std::move(indices);
    }

private:
    void check(const int64_t* p, const int32_t* i, int64_t n) const {
        for (int64_t r = 0; r < rows; ++r)
            if (p[r] > p[r + 1]) refuse("indptr must not fall.");
        int32_t low = 0, high = -1;
        for (int64_t e = 0; e < n; ++e) low = std::min(low, i[e]), high = std::max(high, i[e]);
        if (low < 0 || high >= columns)
            refuse("index must lie in [0, " + std::to_string(columns) + "), found " +
                   std::to_string(low < 0 ? low : high) + ".");
        for (int64_t r = 0; r < rows; ++r) {
            bool falls = false;
            for (int64_t e = p[r] + 1; e < p[r + 1]; ++e) falls |= i[e - 1] >= i[e];
            if (falls) refuse("index must rise within row " + std::to_string(r) + ".");
        }
    }
};

// Rows [first, end) that come in pairs, two and two with the same edges, or that do not.
struct RowRun {
    int64_t first, end;
    bool paired;
};

// The rows of a list of edges as runs of pairs and of others: within blocks of a matrix rows are
// paired, and so they are where all edges are there. A pair is computed with at once (pairs.hpp).
class RowRuns {
public:
    std::vector<RowRun> runs;

    RowRuns() = default;
    explicit RowRuns(const Csr& csr) { build(csr); }
    // Whether dx is scattered into by most edges two and two: as fast as gathering it.
    bool mostly_paired() const { return mostly_paired_; }

    void build(const Csr& csr) {
        const int64_t* p = csr.indptr;
        int64_t paired_edges = 0;
        const auto same = [&](int64_t r) {  // as the row after it; empty rows are as those before
            const int64_t n = p[r + 1] - p[r];
            if (p[r + 2] - p[r + 1] != n) return false;
            if (n == 0) return !runs.empty() && runs.back().paired;
            return std::equal(csr.index + p[r], csr.index + p[r] + n, csr.index + p[r + 1]);
        };
        runs.clear();
        for (int64_t r = 0, next; r < csr.rows; r = next) {
            const bool paired = r + 1 < csr.rows && same(r);
            next = r + 1 + paired;
            if (paired) paired_edges += p[next] - p[r];
            if (runs.empty() || runs.back().paired != paired) runs.push_back({r, r, paired});
            runs.back().end = next;
        }
        mostly_paired_ = 2 * paired_edges > csr.edges();
    }

private:
    bool mostly_paired_ = false;
};

// Calls f(row, first edge, last edge) for every n-th row; where `block` is not 0, by blocks of that
// many columns and rows within, so that the rows of x and dx that a block touches stay in the cache.
// cursor: room for a number each row.
template <int n, class F>
void over_rows(const Csr& csr, int64_t block, int64_t* cursor, F&& f) {
    const int64_t* indptr = csr.indptr;
    if (block == 0) {
        for (int64_t r = 0; r < csr.rows; r += n) f(r, indptr[r], indptr[r + 1]);
        return;
    }
    std::copy(indptr, indptr + csr.rows, cursor);
    for (int64_t upto = block; upto < csr.columns + block; upto += block)
        for (int64_t r = 0; r < csr.rows; r += n) {
            const int64_t e = cursor[r], last = indptr[r + 1];
            int64_t end = e;
            while (end < last && csr.index[end] < upto) ++end;
            if (end == e) continue;
            f(r, e, end);
            cursor[r] = end;
        }
}

// The same edges by column: those of column c are order[i], begin[c] <= i < begin[c + 1], and come
// from row[i]. Where edges stay for several passes, dx is gathered along it, which touches a third
// less memory than scattering into dx, with the same sums in the same order.
struct ByColumn {
    static constexpr int64_t AHEAD = 32;  // edges whose weight is fetched before its turn
    std::vector<int64_t> begin;
    std::vector<int32_t> row, order;

    bool empty() const { return begin.empty(); }
    void clear() { begin.clear(); }
    bool of(const Csr& csr) const {
        return static_cast<int64_t>(begin.size()) == csr.columns + 1 &&
               static_cast<int64_t>(row.size()) == csr.edges();
    }
    void build(const Csr& csr) {
        begin.assign(csr.columns + 1, 0);
        row.resize(csr.edges());
        order.resize(csr.edges() + AHEAD);  // the rest is read, not used
        for (int64_t e = 0; e < csr.edges(); ++e) ++begin[csr.index[e] + 1];
        for (int64_t c = 0; c < csr.columns; ++c) begin[c + 1] += begin[c];
        std::vector<int64_t> next(begin.begin(), begin.end() - 1);
        for (int64_t r = 0; r < csr.rows; ++r)
            for (int64_t e = csr.indptr[r]; e < csr.indptr[r + 1]; ++e) {
                const int64_t at = next[csr.index[e]]++;
                row[at] = static_cast<int32_t>(r);
                order[at] = static_cast<int32_t>(e);
            }
    }
};

// A weight on edges, as the caller hands it over.
struct EdgeArrays {
    Array indptr, index, value, gradient;
};

}  // namespace rewire
