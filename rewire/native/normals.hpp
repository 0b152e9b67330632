// Standard normal numbers, as streams.py draws them without kernels. Plain C++11, which programs of
// Brian2's standalone device include as well.

#pragma once

#include <cstdint>
#include <cstring>

#include "splitmix.hpp"

namespace {

constexpr int64_t BLOCK = 256;  // numbers at once: they stay in the nearest cache

struct Interval {
    float start, width;
};

// Standard normal numbers as Stream.normal describes them, from 32 bits each: by inversion in 4096
// equally likely intervals, `of` (2 x 4096), of which the two outermost are divided once more.
inline float from_tail(uint32_t half, const Interval* of) {
    const Interval at = of[4096 + ((half >> 8) & 0xFFF)];
    const float low = at.start + static_cast<float>(half & 0xFF) * (1.0f / 256) * at.width;
    return half >> 20 == 0 ? low : -low;
}

// The BLOCK numbers after a counter.
inline void normals(uint64_t counter, const Interval* of, float* to) {
    uint64_t bits[BLOCK / 2];
    uint32_t half[BLOCK];
    for (int64_t i = 0; i < BLOCK / 2; ++i)
        bits[i] = splitmix(counter + static_cast<uint64_t>(i + 1) * GOLDEN);
    std::memcpy(half, bits, sizeof bits);  // the lower half first
    for (int64_t i = 0; i < BLOCK; ++i) {
        const Interval at = of[half[i] >> 20];
        const auto within = static_cast<float>(static_cast<int32_t>(half[i] & 0xFFFFF));
        to[i] = at.start + within * (1.0f / 1048576) * at.width;
    }
    for (int64_t i = 0; i < BLOCK; ++i)
        if (((half[i] >> 20) + 1) % 4096 < 2) to[i] = from_tail(half[i], of);
}

}  // namespace
