// Homeostatic growth (rewire/rules/homeostatic.py).

#pragma once

#include <set>

#include "draws.hpp"
#include "graph.hpp"

namespace rewire {

class HomeostaticGrowth : public Rule {
  public:
    explicit HomeostaticGrowth(Settings& from) {
        const std::vector<double> numbers = from.next<double>();
        decay_ = numbers[0];
        span_ = numbers[1];
        growth_ = numbers[2];
        xi_ = numbers[3];
        zeta_ = numbers[4];
        epsilon_ = numbers[5];
        vacancy_ = numbers[6];
        linear_ = from.next<int64_t>()[0] != 0;
        birth_ = from.next<double>();
        end_ = from.next<int64_t>();
        first_ = from.next<int64_t>();
        const std::vector<int64_t> size = from.next<int64_t>();
        for (const int64_t n : size) {
            calcium_.emplace_back(static_cast<size_t>(n));
            speed_.emplace_back(static_cast<size_t>(n));
        }
        pre_ = from.next<int64_t>();
        post_ = from.next<int64_t>();
        for (size_t p = 0; p < pre_.size(); ++p)
            for (const auto* of : {&pre_, &post_}) {
                elements_.push_back(from.next<double>());
                synapses_.emplace_back(static_cast<size_t>(size[(*of)[p]]), 0);
            }
        streams_.reset(new Streams(from));
    }

    void tick(size_t number, Graph& graph, const Signals& signals, Edit& edit) override {
        // dC/dt = (activity - C) / tau, and dz/dt by the growth curve
        for (size_t i = 0; i < calcium_.size(); ++i) {
            const double* now = signals.rates[end_[i]].rates.data() + first_[i];
            for (size_t unit = 0; unit < calcium_[i].size(); ++unit) {
                const double before = begun_ ? calcium_[i][unit] : now[unit];
                const double calcium = before * decay_ + now[unit] * (1 - decay_);
                calcium_[i][unit] = calcium;
                speed_[i][unit] = speed(calcium);
            }
        }
        if (!begun_) count(graph);
        begun_ = true;
        Stream stream = streams_->of(number);
        std::vector<std::vector<int64_t>> free = free_slots(graph);
        for (size_t p = 0; p < pre_.size(); ++p) {
            for (size_t end = 0; end < 2; ++end) {
                const std::vector<double>& speed = speed_[(end ? post_ : pre_)[p]];
                std::vector<double>& z = elements_[2 * p + end];
                for (size_t unit = 0; unit < z.size(); ++unit)
                    z[unit] = std::max(z[unit] + span_ * speed[unit], 0.0);
            }
            // synapses without an element break, then vacant elements are paired
            const std::vector<Place> surplus = break_surplus(graph, p, stream);
            std::vector<int64_t>& room = free[graph.lands[p]];
            for (const Place& place : surplus) ++room[graph.unit_of(p, place.cell)];
            edit.gone.insert(edit.gone.end(), surplus.begin(), surplus.end());
            pair(graph, p, room, stream, edit.grown);
        }
        std::sort(edit.grown.begin(), edit.grown.end());
        edit.births = birth_;
    }

    void finish(Results& to) const override {
        for (const auto& numbers : calcium_) to.add(begun_ ? numbers : std::vector<double>());
        for (const auto& numbers : elements_) to.add(numbers);
    }

  private:
    double speed(double calcium) const {
        if (linear_) return growth_ * (1 - calcium / epsilon_);
        const double off = (calcium - xi_) / zeta_;
        return growth_ * (2 * std::exp(-(off * off)) - 1);
    }

    void count(const Graph& graph) {
        for (size_t p = 0; p < pre_.size(); ++p)
            for (size_t cell = graph.first_cell(p); cell < graph.end_cell(p); ++cell)
                for (const Edge& edge : graph.held[cell]) {
                    ++synapses_[2 * p][edge.pre];
                    ++synapses_[2 * p + 1][graph.unit_of(p, cell)];
                }
    }

    // Slots of the units of each population that no synapse is in.
    static std::vector<std::vector<int64_t>> free_slots(const Graph& graph) {
        std::vector<std::vector<int64_t>> free;
        for (size_t i = 0; i < graph.sizes.size(); ++i)
            free.emplace_back(static_cast<size_t>(graph.sizes[i]), graph.slots[i]);
        for (size_t p = 0; p < graph.projections(); ++p)
            for (size_t cell = graph.first_cell(p); cell < graph.end_cell(p); ++cell)
                free[graph.lands[p]][graph.unit_of(p, cell)] -=
                    static_cast<int64_t>(graph.held[cell].size());
        return free;
    }

