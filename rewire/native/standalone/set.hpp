// Sparse evolutionary training (rewire/rules/set.py).

#pragma once

#include "room.hpp"

namespace rewire {

class SET : public Rule {
  public:
    explicit SET(Settings& from)
        : signed_(from.next<int64_t>()[0] != 0), fraction_(from.next<double>()),
          birth_(from.next<double>()), spread_(from.next<double>()[0]),
          streams_(from), normals_(from) {}

    void tick(size_t number, Graph& graph, const Signals&, Edit& edit) override {
        // remove the fraction zeta of the weakest synapses of each layer, no more than have a place
        std::vector<std::vector<Weight>> weakest;
        std::vector<int64_t> counts;
        bool fewer = false;
        for (size_t p = 0; p < graph.projections(); ++p) {
            weakest.push_back(weakest_of(graph, p, fraction_[number]));
            counts.push_back(std::min<int64_t>(weakest[p].size(), vacant(graph, p)));
            fewer = fewer || counts[p] < static_cast<int64_t>(weakest[p].size());
        }
        for (size_t p = 0; p < graph.projections(); ++p) {
            if (fewer) first(weakest[p], counts[p], [](double w) { return std::fabs(w); });
            for (const Weight& weight : weakest[p]) edit.gone.push_back(weight.place);
        }
        std::sort(edit.gone.begin(), edit.gone.end());
        // add as many at random
        Stream stream = streams_.of(number);
        std::vector<size_t> ends;
        for (size_t p = 0; p <= graph.projections(); ++p) ends.push_back(p);
        edit.grown = sample_absent(graph, ends, counts, stream, edit.gone, false);
        exchange(graph, edit);
        if (spread_ == 0) {
            edit.births = birth_;
            return;
        }
        uint64_t counter = stream.normals();
        const float* numbers = nullptr;
        for (size_t i = 0; i < edit.grown.size(); ++i) {
            const size_t within = i % static_cast<size_t>(BLOCK);
            if (within == 0) {
                numbers = normals_.block(counter);
                counter += static_cast<uint64_t>(BLOCK / 2) * GOLDEN;
            }
            const float drawn = numbers[within] * static_cast<float>(spread_);
            edit.births.push_back(graph.clipped(static_cast<double>(drawn)));
        }
    }

  private:
    struct Weight {
        double w;
        Place place;
    };

    // Keeps the k weights that are first by their rank, the smaller place first among equals.
    template <class Rank>
    static void first(std::vector<Weight>& weights, int64_t k, Rank rank) {
        if (k < static_cast<int64_t>(weights.size()))
            std::nth_element(weights.begin(), weights.begin() + k, weights.end(),
                             [&](const Weight& a, const Weight& b) {
                                 const double x = rank(a.w), y = rank(b.w);
                                 return x != y ? x < y : a.place < b.place;
                             });
        weights.resize(static_cast<size_t>(k), Weight{0, Place{0, 0}});
    }

    std::vector<Weight> weakest_of(const Graph& graph, size_t p, double fraction) const {
        std::vector<Weight> up, down;
        for (size_t cell = graph.first_cell(p); cell < graph.end_cell(p); ++cell)
            for (int64_t i = 0; i < static_cast<int64_t>(graph.held[cell].size()); ++i) {
                const double w = graph.weight(p, cell, i);
                (signed_ && w < 0 ? down : up).push_back(Weight{w, Place{cell, i}});
            }
        const auto share = [=](const std::vector<Weight>& of) {
            return static_cast<int64_t>(fraction * static_cast<double>(of.size()));
        };
        if (signed_)
            first(up, share(up), [](double w) { return w; });
        else
            first(up, share(up), [](double w) { return std::fabs(w); });
        first(down, share(down), [](double w) { return -w; });
        up.insert(up.end(), down.begin(), down.end());
        return up;
    }

    // Pairs of a projection that no synapse joins.
    static int64_t vacant(const Graph& graph, size_t p) {
        int64_t joined = 0;
        for (size_t cell = graph.first_cell(p); cell < graph.end_cell(p); ++cell) {
            const auto& edges = graph.held[cell];
            for (size_t i = 0; i < edges.size(); ++i)
                joined += i == 0 || edges[i].pre != edges[i - 1].pre;
        }
        return graph.bounds[p + 1] - graph.bounds[p] - joined;
    }

    // What is dropped and grown again never left: of parallel synapses the first.
    static void exchange(const Graph& graph, Edit& edit) {
        std::vector<int64_t> fresh;
        std::vector<Place> back;
        for (const int64_t key : edit.grown) {
            const size_t p = graph.projection(key), cell = graph.cell_of(p, key);
            const int32_t pre = graph.pre_of(p, key);
            if (graph.joined(cell, pre))
                back.push_back(Place{cell, graph.find(cell, pre)});
            else
                fresh.push_back(key);
        }
        if (back.empty()) return;
        const auto stays = [&](const Place& place) {
            return std::binary_search(back.begin(), back.end(), place);
        };
        edit.gone.erase(std::remove_if(edit.gone.begin(), edit.gone.end(), stays), edit.gone.end());
        edit.grown = fresh;
    }

    bool signed_;
    std::vector<double> fraction_, birth_;  // the fraction at each tick; a weight at birth
    double spread_;                         // of weights at birth, 0: all have that one
    Streams streams_;
    Normals normals_;
};

}  // namespace rewire
