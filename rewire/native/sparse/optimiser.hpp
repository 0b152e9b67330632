// The optimiser of a plan: which parameters it moves, and their state. The formulas are in steps.hpp.
#pragma once

#include <algorithm>

#include "op.hpp"

namespace rewire {

enum class Method { sgd, adam };

// One parameter's state. Numbers of the method, one row of `numbers` for each group:
// SGD: lr, momentum, dampening, weight decay, Nesterov (0 or 1);
// Adam: lr, beta1, beta2, eps, weight decay, decoupled (0 or 1, AdamW).
template <class T>
struct Entry {
    Parameter<T>* parameter;
    int64_t group, size;
    T* first = nullptr;    // SGD: momentum, or null; Adam: exp_avg
    T* second = nullptr;   // Adam: exp_avg_sq
    float* step = nullptr;  // Adam: torch's step counter, float32 or float64
    double* wide_step = nullptr;
    std::vector<Array> arrays;  // what the state lies in
};

// The table of a whole net.
template <class T>
class Optimiser {
public:
    static constexpr int64_t NUMBERS = 6;  // a row of `numbers`

    void set(Method method, Array numbers) {
        numbers_ = memory_of<double>(numbers, -1, "the optimiser's numbers");
        groups_ = numbers.size / NUMBERS;
        if (numbers.size % NUMBERS != 0) refuse("the optimiser's numbers are (groups, 6).");
        method_ = method;
        numbers_array_ = std::move(numbers);
        entries_.clear();
    }
    void add(Parameter<T>* parameter, int64_t group, std::vector<Array> state) {
        if (group < 0 || group >= groups_) refuse("the optimiser has no such group.");
        Entry<T> e;
        e.parameter = parameter;
        e.group = group;
        const int64_t n = e.size = parameter->size;
        if (method_ == Method::sgd && !state.empty()) {
            e.first = memory_of<T>(state[0], n, "the momentum");
        } else if (method_ == Method::adam) {
            if (state.size() != 3) refuse("Adam keeps exp_avg, exp_avg_sq and step.");
            e.first = memory_of<T>(state[0], n, "exp_avg");
            e.second = memory_of<T>(state[1], n, "exp_avg_sq");
            if (state[2].item_size == 4)
                e.step = memory_of<float>(state[2], 1, "step");
            else
                e.wide_step = memory_of<double>(state[2], 1, "step");
        }
        e.arrays = std::move(state);
        entries_.push_back(std::move(e));
    }
    // To be called before a step: parameters that were rewired have other state.
    void check() const {
        for (const Entry<T>& e : entries_)
            if (e.size != e.parameter->size)
                refuse("a parameter has " + std::to_string(e.parameter->size) +
                       " weights, its optimiser's state " + std::to_string(e.size) +
                       ": set the optimiser again after rewiring.");
    }
    // Moves every parameter, or those of one operation: `count` ends the step.
    void step() {
        for (Entry<T>& e : entries_) move(e);
    }
    void step(const std::vector<Parameter<T>*>& parameters) {
        for (Entry<T>& e : entries_)
            for (const Parameter<T>* p : parameters)
                if (e.parameter == p) move(e);
    }
    // Adds 1 to the counters, each once: slices of one parameter of torch's share theirs.
    void count() {
        std::vector<const void*> counted;
        for (Entry<T>& e : entries_) {
            const void* at = e.step != nullptr ? static_cast<void*>(e.step) : e.wide_step;
            if (at == nullptr || std::count(counted.begin(), counted.end(), at)) continue;
            e.step != nullptr ? *e.step += 1 : *e.wide_step += 1;
            counted.push_back(at);
        }
    }

private:
    Method method_ = Method::sgd;
    const double* numbers_ = nullptr;
    int64_t groups_ = 0;
    Array numbers_array_;
    std::vector<Entry<T>> entries_;

    void move(Entry<T>& e);  // in steps.hpp
};

}  // namespace rewire
