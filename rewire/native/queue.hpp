// A spike queue for Brian2 whose synapses move: what Brian2's own does, and retarget() beside it,
// which costs no more than the synapses that move, where prepare() costs all of them.

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace py = pybind11;

class SlotQueue {
    using Numbers = py::array_t<int32_t, py::array::c_style>;
    using Buckets = std::vector<std::vector<int32_t>>;

  public:
    SlotQueue(int32_t first, int32_t end) : first_(first), end_(end), synapses_(end - first) {}

    // Delays in seconds, one for all synapses or one each, and the source neuron of each.
    void prepare(const py::array_t<double, py::array::c_style | py::array::forcecast>& delays,
                 double dt, const Numbers& sources) {
        if (dt_ != 0 && dt_ != dt && in_flight())
            throw std::invalid_argument("the time step changed with spikes in flight");
        dt_ = dt;
        delays_.resize(delays.size());
        for (py::ssize_t i = 0; i < delays.size(); ++i)
            delays_[i] = static_cast<int32_t>(delays.data()[i] / dt + 0.5);
        const auto longest = std::max_element(delays_.begin(), delays_.end());
        reserve(longest == delays_.end() ? 0 : *longest);
        for (auto& held : synapses_) held.clear();
        source_.assign(sources.data(), sources.data() + sources.size());
        for (size_t i = 0; i < source_.size(); ++i)
            synapses_[source_[i] - first_].push_back(static_cast<int32_t>(i));
    }

    // Lets synapses come from other neurons; their spikes in flight are gone.
    void retarget(const py::array_t<int64_t, py::array::c_style>& moved, const Numbers& sources) {
        const bool prepared = !source_.empty();  // else a run is yet to do it, from the sources then
        moving_.resize(sources.size(), 0);
        for (py::ssize_t k = 0; k < moved.size(); ++k) {
            const int32_t synapse = static_cast<int32_t>(moved.data()[k]);
            const int32_t now = sources.data()[synapse];
            moving_[synapse] = 1;
            if (!prepared || source_[synapse] == now) continue;
            auto& from = synapses_[source_[synapse] - first_];
            from.erase(std::lower_bound(from.begin(), from.end(), synapse));
            auto& to = synapses_[now - first_];
            to.insert(std::lower_bound(to.begin(), to.end(), synapse), synapse);
            source_[synapse] = now;
        }
        for (auto& bucket : buckets_)
            bucket.erase(std::remove_if(bucket.begin(), bucket.end(),
                                        [&](int32_t synapse) { return moving_[synapse]; }),
                         bucket.end());
        for (py::ssize_t k = 0; k < moved.size(); ++k) moving_[moved.data()[k]] = 0;
    }

    // Spikes of these neurons, ascending, which may be others' too.
    void push(const Numbers& neurons) {
        const int32_t* begin = neurons.data();
        const int32_t* end = begin + neurons.size();
        end = std::lower_bound(begin, end, end_);
        begin = std::lower_bound(begin, end, first_);
        if (delays_.size() == 1) {
            auto& bucket = at(delays_[0]);
            for (; begin < end; ++begin) {
                const auto& held = synapses_[*begin - first_];
                bucket.insert(bucket.end(), held.begin(), held.end());
            }
            return;
        }
        for (; begin < end; ++begin)
            for (const int32_t synapse : synapses_[*begin - first_])
                at(delays_[synapse]).push_back(synapse);
    }

    // The synapses whose spikes arrive now: a view, good until the queue goes on.
    static py::array peek(const py::object& self) {
        const auto& now = self.cast<SlotQueue&>().at(0);
        return Numbers(static_cast<py::ssize_t>(now.size()), now.data(), self);
    }

    void advance() {
        at(0).clear();
        now_ = (now_ + 1) % buckets_.size();
    }

    std::pair<int, Buckets> state() const { return {static_cast<int>(now_), buckets_}; }

    void restore(const std::optional<std::pair<int, Buckets>>& state) {
        now_ = state ? state->first : 0;
        buckets_ = state && !state->second.empty() ? state->second : Buckets(1);
    }

  private:
    std::vector<int32_t>& at(int32_t delay) { return buckets_[(now_ + delay) % buckets_.size()]; }

    bool in_flight() const {
        return std::any_of(buckets_.begin(), buckets_.end(), [](auto& b) { return !b.empty(); });
    }

    void reserve(int32_t delay) {
        if (static_cast<size_t>(delay) < buckets_.size()) return;
        std::rotate(buckets_.begin(), buckets_.begin() + now_, buckets_.end());
        now_ = 0;
        buckets_.resize(delay + 1);
    }

    int32_t first_, end_;
    double dt_ = 0;
    size_t now_ = 0;
    Buckets buckets_ = Buckets(1);                // a ring: what arrives in each coming time step
    std::vector<int32_t> delays_;                 // in time steps: one for all, or one each
    std::vector<int32_t> source_;                 // of each synapse
    std::vector<std::vector<int32_t>> synapses_;  // of each source, ascending
    std::vector<char> moving_;
};

inline void add_queue(py::module_& m) {
    py::class_<SlotQueue>(m, "SlotQueue")
        .def(py::init<int32_t, int32_t>())
        .def("prepare", &SlotQueue::prepare)
        .def("retarget", &SlotQueue::retarget)
        .def("push", &SlotQueue::push)
        .def("peek", &SlotQueue::peek)
        .def("advance", &SlotQueue::advance)
        .def("_full_state", &SlotQueue::state)
        .def("_restore_from_full_state", &SlotQueue::restore);
}
