// Absent synapses drawn where units have slots, as rewire.select.capacity draws them.

#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_set>
#include <vector>

#include "draws.hpp"
#include "graph.hpp"

namespace rewire {

class Room {
  public:
    // gone: edges about to be dropped, rising, whose slots are free; again: whether their pairs may be
    // drawn themselves.
    Room(const Graph& graph, const std::vector<Place>& gone, bool again)
        : graph_(graph), gone_(gone), again_(again) {
        first_.push_back(0);
        for (size_t i = 0; i < graph.sizes.size(); ++i) {
            first_.push_back(first_.back() + graph.sizes[i]);
            free_.insert(free_.end(), static_cast<size_t>(graph.sizes[i]), graph.slots[i]);
        }
        for (size_t p = 0; p < graph.projections(); ++p)
            for (size_t cell = graph.first_cell(p); cell < graph.end_cell(p); ++cell)
                free_[unit(p, cell)] -= static_cast<int64_t>(graph.held[cell].size());
        for (const Place& place : gone) ++free_[unit(graph.projection_of(place.cell), place.cell)];
    }

    // Appends k absent keys of the projections [from, to) to `drawn`, fewer where no more can be taken.
    void draw(size_t from, size_t to, int64_t k, Stream& stream, std::vector<int64_t>& drawn) {
        for (int round = 0; round < PATIENCE; ++round) {
            const Open open(*this, from, to);
            if (k == 0 || open.upto.empty()) return;
            const auto all = static_cast<double>(open.upto.back());
            Stream ahead = stream;
            stream.skip(4 * k + 8);
            for (int64_t i = 4 * k + 8; i > 0 && k > 0; --i) {
                const auto at = static_cast<int64_t>(ahead.next() * all);
                const size_t part = std::upper_bound(open.upto.begin(), open.upto.end(), at) -
                                    open.upto.begin();
                k -= take(open.first[part] + at - (part ? open.upto[part - 1] : 0), drawn);
            }
        }
        const Open open(*this, from, to);
        std::vector<int64_t> listed;
        for (size_t part = 0; part < open.upto.size(); ++part) {
            const int64_t many = open.upto[part] - (part ? open.upto[part - 1] : 0);
            for (int64_t key = open.first[part]; key < open.first[part] + many; ++key)
                if (absent(key)) listed.push_back(key);
        }
        stream.permute(listed);
        for (size_t i = 0; i < listed.size() && k > 0; ++i) k -= take(listed[i], drawn);
    }

  private:
    static constexpr int PATIENCE = 8;

    // Where the keys of each unit with room begin, and how many there are up to its last.
    struct Open {
        Open(const Room& room, size_t from, size_t to) {
            const Graph& graph = room.graph_;
            for (size_t p = from; p < to; ++p)
                for (size_t cell = graph.first_cell(p); cell < graph.end_cell(p); ++cell)
                    if (room.free_[room.unit(p, cell)] > 0) {
                        first.push_back(graph.key(p, cell, 0));
                        upto.push_back((upto.empty() ? 0 : upto.back()) + graph.width[p]);
                    }
        }
        std::vector<int64_t> first, upto;
    };

    size_t unit(size_t p, size_t cell) const {
        return static_cast<size_t>(first_[graph_.lands[p]] + graph_.unit_of(p, cell));
    }

    bool absent(int64_t key) const {
        const size_t p = graph_.projection(key), cell = graph_.cell_of(p, key);
        const int32_t pre = graph_.pre_of(p, key);
        const auto& edges = graph_.held[cell];
        for (int64_t i = graph_.find(cell, pre);
             i < static_cast<int64_t>(edges.size()) && edges[i].pre == pre; ++i)
            if (!again_ || !std::binary_search(gone_.begin(), gone_.end(), Place{cell, i}))
                return false;
        return chosen_.count(key) == 0;
    }

    // Takes a key, where it is absent and its unit has room; returns how many were taken.
    int64_t take(int64_t key, std::vector<int64_t>& drawn) {
        const size_t p = graph_.projection(key);
        int64_t& free = free_[unit(p, graph_.cell_of(p, key))];
        if (free <= 0 || !absent(key)) return 0;
        --free;
        chosen_.insert(key);
        drawn.push_back(key);
        return 1;
    }

    const Graph& graph_;
    const std::vector<Place>& gone_;
    bool again_;
    std::vector<int64_t> first_, free_;
    std::unordered_set<int64_t> chosen_;
};

// counts[i] absent keys of the projections [ends[i], ends[i + 1]), rising: sample_absent of
// rewire.select.grow. Refused where too few are free.
inline std::vector<int64_t> sample_absent(const Graph& graph, const std::vector<size_t>& ends,
                                          const std::vector<int64_t>& counts, Stream& stream,
                                          const std::vector<Place>& gone, bool again) {
    std::vector<int64_t> drawn;
    if (std::all_of(counts.begin(), counts.end(), [](int64_t k) { return k == 0; })) return drawn;
    Room room(graph, gone, again);
    for (size_t i = 0; i < counts.size(); ++i) {
        if (counts[i] == 0) continue;
        const auto expected = drawn.size() + static_cast<size_t>(counts[i]);
        room.draw(ends[i], ends[i + 1], counts[i], stream, drawn);
        if (drawn.size() == expected) continue;
        if (!again) return sample_absent(graph, ends, counts, stream, gone, true);
        throw Refusal{"full", "too few synapses are absent where units have free slots"};
    }
    std::sort(drawn.begin(), drawn.end());
    return drawn;
}

}  // namespace rewire
