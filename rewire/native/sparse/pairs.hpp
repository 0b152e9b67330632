// Linear layers on pairs of rows that follow each other and have the same edges, as the rows of a
// block do: what is read of x, or read and written of dx, serves both. The numbers are those of the
// kernels for single rows, up to rounding.
#pragma once

#include "edges.hpp"
#include "vectors.hpp"

namespace rewire {

#if defined(__AVX512F__)
constexpr int PAIR = 8;  // vectors of each row that are held at once: half of the registers
#else
constexpr int PAIR = 4;
#endif

// -- one pair: its first row has edges [e, e + n), the other [e + n, e + 2 n) ---------------------

template <class T, int NV>
void forward_pair(int64_t n, const int32_t* index, const T* weight, const T* bias, const T* x,
                  T* y, int64_t stride, bool relu, bool add) {
    constexpr int w = WIDTH<T>;
    Vec<T> one[NV], other[NV];
    const Vec<T> a = splat(bias != nullptr ? bias[0] : T(0));
    const Vec<T> b = splat(bias != nullptr ? bias[1] : T(0));
    REWIRE_UNROLL
    for (int j = 0; j < NV; ++j) one[j] = a, other[j] = b;
    if (add) {
        REWIRE_UNROLL
        for (int j = 0; j < NV; ++j) one[j] += load(y + w * j), other[j] += load(y + stride + w * j);
    }
    for (int64_t i = 0; i < n; ++i) {
        const Vec<T> p = splat(weight[i]), q = splat(weight[n + i]);
        const T* from = x + static_cast<int64_t>(index[i]) * stride;
        REWIRE_UNROLL
        for (int j = 0; j < NV; ++j) {
            const Vec<T> v = load(from + w * j);
            one[j] += p * v, other[j] += q * v;
        }
    }
    REWIRE_UNROLL
    for (int j = 0; j < NV; ++j) {
        store(y + w * j, relu ? rectified<T>(one[j]) : one[j]);
        store(y + stride + w * j, relu ? rectified<T>(other[j]) : other[j]);
    }
}

// dw of the edges [i, end) of both rows.
template <class T>
void pair_slopes(int64_t i, int64_t end, int64_t n, const int32_t* index, const T* x, const T* dy,
                 T* dw, int64_t lanes, bool add) {
    const T *d = dy, *f = dy + lanes;
    const auto row = [&](int64_t edge) { return x + static_cast<int64_t>(index[edge]) * lanes; };
    for (; i + 4 <= end; i += 4) {
        const T* from[4] = {row(i), row(i + 1), row(i + 2), row(i + 3)};
        Vec<T> one[4] = {}, other[4] = {};
        for (int64_t at = 0; at < lanes; at += WIDTH<T>) {
            const Vec<T> p = load(d + at), q = load(f + at);
            REWIRE_UNROLL
            for (int k = 0; k < 4; ++k) {
                const Vec<T> v = load(from[k] + at);
                one[k] += p * v, other[k] += q * v;
            }
        }
        sums_of_four<T>(one[0], one[1], one[2], one[3], dw + i, add);
        sums_of_four<T>(other[0], other[1], other[2], other[3], dw + n + i, add);
    }
    for (; i < end; ++i) {
        const T* from = row(i);
        Vec<T> one{}, other{};
        for (int64_t at = 0; at < lanes; at += WIDTH<T>) {
            const Vec<T> v = load(from + at);
            one += load(d + at) * v, other += load(f + at) * v;
        }
        dw[i] = (add ? dw[i] : T(0)) + sum<T>(one);
        dw[n + i] = (add ? dw[n + i] : T(0)) + sum<T>(other);
    }
}

// dx += w dy of the edges [i, end) of both rows.
template <class T, int NV>
void scatter_pair(int64_t i, int64_t end, int64_t n, const int32_t* index, const T* weight,
                  const T* dy, T* dx, int64_t stride) {
    constexpr int w = WIDTH<T>;
    Vec<T> one[NV], other[NV];
    REWIRE_UNROLL
    for (int j = 0; j < NV; ++j) one[j] = load(dy + w * j), other[j] = load(dy + stride + w * j);
    for (; i < end; ++i) {
        const Vec<T> p = splat(weight[i]), q = splat(weight[n + i]);
        T* to = dx + static_cast<int64_t>(index[i]) * stride;
        REWIRE_UNROLL
        for (int j = 0; j < NV; ++j) store(to + w * j, load(to + w * j) + p * one[j] + q * other[j]);
    }
}

// -- rows that are pairs, all of them -------------------------------------------------------------

template <class T>
void forward_pairs(const Csr& csr, const T* weight, const T* bias, const T* x, T* y, int64_t lanes,
                   bool relu, bool add) {
    for (int64_t r = 0; r < csr.rows; r += 2) {
        const int64_t e = csr.indptr[r], n = csr.indptr[r + 1] - e;
        over_lanes<T, PAIR>(lanes, [&](int64_t at, auto count) {
            forward_pair<T, count.value>(n, csr.index + e, weight + e,
                                         bias == nullptr ? nullptr : bias + r, x + at,
                                         y + r * lanes + at, lanes, relu, add);
        });
    }
}

// As linear_backward, by blocks of columns where `block` is not 0.
template <class T>
void backward_pairs(const Csr& csr, const T* weight, const T* x, const T* dy, T* dw, T* dx,
                    int64_t lanes, bool add, int64_t block, int64_t* cursor) {
    over_rows<2>(csr, block, cursor, [&](int64_t r, int64_t first, int64_t last) {
        const int64_t e = csr.indptr[r], n = csr.indptr[r + 1] - e;
        const int64_t i = first - e, end = last - e;
        const int32_t* index = csr.index + e;
        const T* d = dy + r * lanes;
        pair_slopes<T>(i, end, n, index, x, d, dw + e, lanes, add);
        if (dx == nullptr) return;
        over_lanes<T, PAIR>(lanes, [&](int64_t at, auto count) {
            scatter_pair<T, count.value>(i, end, n, index, weight + e, d + at, dx + at, lanes);
        });
    });
}

}  // namespace rewire
