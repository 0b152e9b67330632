// The largest gradients at absent positions, exactly, without a dense gradient.
#pragma once

#include <cmath>

#include "op.hpp"

namespace rewire {

// The k best (score, key) seen so far: larger scores first, then smaller keys.
template <class T>
class Best {
public:
    explicit Best(int64_t k) : k_(k), room_(std::max<int64_t>(2 * k, k + 4096)) {
        held_.reserve(room_);
    }
    bool takes(T score, int64_t key) const { return !full_ || before({score, key}, worst_); }
    T least() const { return full_ ? worst_.first : T(-1); }
    void offer(T score, int64_t key) {
        if (k_ == 0 || !takes(score, key)) return;
        held_.push_back({score, key});
        if (static_cast<int64_t>(held_.size()) == room_) shrink();
    }
    // Keys in rising order, and their scores.
    std::vector<std::pair<T, int64_t>> sorted() {
        if (static_cast<int64_t>(held_.size()) > k_) shrink();
        std::sort(held_.begin(), held_.end(),
                  [](const auto& a, const auto& b) { return a.second < b.second; });
        return std::move(held_);
    }

private:
    using Scored = std::pair<T, int64_t>;
    int64_t k_, room_;
    bool full_ = false;
    Scored worst_;
    std::vector<Scored> held_;

    static bool before(const Scored& a, const Scored& b) {
        return a.first > b.first || (a.first == b.first && a.second < b.second);
    }
    void shrink() {
        std::nth_element(held_.begin(), held_.begin() + (k_ - 1), held_.end(), before);
        held_.resize(k_);
        worst_ = held_[k_ - 1];
        full_ = true;
    }
};

template <class T>
struct Absent {
    std::vector<std::pair<T, int64_t>> best;   // (|gradient|, row * columns + column), keys rising
    int64_t nan = 0;     // gradients at absent positions that are not a number
    int64_t absent = 0;  // positions without an edge
};

// The k absent positions of an operation with the largest |gradient|, or all of them where there
// are fewer. Edges e with `leaving[e]` (may be null) count as absent. Scratch: one tile and 2 k.
template <class T>
Absent<T> top_absent(Edges<T>& edges, const Run& run, int64_t k, const uint8_t* leaving) {
    constexpr int64_t ROWS = 256, COLUMNS = 1024;
    const Connectivity& csr = edges.csr;
    const int64_t width = std::min(COLUMNS, csr.columns);
    std::vector<T> tile(std::min(ROWS, csr.rows) * width);
    std::vector<int64_t> cursor(csr.indptr, csr.indptr + csr.rows);
    Best<T> best(k);
    Absent<T> out;
    for (int64_t c0 = 0; c0 < csr.columns; c0 += COLUMNS) {
        const int64_t c1 = std::min(c0 + COLUMNS, csr.columns), wide = c1 - c0;
        for (int64_t r0 = 0; r0 < csr.rows; r0 += ROWS) {
            const int64_t r1 = std::min(r0 + ROWS, csr.rows);
            edges.gradient_tile(run, r0, r1, c0, c1, tile.data());
            for (int64_t r = r0; r < r1; ++r) {
                T* row = tile.data() + (r - r0) * wide;
                int64_t held = 0, strange = 0;
                for (int64_t c = 0; c < wide; ++c) row[c] = std::abs(row[c]);
                for (int64_t& e = cursor[r]; e < csr.indptr[r + 1] && csr.index[e] < c1; ++e)
                    if (leaving == nullptr || !leaving[e]) row[csr.index[e] - c0] = -1, ++held;
                out.absent += wide - held;
                const T least = best.least();
                for (int64_t c = 0; c < wide; ++c) strange += !(row[c] <= INFINITY);
                out.nan += strange;
                if (k == 0 || strange > 0) continue;
                for (int64_t c = 0; c < wide; ++c)
                    if (row[c] >= least && row[c] >= 0) best.offer(row[c], r * csr.columns + c0 + c);
            }
        }
    }
    out.best = best.sorted();
    return out;
}

}  // namespace rewire
