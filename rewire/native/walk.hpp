// DEEP R's walk of theta = sign * weight, block by block. Plain C++11, which programs of Brian2's
// standalone device include as well.

#pragma once

#include <cstdint>

namespace {

// One block of at most BLOCK: theta = sign * weight - drift + kick, and whether one is below 0.
template <class T>
inline bool move_block(const T* w, const int8_t* s, const float* noise, T down, float spread,
                       int64_t n, T* out) {
    int below = 0;
    if (noise == nullptr) {
        for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(s[i]) * w[i] - down;
    } else {
        for (int64_t i = 0; i < n; ++i) {
            const float kick = noise[i] * spread;
            out[i] = (static_cast<T>(s[i]) * w[i] - down) + static_cast<T>(kick);
        }
    }
    for (int64_t i = 0; i < n; ++i) below |= out[i] < 0;
    return below != 0;
}

// theta as weights again.
template <class T>
inline void sign_block(const int8_t* s, int64_t n, T* out) {
    for (int64_t i = 0; i < n; ++i) out[i] *= static_cast<T>(s[i]);
}

}  // namespace
