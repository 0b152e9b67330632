// A session's rewiring within a program of Brian2's cpp_standalone device: the ticks that it makes
// elsewhere, and a log of the edits as rewire/edit_log.py reads it. Plain C++11.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options  // programs are compiled with -ffast-math, and numbers are to be Python's
#pragma GCC optimize("no-fast-math", "fp-contract=off")
#endif

#include "rules.hpp"

namespace rewire {

// What the program has of Brian2: spikes of the synapses' sources and of their targets (the last
// number is their count), the synapses' arrays, and the spike queues in which synapses move or from
// which their spikes in flight are taken.
template <class Queue>
struct Network {
    const int32_t* spikes;
    int64_t room;  // where in `spikes` their count is
    const int32_t* target_spikes;
    int64_t target_room;
    std::vector<int32_t>& pre;
    std::vector<double>& w;
    std::vector<int32_t>& outgoing;
    std::vector<Queue*> moving, purged;
    std::function<void(int64_t)> born, emptied;  // what else a synapse carries
};

template <class Queue>
class Program {
  public:
    Program(const std::string& settings, const std::string& results, Network<Queue> network)
        : network_(std::move(network)), results_(results), log_(results + "rewire_edits.log") {
        Settings from(settings);
        const std::vector<int64_t> whole = from.next<int64_t>();
        null_ = static_cast<int32_t>(whole[0]);
        offset_ = static_cast<int32_t>(whole[1]);
        stop_ = static_cast<int32_t>(whole[2]);
        ascending_ = whole[3] != 0;
        steps_ = whole[4];
        last_ = whole[5];
        a_second_ = whole[6];
        number_ = static_cast<int16_t>(whole[7]);
        seeds_ = from.next<int64_t>();
        averaging_ = from.next<double>();
        const std::vector<int64_t> sources = from.next<int64_t>(), targets = from.next<int64_t>();
        signals_.rates.emplace_back(sources, network_.spikes, network_.room);
        signals_.rates.emplace_back(targets, network_.target_spikes, network_.target_room);
        graph_.reset(new Graph(from, network_.w));
        hold(from.next<double>());
        due_ = from.next<int64_t>();
        rule_ = rule_of(from);
    }

    // The seed of Brian2's random numbers from this second on.
    uint64_t seed(int64_t step) const {
        return static_cast<uint64_t>(seeds_[std::min<size_t>(step / a_second_, seeds_.size() - 1)]);
    }

    // To be called at the end of every time step, `step` of which were over before it. Returns
    // whether random numbers are to be seeded anew; over(): whether all ticks are made.
    bool end_of_step(int64_t step) {
        look();
        for (Rates& rates : signals_.rates) rates.count();
        const int64_t now = step + 1;
        if (now % steps_ == 0 && !over()) tick();
        if (now % a_second_) return false;
        refuse_nan();
        return true;
    }

    bool over() const { return tick_ >= last_; }

    // Closes the log, and writes beside it the slot of every edge, in the order of the graph's rows
    // (the arrays of a network do not tell which of parallel synapses is the elder), and what rates
    // and the rule are.
    void finish() {
        refuse_nan();
        log_.close();
        Results slots(results_ + "rewire_slots.bin"), state(results_ + "rewire_state.bin");
        for (const auto& edges : graph_->held)
            for (const Edge& edge : edges) slots.write(&edge.slot, sizeof edge.slot, 1);
        slots.close();
        for (const Rates& rates : signals_.rates) {
            state.add(rates.rates);
            state.add(rates.counted);
        }
        if (rule_) rule_->finish(state);
        state.close();
    }

  private:
    // Lets the synapses hold the graph of the start; w: of all synapses.
    void hold(const std::vector<double>& w) {
        std::vector<int32_t> pre(network_.pre);
        for (const int64_t synapse : graph_->own) pre[synapse] = null_ + offset_;
        for (size_t p = 0; p < graph_->projections(); ++p)
            for (size_t cell = graph_->first_cell(p); cell < graph_->end_cell(p); ++cell)
                for (const Edge& edge : graph_->held[cell])
                    pre[graph_->synapse(p, cell, edge.slot)] = neuron(p, edge.pre);
        for (const int64_t synapse : graph_->own) {
            network_.w[synapse] = w[synapse];
            if (pre[synapse] == network_.pre[synapse]) continue;
            point(synapse, pre[synapse]);
            (pre[synapse] == null_ + offset_ ? network_.emptied : network_.born)(synapse);
        }
    }

    // The number of a source unit in the whole group.
    int32_t neuron(size_t p, int32_t pre) const {
        return static_cast<int32_t>(pre + graph_->source[p]) + offset_;
    }

