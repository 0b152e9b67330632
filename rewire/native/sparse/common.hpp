// Vectors of one register, sums over them, blocks of lanes, and memory for activations.
//
// Everything is a template on the number type T, float or double, and is compiled once for each
// generation of processors: BYTES is the width of that generation's registers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>
#if defined(__linux__)
#include <sys/mman.h>
#endif

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

constexpr int64_t PAD = 16;  // a batch is padded to a multiple of this many lanes

inline int64_t padded(int64_t batch) { return (batch + PAD - 1) / PAD * PAD; }

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

// Calls f(first lane, Count<vectors>) for blocks of at most 8 vectors that cover `lanes`, which is
// a multiple of PAD. A loop over lanes inside f is unrolled, its sums stay in registers.
template <class T, class F>
REWIRE_INLINE void over_lanes(int64_t lanes, F&& f) {
    constexpr int width = WIDTH<T>;
    int64_t at = 0, left = lanes / width;
    const auto go = [&](auto count) {
        f(at, count);
        at += count.value * width;
        left -= count.value;
    };
    while (left >= 8) go(Count<8>{});
    if constexpr (width == PAD) {
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
    if (left >= 4) go(Count<4>{});
    if (left >= 2) go(Count<2>{});
    if (left >= 1) go(Count<1>{});
}

// -- memory -------------------------------------------------------------------------------------

// An array that only grows, on a cache line's border; on large pages where it is large, since rows
// of activations are visited in any order. What it holds after `grow` is not defined.
template <class T>
class Memory {
public:
    Memory() = default;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() { std::free(data_); }

    T* data() const { return data_; }
    int64_t size() const { return size_; }

    T* grow(int64_t n) {
        if (n <= size_) return data_;
        const size_t bytes = static_cast<size_t>(n) * sizeof(T);
        const size_t border = bytes >= LARGE ? LARGE : 64;
        std::free(data_);
        size_ = 0;
        data_ = static_cast<T*>(std::aligned_alloc(border, (bytes + border - 1) / border * border));
        if (data_ == nullptr) throw std::bad_alloc();
#if defined(__linux__)
        if (border == LARGE) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
        size_ = n;
        return data_;
    }

    T* zeros(int64_t n) {
        grow(n);
        std::memset(static_cast<void*>(data_), 0, static_cast<size_t>(n) * sizeof(T));
        return data_;
    }

private:
    static constexpr size_t LARGE = size_t{1} << 21;
    T* data_ = nullptr;
    int64_t size_ = 0;
};

}  // namespace rewire
