// SGD, Adam and AdamW on parameters in place, by the formulas of torch.optim's single-tensor form.
#pragma once

#include <cmath>

#include "optimiser.hpp"

namespace rewire {

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

template <class T>
void Optimiser<T>::move(Entry<T>& e) {
    if (e.parameter->size == 0 && method_ == Method::sgd) return;
    const double* row = numbers_ + e.group * NUMBERS;
    method_ == Method::sgd ? sgd(e, row) : adam(e, row);
}

}  // namespace rewire
