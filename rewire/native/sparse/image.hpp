// Walking through activations of a plan: pixels, rows, and the lanes of the batch that count.
#pragma once

#include <vector>

#include "layout.hpp"
#include "op.hpp"

namespace rewire {

// Items from one pixel, one row and one channel of a picture to the next.
struct Steps {
    int64_t pixel, row, channel;
};

template <class T>
Steps steps_of(const Buffer<T>& b, int64_t lanes) {
    return {lanes, b.padded_width() * lanes, b.plane() * lanes};
}

// The first pixel that is no halo.
template <class T>
T* inside(T* from, const Steps& s, int64_t halo) {
    return from + halo * (s.row + s.pixel);
}

// The place of each feature of a picture, channel by channel and row by row, lanes apart.
template <class T>
std::vector<int64_t> places_of(const Buffer<T>& b) {
    std::vector<int64_t> places;
    places.reserve(b.features());
    for (int64_t c = 0; c < b.channels; ++c)
        for (int64_t y = 0; y < b.height; ++y)
            for (int64_t x = 0; x < b.width; ++x)
                places.push_back(c * b.plane() + (y + b.halo) * b.padded_width() + x + b.halo);
    return places;
}

// [batch][channels][height][width] -> the inside of a buffer's value or gradient.
template <class T>
void from_batch(const Run& run, const Buffer<T>& b, const T* from, T* to) {
    const std::vector<int64_t> places = places_of(b);
    const int64_t n = b.features();
    transpose<T, T>(run.batch, n, {from, n}, {to, run.lanes, places.data()}, true);
}

// The inside of a buffer's value or gradient -> [batch][channels][height][width].
template <class T>
void to_batch(const Run& run, const Buffer<T>& b, const T* from, T* to) {
    const std::vector<int64_t> places = places_of(b);
    const int64_t n = b.features();
    transpose<T, T>(n, run.batch, {from, run.lanes, places.data()}, {to, n}, false);
}

// Calls f(first item) for each vector of a row of n items; n is a multiple of PAD.
template <class T, class F>
REWIRE_INLINE void over_vectors(int64_t n, F&& f) {
    if constexpr (WIDTH<T> == PAD) {
        int64_t i = 0;
        for (; i + 4 * WIDTH<T> <= n; i += 4 * WIDTH<T>)
            REWIRE_UNROLL for (int j = 0; j < 4; ++j) f(i + j * WIDTH<T>);
        for (; i < n; i += WIDTH<T>) f(i);
    } else {
        constexpr int some = PAD / WIDTH<T>;
        for (int64_t i = 0; i < n; i += PAD)
            REWIRE_UNROLL for (int j = 0; j < some; ++j) f(i + j * WIDTH<T>);
    }
}

// Two sums over a row of pixels, of the lanes within the batch; term(i, a, b) gives the vectors at
// item i. Sums of one row are taken in T, what is added to is double.
template <class T, class F>
REWIRE_INLINE void sum_row(const Run& run, int64_t width, double& first, double& second,
                           F&& term) {
    constexpr int w = WIDTH<T>, ways = 4;
    Vec<T> a[ways] = {}, b[ways] = {};
    const auto add = [&](int64_t i, int64_t n) {
        for (; n >= ways * w; i += ways * w, n -= ways * w)
            REWIRE_UNROLL for (int j = 0; j < ways; ++j) {
                Vec<T> p, q;
                term(i + j * w, p, q);
                a[j] += p, b[j] += q;
            }
        for (; n > 0; i += w, n -= w) {
            Vec<T> p, q;
            term(i, p, q);
            a[0] += n < w ? first_lanes<T>(p, n) : p;
            b[0] += n < w ? first_lanes<T>(q, n) : q;
        }
    };
    if (run.batch == run.lanes) {
        add(0, width * run.lanes);
    } else {
        for (int64_t x = 0; x < width; ++x) add(x * run.lanes, run.batch);
    }
    first += sum<T>((a[0] + a[1]) + (a[2] + a[3]));
    second += sum<T>((b[0] + b[1]) + (b[2] + b[3]));
}

// 0 in the lanes of a row of pixels that are beyond the batch.
template <class T>
void clear_padding(const Run& run, int64_t width, T* row) {
    if (run.batch == run.lanes) return;
    for (int64_t x = 0; x < width; ++x)
        std::memset(row + x * run.lanes + run.batch, 0, sizeof(T) * (run.lanes - run.batch));
}

// 0 in the pixels of one channel.
template <class T>
void clear_channel(const Buffer<T>& buffer, const Steps& s, T* first_pixel) {
    for (int64_t y = 0; y < buffer.height; ++y)
        std::memset(first_pixel + y * s.row, 0, sizeof(T) * buffer.width * s.pixel);
}

}  // namespace rewire
