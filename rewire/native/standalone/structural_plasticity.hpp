// Structural plasticity (rewire/rules/structural_plasticity.py), from the C++ of its kernels.

#pragma once

#include <memory>

#include "../attempts.hpp"
#include "draws.hpp"
#include "graph.hpp"

namespace rewire {

class StructuralPlasticity : public Rule {
  public:
    explicit StructuralPlasticity(Settings& from) {
        const std::vector<int64_t> numbers = from.next<int64_t>();
        partner_ = static_cast<Partner>(numbers[0]);
        birth_ = from.next<double>();
        for (int64_t i = 0; i < numbers[1]; ++i) sheets_.emplace_back(new Sheet(from));
    }

    void tick(size_t, Graph& graph, const Signals& signals, Edit& edit) override {
        for (auto& sheet : sheets_) attempt(*sheet, sheet->next(), graph, signals, edit);
        std::sort(edit.gone.begin(), edit.gone.end());
        std::sort(edit.grown.begin(), edit.grown.end());
        edit.births = birth_;
    }

  private:
    enum Partner : int64_t { SPIKED, UNIFORM, POPULATION };

    // The attempts on one population.
    struct Sheet {
        explicit Sheet(Settings& from)
            : into(from.next<int64_t>()), ends(from.next<int64_t>()), scale(from.next<double>()),
              falls(from.next<double>()), here(from.next<double>()), there(from.next<double>()),
              before(from.next<int64_t>()), ranges(from.next<int64_t>()),
              counters(from.next<uint64_t>()) {
            const std::vector<double> numbers = from.next<double>();
            eliminated = slots::ByWeight{numbers[0], numbers[1], numbers[2]};
            one_more = numbers[3];
            const std::vector<int64_t> shape = from.next<int64_t>();
            ticks = shape[0];
            n = shape[1];
            law = slots::Law{ends, scale, falls, here.data(), there.data()};
            at = ticks;
        }
        Sheet(const Sheet&) = delete;

        // This tick's attempts.
        slots::Attempts next() {
            if (at == ticks) {
                std::vector<double> u(static_cast<size_t>(ticks + 4 * ticks * n));
                uint64_t counter = counters[batch++];
                for (double& x : u) x = unit(splitmix(counter += GOLDEN));
                place.resize(static_cast<size_t>(2 * ticks * n));
                luck.resize(static_cast<size_t>(3 * ticks * n));
                slots::draw_ahead(u.data(), before.data(), static_cast<int64_t>(before.size()) - 1,
                                  ticks, n, one_more, place.data(), luck.data());
                at = 0;
            }
            return slots::Attempts(place.data(), luck.data(), n, at++);
        }

        std::vector<int64_t> into, ends;
        std::vector<double> scale, falls, here, there;
        std::vector<int64_t> before, ranges;
        std::vector<uint64_t> counters;  // of the random numbers of each batch of ticks
        slots::ByWeight eliminated;
        slots::Law law;
        double one_more;
        int64_t ticks, n, at;
        size_t batch = 0;
        std::vector<int64_t> place;
        std::vector<double> luck;
    };

    void attempt(Sheet& sheet, const slots::Attempts& attempts, const Graph& graph,
                 const Signals& signals, Edit& edit) {
        free_.clear();
        for (int64_t k = 0; k < attempts.n; ++k) {
            int64_t number = attempts.slot[k];
            size_t i = 0;
            for (; i < sheet.into.size(); ++i) {
                const size_t p = static_cast<size_t>(sheet.into[i]);
                const size_t cell = graph.first_cell(p) + static_cast<size_t>(attempts.unit[k]);
                const auto many = static_cast<int64_t>(graph.held[cell].size());
                if (number < many) {
                    if (attempts.chance[k] < sheet.eliminated.most() &&
                        attempts.chance[k] < sheet.eliminated.of(graph.weight(p, cell, number)))
                        edit.gone.push_back(Place{cell, number});
                    break;
                }
                number -= many;
            }
            if (i == sheet.into.size()) free_.push_back(k);
        }
        if (free_.empty()) return;
        if (partner_ == SPIKED) {
            slots::number_in_row(
                signals.spiking.data(), static_cast<int64_t>(signals.spiking.size()),
                sheet.ranges.data(), static_cast<int64_t>(sheet.ranges.size()) / 2, units_);
            if (units_.empty()) return;
        }
        for (const int64_t k : free_) {
            const int64_t partner = drawn(sheet, attempts.choice[k]);
            size_t i = 0;
            if (!sheet.law.accepts(attempts, k, partner, i)) continue;
            const size_t p = static_cast<size_t>(sheet.into[i]);
            const size_t cell = graph.first_cell(p) + static_cast<size_t>(attempts.unit[k]);
            const auto pre = static_cast<int32_t>(partner - (i ? sheet.ends[i - 1] : 0));
            if (!graph.parallel[p] && graph.joined(cell, pre)) continue;
            const int64_t key = graph.key(p, cell, pre);
            const auto& grown = edit.grown;
            if (!graph.multapses && std::find(grown.begin(), grown.end(), key) != grown.end())
                continue;
            edit.grown.push_back(key);
        }
    }

    int64_t drawn(const Sheet& sheet, double choice) const {
        if (partner_ == SPIKED)
            return units_[static_cast<size_t>(choice * static_cast<double>(units_.size()))];
        if (partner_ == UNIFORM)
            return static_cast<int64_t>(choice * static_cast<double>(sheet.ends.back()));
        const double scaled = choice * static_cast<double>(sheet.ends.size());
        const auto which = static_cast<size_t>(scaled);
        const int64_t first = which ? sheet.ends[which - 1] : 0;
        const auto size = static_cast<double>(sheet.ends[which] - first);
        return first + static_cast<int64_t>((scaled - static_cast<double>(which)) * size);
    }

    Partner partner_;
    std::vector<double> birth_;
    std::vector<std::unique_ptr<Sheet>> sheets_;
    std::vector<int64_t> free_, units_;
};

}  // namespace rewire
