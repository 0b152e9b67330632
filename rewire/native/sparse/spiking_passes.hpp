// The passes of spiking layers.
#pragma once

#include "linear.hpp"
#include "spiking.hpp"

namespace rewire {

// The slope that stands for a spike's derivative, at the scaled distance from the threshold.
template <class T>
REWIRE_INLINE Vec<T> surrogate_slope(Surrogate kind, Vec<T> v) {
    const Vec<T> size = v < Vec<T>{} ? -v : v;
    if (kind == Surrogate::triangle) return T(0.3) * rectified<T>(T(1) - size);
    if (kind == Surrogate::fast_sigmoid) return T(1) / ((T(1) + size) * (T(1) + size));
    const Vec<T> turned = T(3.14159265358979323846) * v;
    return T(1) / (T(1) + turned * turned);
}

// One step of a unit's lanes: `v` (and `a`) after it; `current` becomes the distance of the
// potential from its threshold. Returns whether any lane spiked.
template <class T>
bool fire(const Firing<T>& how, T adaptation, int64_t lanes, T* current, T* v, T* a, T* spikes) {
    const Vec<T> one = splat(T(1)), none{};
    Vec<T> any{};
    for (int64_t i = 0; i < lanes; i += WIDTH<T>) {
        const Vec<T> u = how.leak * load(v + i) + load(current + i);
        Vec<T> threshold = splat(how.threshold);
        if (how.adapts) threshold += adaptation * load(a + i);
        const Vec<T> above = u - threshold;
        const Vec<T> spike = above > none ? one : none;
        store(current + i, above), store(spikes + i, spike);
        store(v + i, how.subtracts ? u - spike * how.threshold : u * (one - spike));
        if (how.adapts) store(a + i, how.recovery * load(a + i) + spike);
        any += spike;
    }
    return sum<T>(any) > 0;
}

// Backward through that step: from `ds`, the gradient of its spikes, that of its current, in `ds`
// as well; `dv` and `da`, of what was after the step, become those of what was before it.
template <class T>
void unfire(const Firing<T>& how, T adaptation, int64_t lanes, const T* above, const T* spikes,
            T* ds, T* dv, T* da) {
    const T scale = T(1) / how.threshold, steep = how.steepness / how.threshold;
    for (int64_t i = 0; i < lanes; i += WIDTH<T>) {
        Vec<T> d = load(ds + i);
        if (how.adapts) d += load(da + i);
        d *= surrogate_slope<T>(how.surrogate, steep * load(above + i)) * scale;
        if (how.adapts) store(da + i, how.recovery * load(da + i) - adaptation * d);
        const Vec<T> after = load(dv + i);
        const Vec<T> du = d + (how.subtracts ? after : after * (T(1) - load(spikes + i)));
        store(dv + i, how.leak * du), store(ds + i, du);
    }
}

// Whether going through the edges of the units that spiked costs less than through all: rows are
// then read and written once for each edge instead of once.
template <class T>
bool Spiking<T>::few(const std::vector<int32_t>& of) const {
    return 3 * static_cast<int64_t>(of.size()) < units;
}

// What spikes bring to the currents of the step after them.
template <class T>
void Spiking<T>::carry(const T* spikes, const std::vector<int32_t>& of, T* currents) const {
    if (!few(of)) return among.forward(spikes, currents, lanes, true);
    for (const int32_t c : of) {
        const T* from = spikes + c * lanes;
        for (int64_t i = by_column_.begin[c]; i < by_column_.begin[c + 1]; ++i) {
            const Vec<T> w = splat(among.value[by_column_.order[i]]);
            T* to = currents + static_cast<int64_t>(by_column_.row[i]) * lanes;
            for (int64_t at = 0; at < lanes; at += WIDTH<T>)
                store(to + at, load(to + at) + w * load(from + at));
        }
    }
    if (among.bias == nullptr) return;
    for (int64_t u = 0; u < units; ++u)
        for (int64_t at = 0; at < lanes; at += WIDTH<T>)
            store(currents + u * lanes + at, load(currents + u * lanes + at) + among.bias[u]);
}

// The weights' gradient of step t, whose currents' is dy, from the spikes of the step before.
template <class T>
void Spiking<T>::add_slopes(int64_t t, const T* dy, Slopes<T>& slopes) {
    const T* from = spikes_.data() + t * units * lanes;
    const std::vector<int32_t>& of = active_[t];
    if (few(of)) {
        for (const int32_t c : of)
            for (int64_t i = by_column_.begin[c]; i < by_column_.begin[c + 1]; ++i) {
                const T* d = dy + static_cast<int64_t>(by_column_.row[i]) * lanes;
                Vec<T> total{};
                for (int64_t at = 0; at < lanes; at += WIDTH<T>)
                    total += load(d + at) * load(from + c * lanes + at);
                slopes.value[by_column_.order[i]] += sum<T>(total);
            }
    } else {
        linear_backward<T>(among.csr, among.rows, among.value, from, dy, slopes.value, nullptr,
                           lanes, cursor_, true);
    }
    if (slopes.bias == nullptr) return;
    for (int64_t u = 0; u < units; ++u) {
        Vec<T> total{};
        for (int64_t at = 0; at < lanes; at += WIDTH<T>) total += load(dy + u * lanes + at);
        slopes.bias[u] += sum<T>(total);
    }
}

template <class T>
void Spiking<T>::forward(const T* currents, T* out, bool keep) {
    const int64_t n = units * lanes, held = keep ? steps : 1;
    Memory<T> v_memory, a_memory;
    T* v = v_memory.zeros(n);
    T* a = a_memory.zeros(how.adapts ? n : 0);
    spikes_.grow((held + 1) * n), above_.grow(held * n);
    std::fill(spikes_.data(), spikes_.data() + n, T(0));
    active_.assign(held + 1, {});
    if (among.there()) by_column_.build(among.csr);
    for (int64_t t = 0; t < steps; ++t) {
        const int64_t at = keep ? t : 0, next = keep ? t + 1 : 0;
        T* above = above_.data() + at * n;
        T* spikes = spikes_.data() + next * n;
        features_first(batch, units, currents + t * batch * units, above, lanes);
        if (among.there()) carry(spikes_.data() + at * n, active_[at], above);
        std::vector<int32_t>& fired = active_[next];
        fired.clear();
        for (int64_t u = 0; u < units; ++u) {
            const int64_t i = u * lanes;
            for (int64_t b = batch; b < lanes; ++b) above[i + b] = 0;  // nobody's
            if (fire(how, how.adapts ? adaptation[u] : T(0), lanes, above + i, v + i,
                     how.adapts ? a + i : nullptr, spikes + i))
                fired.push_back(static_cast<int32_t>(u));
        }
        batch_first(batch, units, spikes, lanes, out + t * batch * units);
    }
}

template <class T>
void Spiking<T>::backward(const T* dout, T* to, Slopes<T> of_among) {
    const int64_t n = units * lanes;
    Memory<T> ds_memory, dv_memory, da_memory, back_memory;
    T* ds = ds_memory.grow(n);
    T* dv = dv_memory.zeros(n);
    T* da = da_memory.zeros(how.adapts ? n : 0);
    T* back = among.there() ? back_memory.zeros(n) : nullptr;  // what later currents bring
    for (int64_t t = steps - 1; t >= 0; --t) {
        features_first(batch, units, dout + t * batch * units, ds, lanes);
        if (back != nullptr)
            for (int64_t i = 0; i < n; i += WIDTH<T>) store(ds + i, load(ds + i) + load(back + i));
        const T* above = above_.data() + t * n;
        const T* spikes = spikes_.data() + (t + 1) * n;
        for (int64_t u = 0; u < units; ++u) {
            const int64_t i = u * lanes;
            unfire(how, how.adapts ? adaptation[u] : T(0), lanes, above + i, spikes + i, ds + i,
                   dv + i, how.adapts ? da + i : nullptr);
        }
        batch_first(batch, units, ds, lanes, to + t * batch * units);
        if (back == nullptr) continue;
        add_slopes(t, ds, of_among);
        if (t > 0) gather_dx(by_column_, among.value, ds, back, lanes, false);
    }
}

}  // namespace rewire
