// The one generator: splitmix64 of a counter, as streams.py draws without kernels. Plain C++11, which
// programs of Brian2's standalone device include as well.

#pragma once

#include <cstdint>

namespace {

constexpr uint64_t GOLDEN = 0x9E3779B97F4A7C15ull;
constexpr uint64_t MIX_A = 0xBF58476D1CE4E5B9ull, MIX_B = 0x94D049BB133111EBull;

inline uint64_t splitmix(uint64_t z) {
    z = (z ^ (z >> 30)) * MIX_A;
    z = (z ^ (z >> 27)) * MIX_B;
    return z ^ (z >> 31);
}

// 53 random bits as a number in [0, 1).
inline double unit(uint64_t bits) {
    return static_cast<double>(bits >> 11) / 9007199254740992.0;
}

}  // namespace
