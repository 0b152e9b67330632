// Between the batch-first layout of torch, [batch][features], and that of the engine,
// [features][lanes]: transposes in registers.
#pragma once

#include "common.hpp"

namespace rewire {

// Swaps the off-diagonal s x s blocks of two rows of a square.
template <int s, class V, size_t... I>
REWIRE_INLINE void exchange(V& a, V& b, std::index_sequence<I...>) {
    constexpr size_t n = sizeof...(I);
    const V first = __builtin_shufflevector(a, b, ((I / s) % 2 == 0 ? I : I - s + n)...);
    b = __builtin_shufflevector(a, b, ((I / s) % 2 == 0 ? I + s : I + n)...);
    a = first;
}

template <class T, int s = WIDTH<T> / 2>
REWIRE_INLINE void transpose_square(Vec<T> (&rows)[WIDTH<T>]) {
    REWIRE_UNROLL
    for (int i = 0; i < WIDTH<T>; ++i)
        if ((i & s) == 0)
            exchange<s>(rows[i], rows[i + s], std::make_index_sequence<WIDTH<T>>{});
    if constexpr (s > 1) transpose_square<T, s / 2>(rows);
}

template <class T, class S>
REWIRE_INLINE Vec<T> load_as(const S* from) {
    if constexpr (std::is_same_v<T, S>) {
        return load<T>(from);
    } else {
        typedef S Source __attribute__((vector_size(sizeof(S) * WIDTH<T>)));
        Source v;
        std::memcpy(&v, from, sizeof v);
        return __builtin_convertvector(v, Vec<T>);
    }
}

// to(c)[r] = from(r)[c] for r < rows, c < columns, by squares; `from` and `to` give addresses.
// filled: to(c) has room for `rows` rounded up to PAD, and the rest becomes 0.
// wanted(c0): whether columns [c0, c0 + WIDTH) are needed at all.
template <class T, class S, class From, class To, class Wanted>
void transpose(int64_t rows, int64_t columns, From from, To to, bool filled, Wanted wanted) {
    constexpr int n = WIDTH<T>;
    if (columns < n || (rows < n && !filled)) {
        for (int64_t c = 0; c < columns; ++c) {
            T* out = to(c);
            for (int64_t r = 0; r < rows; ++r) out[r] = static_cast<T>(from(r)[c]);
            if (filled) std::fill(out + rows, out + padded(rows), T(0));
        }
        return;
    }
    const int64_t end = filled ? padded(rows) : rows;
    for (int64_t r = 0; r < end; r += n) {
        if (r + n > end) r = end - n;  // the last square overlaps the one before
        const int64_t held = std::min<int64_t>(n, std::max<int64_t>(rows - r, 0));
        const S* source[n];
        for (int64_t i = 0; i < held; ++i) source[i] = from(r + i);
        for (int64_t c = 0; c < columns; c += n) {
            if (c + n > columns) c = columns - n;
            if (!wanted(c)) continue;
            Vec<T> square[n];
            if (held == n) {
                REWIRE_UNROLL
                for (int i = 0; i < n; ++i) square[i] = load_as<T>(source[i] + c);
            } else {
                for (int i = 0; i < n; ++i)
                    square[i] = i < held ? load_as<T>(source[i] + c) : Vec<T>{};
            }
            transpose_square<T>(square);
            REWIRE_UNROLL
            for (int i = 0; i < n; ++i) store(to(c + i) + r, square[i]);
        }
    }
}

// [batch][features] -> [features][lanes], lanes beyond the batch 0.
template <class T>
void features_first(int64_t batch, int64_t features, const T* from, T* to, int64_t lanes) {
    transpose<T, T>(
        batch, features, [=](int64_t r) { return from + r * features; },
        [=](int64_t c) { return to + c * lanes; }, true, [](int64_t) { return true; });
}

// [features][lanes] -> [batch][features].
template <class T>
void batch_first(int64_t batch, int64_t features, const T* from, int64_t lanes, T* to) {
    transpose<T, T>(
        features, batch, [=](int64_t r) { return from + r * lanes; },
        [=](int64_t c) { return to + c * features; }, false, [](int64_t) { return true; });
}

}  // namespace rewire
