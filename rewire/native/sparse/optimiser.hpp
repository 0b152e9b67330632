// SGD, Adam and AdamW on parameters in place, by the formulas of torch.optim's single-tensor form.
#pragma once

#include <cmath>

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
    std::vector<py::array> held;
};

template <class T>
void sgd(const Entry<T>& entry, const double* numbers) {
    const T lr = static_cast<T>(numbers[0]), momentum = static_cast<T>(numbers[1]),
            take = static_cast<T>(1 - numbers[2]), decay = static_cast<T>(numbers[3]);
    const bool nesterov = numbers[4] != 0;
    const int64_t n = entry.parameter->size;
    T* __restrict w = entry.parameter->value;
    const T* __restrict gradient = entry.parameter->gradient;
    T* __restrict m = entry.first;
    if (m == nullptr) {
        for (int64_t i = 0; i < n; ++i) w[i] -= lr * (gradient[i] + decay * w[i]);
        return;
    }
    for (int64_t i = 0; i < n; ++i) {
        const T g = gradient[i] + decay * w[i];
        m[i] = momentum * m[i] + take * g;
        w[i] -= lr * (nesterov ? g + momentum * m[i] : m[i]);
    }
}

template <class T>
void adam(const Entry<T>& entry, const double* numbers) {
    const double t = 1 + (entry.step != nullptr ? *entry.step : *entry.wide_step);
    const double beta1 = numbers[1], beta2 = numbers[2], lr = numbers[0];
    const bool decoupled = numbers[5] != 0;
    const T size = static_cast<T>(lr / (1 - std::pow(beta1, t)));
    const T root = static_cast<T>(1 / std::sqrt(1 - std::pow(beta2, t)));
    const T take1 = static_cast<T>(1 - beta1), keep2 = static_cast<T>(beta2),
            take2 = static_cast<T>(1 - beta2), eps = static_cast<T>(numbers[3]);
    const T decay = decoupled ? T(0) : static_cast<T>(numbers[4]);
    const T shrink = decoupled ? static_cast<T>(1 - lr * numbers[4]) : T(1);
    const int64_t n = entry.parameter->size;
    T* __restrict w = entry.parameter->value;
    const T* __restrict gradient = entry.parameter->gradient;
    T* __restrict m = entry.first;
    T* __restrict v = entry.second;
    for (int64_t i = 0; i < n; ++i) {
        const T before = w[i] * shrink;
        const T g = gradient[i] + decay * before;
        m[i] += take1 * (g - m[i]);
        v[i] = keep2 * v[i] + take2 * g * g;
        w[i] = before - size * m[i] / (std::sqrt(v[i]) * root + eps);
    }
}

// The table of a whole net.
template <class T>
class Optimiser {
public:
    static constexpr int64_t NUMBERS = 6;  // a row of `numbers`

    void set(Method method, py::array numbers) {
        numbers_ = memory_of<double>(numbers, -1, "the optimiser's numbers");
        groups_ = numbers.size() / NUMBERS;
        if (numbers.size() % NUMBERS != 0) refuse("the optimiser's numbers are (groups, 6).");
        method_ = method;
        numbers_array_ = std::move(numbers);
        entries_.clear();
    }
    void add(Parameter<T>* parameter, int64_t group, std::vector<py::array> state) {
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
            if (state[2].itemsize() == 4)
                e.step = memory_of<float>(state[2], 1, "step");
            else
                e.wide_step = memory_of<double>(state[2], 1, "step");
        }
        e.held = std::move(state);
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
    py::array numbers_array_;
    std::vector<Entry<T>> entries_;

    void move(Entry<T>& e) {
        if (e.parameter->size == 0 && method_ == Method::sgd) return;
        const double* row = numbers_ + e.group * NUMBERS;
        method_ == Method::sgd ? sgd(e, row) : adam(e, row);
    }
};

}  // namespace rewire
