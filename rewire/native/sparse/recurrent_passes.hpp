// The passes of recurrent layers.
#pragma once

#include "elementwise.hpp"
#include "linear.hpp"
#include "recurrent.hpp"

namespace rewire {

template <class T>
REWIRE_INLINE Vec<T> sigmoid(Vec<T> x) {
    return T(1) / (T(1) + exponential<T>(-x));
}

// -- cells --------------------------------------------------------------------------------------

// One step of all units, n numbers of each gate: `gates`, [gate][n], comes with what input and
// state add up to and goes with what the gates are; for a GRU `hidden`, [n], is the state's part of
// the third. from, to: the state; cell_from, cell_to: an LSTM's cells; squashed: their tanh.
template <class T>
void step_lstm(int64_t n, T* gates, const T* cell_from, T* to, T* cell_to, T* squashed) {
    T *in = gates, *forget = gates + n, *fresh = gates + 2 * n, *out = gates + 3 * n;
    for (int64_t i = 0; i < n; i += WIDTH<T>) {
        const Vec<T> a = sigmoid<T>(load(in + i)), f = sigmoid<T>(load(forget + i));
        const Vec<T> g = hyperbolic_tangent<T>(load(fresh + i)), o = sigmoid<T>(load(out + i));
        const Vec<T> c = f * load(cell_from + i) + a * g;
        const Vec<T> t = hyperbolic_tangent<T>(c);
        store(in + i, a), store(forget + i, f), store(fresh + i, g), store(out + i, o);
        store(cell_to + i, c), store(squashed + i, t), store(to + i, o * t);
    }
}

template <class T>
void step_gru(int64_t n, T* gates, const T* hidden, const T* from, T* to) {
    T *reset = gates, *keep = gates + n, *fresh = gates + 2 * n;
    for (int64_t i = 0; i < n; i += WIDTH<T>) {
        const Vec<T> r = sigmoid<T>(load(reset + i)), z = sigmoid<T>(load(keep + i));
        const Vec<T> g = hyperbolic_tangent<T>(load(fresh + i) + r * load(hidden + i));
        store(reset + i, r), store(keep + i, z), store(fresh + i, g);
        store(to + i, g + z * (load(from + i) - g));
    }
}

template <class T>
void step_simple(int64_t n, Cell cell, const T* gates, T* to) {
    for (int64_t i = 0; i < n; i += WIDTH<T>) {
        const Vec<T> x = load(gates + i);
        store(to + i, cell == Cell::tanh ? hyperbolic_tangent<T>(x) : rectified<T>(x));
    }
}

// Backward: from `d`, the gradient of the state after the step, that of what the gates were made
// of, `made`; and what of the state's gradient went past the gates, into `past` (a GRU), and the
// cells', in place (an LSTM: `cells`).
template <class T>
void back_lstm(int64_t n, const T* gates, const T* cell_from, const T* squashed, const T* d,
               T* cells, T* made) {
    const T *in = gates, *forget = gates + n, *fresh = gates + 2 * n, *out = gates + 3 * n;
    for (int64_t i = 0; i < n; i += WIDTH<T>) {
        const Vec<T> a = load(in + i), f = load(forget + i), g = load(fresh + i);
        const Vec<T> o = load(out + i), t = load(squashed + i), dh = load(d + i);
        const Vec<T> dc = load(cells + i) + dh * o * (T(1) - t * t);
        store(made + i, dc * g * a * (T(1) - a));
        store(made + n + i, dc * load(cell_from + i) * f * (T(1) - f));
        store(made + 2 * n + i, dc * a * (T(1) - g * g));
        store(made + 3 * n + i, dh * t * o * (T(1) - o));
        store(cells + i, dc * f);
    }
}

// `other`: the same, but of the state's part of the third gate.
template <class T>
void back_gru(int64_t n, const T* gates, const T* hidden, const T* from, const T* d, T* past,
              T* made, T* other) {
    const T *reset = gates, *keep = gates + n, *fresh = gates + 2 * n;
    for (int64_t i = 0; i < n; i += WIDTH<T>) {
        const Vec<T> r = load(reset + i), z = load(keep + i), g = load(fresh + i), dh = load(d + i);
        const Vec<T> dg = dh * (T(1) - z) * (T(1) - g * g);
        const Vec<T> of_reset = dg * load(hidden + i) * r * (T(1) - r);
        const Vec<T> of_keep = dh * (load(from + i) - g) * z * (T(1) - z);
        store(made + i, of_reset), store(made + n + i, of_keep), store(made + 2 * n + i, dg);
        store(other + i, of_reset), store(other + n + i, of_keep), store(other + 2 * n + i, dg * r);
        store(past + i, dh * z);
    }
}

template <class T>
void back_simple(int64_t n, Cell cell, const T* to, const T* d, T* made) {
    for (int64_t i = 0; i < n; i += WIDTH<T>) {
        const Vec<T> y = load(to + i), dy = load(d + i);
        store(made + i, cell == Cell::tanh ? dy - dy * y * y : through_rectified<T>(y, dy));
    }
}

// -- a pass over a sequence ---------------------------------------------------------------------

template <class T>
void Weights<T>::forward(const T* x, T* y, int64_t lanes, bool add) const {
    linear_forward(csr, rows, value, bias, x, y, lanes, false, add);
}

// The state after step `at`, from the gates' inputs; it goes to place `next`.
template <class T>
void Sequence<T>::advance(T* gates, const T* from, int64_t at, int64_t next) {
    const int64_t n = units * lanes;
    T* to = states_.data() + next * n;
    if (cell == Cell::gru) {
        T* hidden = hidden_.data() + at * n;
        add_gates_of_state(gates, from, hidden);
        step_gru(n, gates, hidden, from, to);
        return;
    }
    state.forward(from, gates, lanes, true);
    if (cell == Cell::lstm)
        step_lstm(n, gates, cells_.data() + at * n, to, cells_.data() + next * n,
                  squashed_.data() + at * n);
    else
        step_simple(n, cell, gates, to);
}

// A GRU's: reset and update add to `gates`, the third stays by itself, in `hidden`.
template <class T>
void Sequence<T>::add_gates_of_state(T* gates, const T* from, T* hidden) const {
    const int64_t both = 2 * units;
    const T* bias = state.bias == nullptr ? nullptr : state.bias + both;
    const Csr two = state.csr.part(0, both), third = state.csr.part(both, width());
    linear_forward(two, two_rows_, state.value, state.bias, from, gates, lanes, false, true);
    linear_forward(third, third_rows_, state.value, bias, from, hidden, lanes, false);
}

// The gradient of what the gates of step s were made of, in `made`; returned: that of what the
// state added to it.
template <class T>
const T* Sequence<T>::return_through(int64_t s, const T* from, const T* d, T* cells, T* made, T* other,
                        T* past) {
    const int64_t n = units * lanes;
    const T* gates = gates_.data() + s * width() * lanes;
    if (cell == Cell::lstm) {
        back_lstm(n, gates, cells_.data() + s * n, squashed_.data() + s * n, d, cells, made);
    } else if (cell == Cell::gru) {
        back_gru(n, gates, hidden_.data() + s * n, from, d, past, made, other);
        return other;
    } else {
        back_simple(n, cell, from + n, d, made);
    }
    return made;
}

template <class T>
void Sequence<T>::add_slopes(const Weights<T>& weights, const T* x, const T* dy, int64_t t,
                Slopes<T>& slopes) {
    if (slopes.value != nullptr)
        linear_backward<T>(weights.csr, weights.rows, weights.value, x, dy, slopes.value, nullptr, lanes,
                           cursor_, slopes.begun);
    if (slopes.bias != nullptr)
        for (int64_t r = 0; r < width(); ++r) {
            Vec<T> total{};
            for (int64_t at = 0; at < lanes; at += WIDTH<T>) total += load(dy + r * lanes + at);
            slopes.bias[r] = (slopes.begun ? slopes.bias[r] : T(0)) + sum<T>(total);
        }
    slopes.begun = true;
    if (slopes.passed != nullptr)
        batch_first(batch, width(), dy, lanes, slopes.passed + t * batch * width());
}

// 0 in the lanes beyond the batch, which nothing drives and nothing bounds.
template <class T>
void Sequence<T>::clear_beyond(T* values) const {
    if (lanes == batch) return;
    for (int64_t u = 0; u < units; ++u)
        std::fill(values + u * lanes + batch, values + (u + 1) * lanes, T(0));
}

template <class T>
void Sequence<T>::forward(const T* x, const T* h, const T* c, T* out, T* h_end, T* c_end, bool keep) {
    const int64_t n = units * lanes, all = width() * lanes;
    const int64_t held = keep ? steps : 1;
    if (input.there()) xs_.grow(held * inputs * lanes);
    gates_.grow(held * all);
    states_.grow((held + 1) * n);
    if (cell == Cell::lstm) cells_.grow((held + 1) * n), squashed_.grow(held * n);
    if (cell == Cell::gru) {
        hidden_.grow(held * n);
        two_rows_.build(state.csr.part(0, 2 * units));
        third_rows_.build(state.csr.part(2 * units, width()));
    }
    features_first(batch, units, h, states_.data(), lanes);
    if (c != nullptr) features_first(batch, units, c, cells_.data(), lanes);
    for (int64_t s = 0; s < steps; ++s) {
        const int64_t t = time(s), at = keep ? s : 0, next = keep ? s + 1 : 0;
        T* gates = gates_.data() + at * all;
        const T* from = states_.data() + at * n;
        if (input.there()) {
            T* xt = xs_.data() + at * inputs * lanes;
            features_first(batch, inputs, x + t * batch * inputs, xt, lanes);
            input.forward(xt, gates, lanes);
        } else {
            features_first(batch, width(), x + t * batch * width(), gates, lanes);
        }
        advance(gates, from, at, next);
        clear_beyond(states_.data() + next * n);
        if (cell == Cell::lstm) clear_beyond(cells_.data() + next * n);
        batch_first(batch, units, states_.data() + next * n, lanes, out + t * batch * units);
    }
    const int64_t last = keep ? steps : 0;
    batch_first(batch, units, states_.data() + last * n, lanes, h_end);
    if (c_end != nullptr) batch_first(batch, units, cells_.data() + last * n, lanes, c_end);
}

template <class T>
void Sequence<T>::backward(const T* dout, const T* dh_end, const T* dc_end, T* dx, T* dh, T* dc,
              Slopes<T> of_input, Slopes<T> of_state) {
    const int64_t n = units * lanes, all = width() * lanes;
    Memory<T> made_memory, d_memory, own_memory, cells_memory, in_memory, other_memory;
    T* made = made_memory.grow(all);
    T* d = d_memory.grow(n);      // of the state
    T* own = own_memory.grow(n);  // of what came out of one step
    T* cells = cells_memory.zeros(cell == Cell::lstm ? n : 0);
    T* other = cell == Cell::gru ? other_memory.grow(all) : nullptr;
    T* into = dx != nullptr && input.there() ? in_memory.grow(inputs * lanes) : nullptr;
    if (dh_end != nullptr) features_first(batch, units, dh_end, d, lanes);
    else d_memory.zeros(n);
    if (dc_end != nullptr) features_first(batch, units, dc_end, cells, lanes);
    by_column_.build(state.csr);
    if (into != nullptr) inputs_by_column_.build(input.csr);
    for (int64_t s = steps - 1; s >= 0; --s) {
        const int64_t t = time(s);
        const T* from = states_.data() + s * n;
        features_first(batch, units, dout + t * batch * units, own, lanes);
        for (int64_t i = 0; i < n; i += WIDTH<T>) store(d + i, load(d + i) + load(own + i));
        const T* reached = return_through(s, from, d, cells, made, other, own);
        add_slopes(state, from, reached, t, of_state);
        gather_dx(by_column_, state.value, reached, d, lanes, false);
        if (cell == Cell::gru)  // `own` went past the gates
            for (int64_t i = 0; i < n; i += WIDTH<T>) store(d + i, load(d + i) + load(own + i));
        if (input.there()) {
            add_slopes(input, xs_.data() + s * inputs * lanes, made, t, of_input);
            if (into == nullptr) continue;
            gather_dx(inputs_by_column_, input.value, made, into, lanes, false);
            batch_first(batch, inputs, into, lanes, dx + t * batch * inputs);
        } else if (dx != nullptr) {
            batch_first(batch, width(), made, lanes, dx + t * batch * width());
        }
    }
    batch_first(batch, units, d, lanes, dh);
    if (dc != nullptr) batch_first(batch, units, cells, lanes, dc);
}

}  // namespace rewire