    // Which neurons of the source group spiked in this time step, ascending.
    void look() {
        const int32_t* begin = network_.spikes;
        const int32_t* end = begin + network_.spikes[network_.room];
        if (!ascending_) {
            spiking_.assign(begin, end);
            std::sort(spiking_.begin(), spiking_.end());
            spiking_.erase(std::unique(spiking_.begin(), spiking_.end()), spiking_.end());
            begin = spiking_.data();
            end = begin + spiking_.size();
        }
        begin = std::lower_bound(begin, end, offset_);
        end = std::lower_bound(begin, end, stop_);
        if (std::binary_search(begin, end, null_ + offset_))
            refuse(Refusal{"null", "the null neuron spiked"});
        signals_.spiking.assign(begin, end);
        for (int32_t& neuron : signals_.spiking) neuron -= offset_;
    }

    // One tick of the session.
    void tick() {
        ++tick_;
        if (at_ < due_.size() && due_[at_] == tick_) {
            edit_.clear();
            try {
                rule_->tick(at_++, *graph_, signals_, edit_);
            } catch (const Refusal& refusal) {
                refuse(refusal);
            }
            if (!edit_.gone.empty() || !edit_.grown.empty()) carry_out();
        }
        if (averaging_.empty()) return;
        for (Rates& rates : signals_.rates) rates.note(averaging_[0], averaging_[1]);
    }

    // First what goes, then what comes, by rising key.
    void carry_out() {
        rows_.clear();
        for (const Place& gone : edit_.gone) rows_.push_back(graph_->row(gone));
        log_.add(tick_, number_, rows_, edit_.grown);
        moved_.clear();
        for (auto gone = edit_.gone.rbegin(); gone != edit_.gone.rend(); ++gone) {  // numbers stay right
            const int64_t synapse = graph_->remove(*gone);
            point(synapse, null_ + offset_);
            network_.w[synapse] = 0;
            network_.emptied(synapse);
            moved_.push_back(static_cast<int32_t>(synapse));
        }
        for (size_t i = 0; i < edit_.grown.size(); ++i) {
            const int64_t key = edit_.grown[i];
            const size_t p = graph_->projection(key);
            const int64_t synapse = graph_->add(p, key);
            point(synapse, neuron(p, graph_->pre_of(p, key)));
            network_.w[synapse] = edit_.births[edit_.births.size() > 1 ? i : 0];
            network_.born(synapse);
            moved_.push_back(static_cast<int32_t>(synapse));
        }
        purge();
    }

    // Lets a synapse come from another neuron, by its number in the whole group. Which synapses the
    // null neuron has is not kept: it never spikes, and they are many.
    void point(int64_t synapse, int32_t neuron) {
        const auto number = static_cast<int32_t>(synapse);
        const int32_t before = network_.pre[synapse], null = null_ + offset_;
        for (Queue* queue : network_.moving) {
            if (before != null) {
                auto& from = queue->synapses[before - queue->source_start];
                from.erase(std::lower_bound(from.begin(), from.end(), number));
            }
            if (neuron == null) continue;
            auto& to = queue->synapses[neuron - queue->source_start];
            to.insert(std::lower_bound(to.begin(), to.end(), number), number);
        }
        --network_.outgoing[before];
        ++network_.outgoing[neuron];
        network_.pre[synapse] = neuron;
    }

    // Takes the spikes in flight of what has moved from the queues.
    void purge() {
        moving_.resize(network_.pre.size(), 0);
        for (const int32_t synapse : moved_) moving_[synapse] = 1;
        const auto gone = [&](int32_t synapse) { return moving_[synapse] != 0; };
        for (const auto* queues : {&network_.moving, &network_.purged})
            for (Queue* queue : *queues)
                for (auto& bucket : queue->queue)
                    bucket.erase(std::remove_if(bucket.begin(), bucket.end(), gone), bucket.end());
        for (const int32_t synapse : moved_) moving_[synapse] = 0;
    }

    void refuse_nan() const {
        for (const int64_t synapse : graph_->own)
            if (std::isnan(network_.w[synapse]) && network_.pre[synapse] != null_ + offset_)
                refuse(Refusal{"nan", "a weight was NaN"});
    }

    // Ends the program; Python reads which refusal it was, and says what to do.
    [[noreturn]] void refuse(const Refusal& refusal) const {
        std::FILE* file = std::fopen((results_ + "rewire_refusal.txt").c_str(), "w");
        if (file != nullptr) {
            std::fprintf(file, "%s %lld", refusal.which, static_cast<long long>(tick_));
            std::fclose(file);
        }
        stop(std::string(refusal.why) + ", at tick " + std::to_string(tick_));
    }

    Network<Queue> network_;
    std::string results_;
    Log log_;
    int32_t null_, offset_, stop_;
    bool ascending_;
    int64_t steps_, last_, a_second_, tick_ = 0;
    int16_t number_;  // of the rule, in the session
    std::vector<int64_t> seeds_, due_;  // the ticks at which the rule is due
    std::vector<double> averaging_;     // share and period of rates, where they are asked for
    std::unique_ptr<Graph> graph_;
    std::unique_ptr<Rule> rule_;
    Signals signals_;
    Edit edit_;
    size_t at_ = 0;  // ticks of the rule that are over
    std::vector<int32_t> spiking_, rows_, moved_;
    std::vector<char> moving_;
};

}  // namespace rewire

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
