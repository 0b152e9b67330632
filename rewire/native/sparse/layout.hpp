// Between the batch-first layout of torch, [batch][features], and that of the engine,
// [features][lanes]: transposes in registers.
#pragma once

#include "vectors.hpp"

namespace rewire {

// Swaps the off-diagonal s x s blocks of two rows of a square.
template <class T, int s, size_t... I>
REWIRE_INLINE void exchange(Vec<T>& a, Vec<T>& b, std::index_sequence<I...>) {
    constexpr size_t n = sizeof...(I);
    const Vec<T> first = __builtin_shufflevector(a, b, ((I / s) % 2 == 0 ? I : I - s + n)...);
    b = __builtin_shufflevector(a, b, ((I / s) % 2 == 0 ? I + s : I + n)...);
    a = first;
}

template <class T, int s = WIDTH<T> / 2>
REWIRE_INLINE void transpose_square(Vec<T> (&rows)[WIDTH<T>]) {
    REWIRE_UNROLL
    for (int i = 0; i < WIDTH<T>; ++i)
        if ((i & s) == 0)
            exchange<T, s>(rows[i], rows[i + s], std::make_index_sequence<WIDTH<T>>{});
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

// Where rows lie: `step` items apart, or at place[row] such steps from the first.
template <class T>
struct Rows {
    T* first;
    int64_t step;
    const int64_t* place = nullptr;

    T* operator()(int64_t row) const { return first + (place == nullptr ? row : place[row]) * step; }
};

// v in the first n lanes, 0 in the others.
template <class T>
REWIRE_INLINE Vec<T> first_lanes(Vec<T> v, int64_t n) {
    Vec<T> lane;
    for (int i = 0; i < WIDTH<T>; ++i) lane[i] = static_cast<T>(i);
    return lane < static_cast<T>(n) ? v : Vec<T>{};
}

// Whether any of WIDTH bytes is not 0.
template <class T>
REWIRE_INLINE bool any_of(const uint8_t* bytes) {
    uint8_t any = 0;
    for (int i = 0; i < WIDTH<T>; ++i) any |= bytes[i];
    return any != 0;
}

// to(c)[r] = from(r)[c] for r < rows, c < columns, by squares.
// filled: to(c) has room for `rows` rounded up to PAD, and the rest becomes 0.
// wanted: a byte for each column, 0 where it may be left out; null where all are wanted.
template <class T, class S>
void transpose(int64_t rows, int64_t columns, Rows<const S> from, Rows<T> to, bool filled,
               const uint8_t* wanted = nullptr) {
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
        const S* source[n];  // rows beyond the last are read as if they were it, and become 0
        for (int64_t i = 0; i < n; ++i) source[i] = from(std::min(r + i, rows - 1));
        for (int64_t c = 0; c < columns; c += n) {
            if (c + n > columns) c = columns - n;
            if (wanted != nullptr && !any_of<T>(wanted + c)) continue;
            Vec<T> square[n];
            REWIRE_UNROLL
            for (int i = 0; i < n; ++i) square[i] = load_as<T>(source[i] + c);
            transpose_square<T>(square);
            if (held < n)
                for (int i = 0; i < n; ++i) square[i] = first_lanes<T>(square[i], held);
            if (to.place == nullptr) {
                REWIRE_UNROLL
                for (int i = 0; i < n; ++i) store(to.first + (c + i) * to.step + r, square[i]);
            } else {
                REWIRE_UNROLL
                for (int i = 0; i < n; ++i) store(to(c + i) + r, square[i]);
            }
        }
    }
}

// [batch][features] -> [features][lanes], lanes beyond the batch 0.
template <class T>
void features_first(int64_t batch, int64_t features, const T* from, T* to, int64_t lanes) {
    transpose<T, T>(batch, features, {from, features}, {to, lanes}, true);
}

// [features][lanes] -> [batch][features].
template <class T>
void batch_first(int64_t batch, int64_t features, const T* from, int64_t lanes, T* to) {
    transpose<T, T>(features, batch, {from, lanes}, {to, features}, false);
}

}  // namespace rewire
