// Vectors of one register, sums over them, and blocks of lanes.
//
// Everything is a template on the number type T, float or double, and is compiled once for each
// generation of processors: BYTES is the width of that generation's registers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "memory.hpp"

#if defined(__AVX512F__)
#define REWIRE_BYTES 64
#elif defined(__AVX__)
#define REWIRE_BYTES 32
#else
#define REWIRE_BYTES 16
#endif
#define REWIRE_UNROLL _Pragma("GCC unroll 16")
#define REWIRE_INLINE inline __attribute__((always_inline))

namespace rewire {

// -- vectors ------------------------------------------------------------------------------------

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
    typedef float type __attribute__((vector_size(REWIRE_BYTES), aligned(4), may_alias));
};
template <>
struct VectorOf<double> {
    typedef double type __attribute__((vector_size(REWIRE_BYTES), aligned(8), may_alias));
};
template <class T>
using Vec = typename VectorOf<T>::type;

template <class T>
constexpr int WIDTH = REWIRE_BYTES / sizeof(T);  // lanes of one vector

template <class T>
REWIRE_INLINE Vec<T> load(const T* from) {
    return *reinterpret_cast<const Vec<T>*>(from);
}

template <class T>
REWIRE_INLINE void store(T* to, Vec<T> v) {
    *reinterpret_cast<Vec<T>*>(to) = v;
}

template <class T>
REWIRE_INLINE Vec<T> splat(T x) {
    return Vec<T>{} + x;
}

template <class V, size_t... I>
REWIRE_INLINE auto low_half(V v, std::index_sequence<I...>) {
    return __builtin_shufflevector(v, v, I...);
}
template <class V, size_t... I>
REWIRE_INLINE auto high_half(V v, std::index_sequence<I...>) {
    return __builtin_shufflevector(v, v, (I + sizeof...(I))...);
}

// The sum of a vector's n lanes, halves first.
template <class T, int n, class V>
REWIRE_INLINE T sum_of(V v) {
    if constexpr (n == 2) {
        return v[0] + v[1];
    } else {
        constexpr auto half = std::make_index_sequence<n / 2>{};
        return sum_of<T, n / 2>(low_half(v, half) + high_half(v, half));
    }
}
template <class T>
REWIRE_INLINE T sum(Vec<T> v) {
    return sum_of<T, WIDTH<T>>(v);
}

// Halves of a and b, added: a's sums in the lower half of the vector, b's in the upper one.
template <class V, size_t... I>
REWIRE_INLINE V fold(V a, V b, std::index_sequence<I...>) {
    constexpr size_t n = sizeof...(I), half = n / 2;
    return __builtin_shufflevector(a, b, (I < half ? I : I - half + n)...) +
           __builtin_shufflevector(a, b, (I < half ? I + half : I + n)...);
}
// The same of halves of halves: quarters hold a's, b's, c's and d's sums, a and b folded before.
template <class V, size_t... I>
REWIRE_INLINE V fold_again(V ab, V cd, std::index_sequence<I...>) {
    constexpr size_t n = sizeof...(I), half = n / 2, part = n / 4;
    return __builtin_shufflevector(
               ab, cd, (I % half < part ? I % part + I / half * n : I % part + half + I / half * n)...) +
           __builtin_shufflevector(
               ab, cd,
               (I % half < part ? I % part + part + I / half * n
                                : I % part + half + part + I / half * n)...);
}
// Sums within each quarter of q parts: 4 numbers.
template <class T, class V, size_t... I>
REWIRE_INLINE V sum_pairs(V v, std::index_sequence<I...>) {
    return v + __builtin_shufflevector(v, v, (I ^ 1)...);
}
template <class T, class V, size_t... I>
REWIRE_INLINE V sum_twos(V v, std::index_sequence<I...>) {
    return v + __builtin_shufflevector(v, v, (I ^ 2)...);
}

// The sums of four vectors, into out[0..3], or added to it.
template <class T>
REWIRE_INLINE void sums_of_four(Vec<T> a, Vec<T> b, Vec<T> c, Vec<T> d, T* out, bool add) {
    constexpr int n = WIDTH<T>;
    constexpr auto lanes = std::make_index_sequence<n>{};
    if constexpr (n >= 4) {
        Vec<T> v = fold_again(fold(a, b, lanes), fold(c, d, lanes), lanes);
        if constexpr (n >= 8) v = sum_pairs<T>(v, lanes);
        if constexpr (n >= 16) v = sum_twos<T>(v, lanes);
        typedef T Four __attribute__((vector_size(4 * sizeof(T)), aligned(alignof(T)), may_alias));
        Four f = __builtin_shufflevector(v, v, 0, n / 4, n / 2, 3 * n / 4);
        Four* to = reinterpret_cast<Four*>(out);
        *to = add ? *to + f : f;
    } else {
        const T s[4] = {sum<T>(a), sum<T>(b), sum<T>(c), sum<T>(d)};
        for (int i = 0; i < 4; ++i) out[i] = add ? out[i] + s[i] : s[i];
    }
}

// ReLU, and its gradient from its output y: NaN stays NaN, as in torch.
template <class T>
REWIRE_INLINE Vec<T> rectified(Vec<T> x) {
    return x < Vec<T>{} ? Vec<T>{} : x;
}
template <class T>
REWIRE_INLINE Vec<T> through_rectified(Vec<T> y, Vec<T> dy) {
    return y <= Vec<T>{} ? Vec<T>{} : dy;
}

// -- blocks of lanes ----------------------------------------------------------------------------

template <int n>
using Count = std::integral_constant<int, n>;

// Calls f(first lane, Count<vectors>) for blocks of at most `most` vectors that cover `lanes`, which
// is a multiple of PAD. A loop over lanes inside f is unrolled, its sums stay in registers.
template <class T, int most = 8, class F>
REWIRE_INLINE void over_lanes(int64_t lanes, F&& f) {
    constexpr int width = WIDTH<T>, least = PAD / width;  // vectors that a batch has at least
    int64_t at = 0, left = lanes / width;
    const auto go = [&](auto count) {
        f(at, count);
        at += count.value * width;
        left -= count.value;
    };
    while (left >= most) go(Count<most>{});
    if constexpr (width == PAD && most == 8) {
        switch (left) {
            case 7: return go(Count<7>{});
            case 6: return go(Count<6>{});
            case 5: return go(Count<5>{});
            case 4: return go(Count<4>{});
            case 3: return go(Count<3>{});
            case 2: return go(Count<2>{});
            case 1: return go(Count<1>{});
            default: return;
        }
    }
    if constexpr (most > 4 && least <= 4)
        if (left >= 4) go(Count<4>{});
    if constexpr (most > 2 && least <= 2)
        if (left >= 2) go(Count<2>{});
    if constexpr (least <= 1)
        if (left >= 1) go(Count<1>{});
}

}  // namespace rewire