    // The synapses that have lost their axonal or their dendritic element, rising.
    std::vector<Place> break_surplus(const Graph& graph, size_t p, Stream& stream) {
        std::vector<Place> gone;
        for (size_t end = 0; end < 2; ++end) {
            const std::vector<double>& z = elements_[2 * p + end];
            std::vector<int64_t>& held = synapses_[2 * p + end];
            bool any = false;
            for (size_t unit = 0; unit < z.size() && !any; ++unit) any = over(held[unit], z[unit]);
            if (!any) continue;
            // synapses of units that have too many, in the order of their keys
            std::vector<Lot> lots;
            for (size_t cell = graph.first_cell(p); cell < graph.end_cell(p); ++cell) {
                const auto post = static_cast<size_t>(graph.unit_of(p, cell));
                if (end && !over(held[post], z[post])) continue;
                const auto& edges = graph.held[cell];
                for (int64_t i = 0; i < static_cast<int64_t>(edges.size()); ++i) {
                    const size_t unit = end ? post : static_cast<size_t>(edges[i].pre);
                    if (!over(held[unit], z[unit])) continue;
                    const Place place{cell, i};
                    if (end && std::binary_search(gone.begin(), gone.end(), place)) continue;
                    lots.push_back(Lot{unit, 0, place, static_cast<size_t>(edges[i].pre), post});
                }
            }
            for (Lot& lot : lots) lot.luck = stream.next();
            std::sort(lots.begin(), lots.end(), [](const Lot& a, const Lot& b) {
                if (a.unit != b.unit) return a.unit < b.unit;
                return a.luck != b.luck ? a.luck < b.luck : a.place < b.place;
            });
            // the first of each unit stay
            int64_t rank = 0;
            std::vector<Lot> lost;
            for (size_t i = 0; i < lots.size(); ++i) {
                rank = i && lots[i].unit == lots[i - 1].unit ? rank + 1 : 0;
                if (static_cast<double>(rank) >= std::floor(z[lots[i].unit])) lost.push_back(lots[i]);
            }
            for (const Lot& lot : lost) {
                --synapses_[2 * p][lot.pre];
                --synapses_[2 * p + 1][lot.post];
                gone.push_back(lot.place);
            }
            std::sort(gone.begin(), gone.end());
        }
        return gone;
    }

    static bool over(int64_t synapses, double z) {
        return static_cast<double>(synapses) > std::floor(z);
    }

    // Adds the keys of the synapses that vacant elements form; elements decay where they stay so.
    void pair(const Graph& graph, size_t p, std::vector<int64_t>& room, Stream& stream,
              std::vector<int64_t>& grown) {
        std::vector<int64_t> ends[2];
        for (size_t end = 0; end < 2; ++end) {
            const std::vector<double>& z = elements_[2 * p + end];
            const std::vector<int64_t>& held = synapses_[2 * p + end];
            std::vector<int64_t> vacant;
            for (size_t unit = 0; unit < z.size(); ++unit) {
                int64_t many = static_cast<int64_t>(
                    std::max(std::floor(z[unit]) - static_cast<double>(held[unit]), 0.0));
                if (end) many = std::min(many, room[unit]);
                vacant.insert(vacant.end(), static_cast<size_t>(many), static_cast<int64_t>(unit));
            }
            // both kinds in random order: the k-th of one meets the k-th of the other
            for (const int64_t i : stream.order(static_cast<int64_t>(vacant.size())))
                ends[end].push_back(vacant[i]);
        }
        const size_t many = std::min(ends[0].size(), ends[1].size());
        stream.skip(static_cast<int64_t>(many));  // that choose among parallel places of one pair
        std::set<int64_t> formed;
        for (size_t k = 0; k < many; ++k) {
            const int64_t pre = ends[0][k], post = ends[1][k];
            if (pre_[p] == post_[p] && pre == post) continue;
            const size_t cell = graph.first_cell(p) + static_cast<size_t>(post);
            const int64_t key = graph.key(p, cell, static_cast<int32_t>(pre));
            if (!graph.parallel[p] &&
                (graph.joined(cell, static_cast<int32_t>(pre)) || !formed.insert(key).second))
                continue;
            grown.push_back(key);
            ++synapses_[2 * p][pre];
            ++synapses_[2 * p + 1][post];
            --room[post];
        }
        // whole elements that are still vacant decay, the one that is growing does not
        for (size_t end = 0; end < 2; ++end) {
            std::vector<double>& z = elements_[2 * p + end];
            for (size_t unit = 0; unit < z.size(); ++unit)
                z[unit] -= vacancy_ * std::max(std::floor(z[unit]) -
                                                   static_cast<double>(synapses_[2 * p + end][unit]),
                                               0.0);
        }
    }

    struct Lot {
        size_t unit;
        double luck;
        Place place;
        size_t pre, post;
    };

    double decay_, span_, growth_, xi_, zeta_, epsilon_, vacancy_;
    bool linear_, begun_ = false;
    std::vector<double> birth_;
    std::vector<int64_t> end_, first_;  // of each population: where its rates are
    std::vector<std::vector<double>> calcium_, speed_;
    std::vector<int64_t> pre_, post_;              // the populations of each projection
    std::vector<std::vector<double>> elements_;    // of each projection: axonal, then dendritic ones
    std::vector<std::vector<int64_t>> synapses_;   // of the same units
    std::unique_ptr<Streams> streams_;
};

}  // namespace rewire
