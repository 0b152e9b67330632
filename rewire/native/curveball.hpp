// Trades between rows of 0/1 matrices that keep the sums of rows and columns (rewire/nulls/degrees.py).

#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "arrays.hpp"
#include "random.hpp"

namespace {

// One trade at a time, with memory for the longest.
class Trader {
  public:
    // Rows a and b, ascending: of the columns that one of them has alone those with the lowest
    // hashes of the counter go to a, as many as were a's. Equal hashes go by column.
    void trade(int64_t* a, int64_t n_a, int64_t* b, int64_t n_b, uint64_t counter) {
        const int64_t from_a = split(a, n_a, b, n_b);
        const auto n = static_cast<int64_t>(alone_.size());
        if (from_a == 0 || from_a == n) return;
        hashes_.resize(alone_.size());
        for (int64_t i = 0; i < n; ++i)
            hashes_[static_cast<size_t>(i)] =
                splitmix(counter + static_cast<uint64_t>(i + 1) * GOLDEN);
        ranked_ = hashes_;
        const auto last = ranked_.begin() + (from_a - 1);
        std::nth_element(ranked_.begin(), last, ranked_.end());
        const uint64_t highest = *last;
        int64_t equal = from_a;
        for (const uint64_t hash : hashes_) equal -= hash < highest;
        join(a, b, highest, equal);
    }

  private:
    std::vector<int64_t> shared_, alone_;
    std::vector<uint64_t> hashes_, ranked_;

    // Fills shared_ and alone_, ascending; how many of alone_ are a's.
    int64_t split(const int64_t* a, int64_t n_a, const int64_t* b, int64_t n_b) {
        shared_.resize(static_cast<size_t>(std::min(n_a, n_b)) + 1);
        alone_.resize(static_cast<size_t>(n_a + n_b) + 1);
        int64_t *shared = shared_.data(), *alone = alone_.data();
        const int64_t *end_a = a + n_a, *end_b = b + n_b;
        while (a < end_a && b < end_b) {  // without branches that nothing foretells
            const int64_t x = *a, y = *b;
            const bool same = x == y;
            *shared = x;
            shared += same;
            *alone = x < y ? x : y;
            alone += !same;
            a += x <= y;
            b += y <= x;
        }
        alone = std::copy(a, end_a, alone);
        alone = std::copy(b, end_b, alone);
        shared_.resize(static_cast<size_t>(shared - shared_.data()));
        alone_.resize(static_cast<size_t>(alone - alone_.data()));
        return n_a - static_cast<int64_t>(shared_.size());
    }

    // Writes both rows: shared columns to each, another to a where its hash is below `highest`, or
    // is it and `equal` of those are yet to come.
    void join(int64_t* a, int64_t* b, uint64_t highest, int64_t equal) {
        const int64_t *shared = shared_.data(), *end = shared + shared_.size();
        for (size_t i = 0; i < alone_.size(); ++i) {
            const int64_t column = alone_[i];
            for (; shared < end && *shared < column; ++shared) *a++ = *b++ = *shared;
            bool to_a = hashes_[i] < highest;
            if (hashes_[i] == highest && equal > 0) {
                to_a = true;
                --equal;
            }
            if (to_a)
                *a++ = column;
            else
                *b++ = column;
        }
        std::copy(shared, end, a);
        std::copy(shared, end, b);
    }
};

// The columns of a 0/1 matrix as compressed rows after trades between the rows first[t] and
// second[t], one after the other.
Keys trade_rows(const Keys& starts, const Keys& columns, const Keys& first, const Keys& second,
                uint64_t counter) {
    const int64_t* start = starts.data();
    const auto rows = static_cast<int64_t>(starts.size()) - 1;
    Keys out = make<int64_t>(columns.size());
    int64_t* column = out.mutable_data();
    std::copy(columns.data(), columns.data() + columns.size(), column);
    Trader trader;
    for (py::ssize_t t = 0; t < first.size(); ++t) {
        const int64_t a = first.data()[t], b = second.data()[t];
        if (std::min(a, b) < 0 || std::max(a, b) >= rows || a == b)
            throw py::index_error("a trade is between two different rows that are there.");
        trader.trade(column + start[a], start[a + 1] - start[a], column + start[b],
                     start[b + 1] - start[b], splitmix(counter + static_cast<uint64_t>(t + 1) * GOLDEN));
    }
    return out;
}

}  // namespace
