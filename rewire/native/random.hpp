// Random numbers in arrays, as streams.py draws them without kernels.

#pragma once

#include "arrays.hpp"
#include "normals.hpp"

namespace {

WIDE void normal_block_any(uint64_t counter, const Interval* of, float* to) {
    normals(counter, of, to);
}

#ifdef AVX512
AVX512 inline __m512i all(uint64_t x) { return _mm512_set1_epi64(static_cast<long long>(x)); }

// The same, 16 at once, with one load for both numbers of an interval.
class Normals16 {
  public:
    AVX512 Normals16(uint64_t counter, const Interval* of)
        : at_(_mm512_add_epi64(all(counter), _mm512_mullo_epi64(
                                                 _mm512_set_epi64(8, 7, 6, 5, 4, 3, 2, 1),
                                                 all(GOLDEN)))),
          of_(of) {}

    AVX512 inline __m512 next() {
        const __m512i even =
            _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
        const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
        __m512i z = _mm512_xor_si512(at_, _mm512_srli_epi64(at_, 30));
        z = _mm512_mullo_epi64(z, all(MIX_A));
        z = _mm512_mullo_epi64(_mm512_xor_si512(z, _mm512_srli_epi64(z, 27)), all(MIX_B));
        z = _mm512_xor_si512(z, _mm512_srli_epi64(z, 31));
        at_ = _mm512_add_epi64(at_, all(8 * GOLDEN));
        const __m512i interval = _mm512_srli_epi32(z, 20);
        const __m512i low = _mm512_i32gather_epi64(_mm512_castsi512_si256(interval), of_, 8);
        const __m512i high = _mm512_i32gather_epi64(_mm512_extracti64x4_epi64(interval, 1), of_, 8);
        const __m512 start = _mm512_castsi512_ps(_mm512_permutex2var_epi32(low, even, high));
        const __m512 width = _mm512_castsi512_ps(_mm512_permutex2var_epi32(low, odd, high));
        const __m512i within = _mm512_and_si512(z, _mm512_set1_epi32(0xFFFFF));
        const __m512 part = _mm512_mul_ps(_mm512_cvtepi32_ps(within), _mm512_set1_ps(0x1p-20f));
        const __m512 found = _mm512_add_ps(start, _mm512_mul_ps(part, width));
        const __mmask16 outer = _mm512_cmpeq_epi32_mask(interval, _mm512_setzero_si512()) |
                                _mm512_cmpeq_epi32_mask(interval, _mm512_set1_epi32(4095));
        return outer ? with_tails(found, z, outer) : found;
    }

  private:
    __m512i at_;
    const Interval* of_;

    AVX512 __attribute__((noinline)) __m512 with_tails(__m512 found, __m512i z, unsigned outer) {
        float out[16];
        uint32_t half[16];
        _mm512_storeu_ps(out, found);
        _mm512_storeu_si512(half, z);
        for (; outer; outer &= outer - 1) {
            const int j = __builtin_ctz(outer);
            out[j] = from_tail(half[j], of_);
        }
        return _mm512_loadu_ps(out);
    }
};

AVX512 void normal_block_avx512(uint64_t counter, const Interval* of, float* to) {
    Normals16 normals(counter, of);
    for (int64_t i = 0; i < BLOCK; i += 16) _mm512_storeu_ps(to + i, normals.next());
}
#endif

inline void normal_block(uint64_t counter, const Interval* of, float* to) {
#ifdef AVX512
    if (has_avx512()) return normal_block_avx512(counter, of, to);
#endif
    normal_block_any(counter, of, to);
}

Array<float> normal(int64_t n, uint64_t counter, const Array<float>& intervals) {
    Array<float> out = make<float>(n);
    const auto of = reinterpret_cast<const Interval*>(intervals.data());
    float* to = out.mutable_data();
    float last[BLOCK];
    for (int64_t i = 0; i < n; i += BLOCK, counter += BLOCK / 2 * GOLDEN) {
        if (n - i >= BLOCK) {
            normal_block(counter, of, to + i);
        } else {
            normal_block(counter, of, last);
            std::memcpy(to + i, last, static_cast<size_t>(n - i) * sizeof(float));
        }
    }
    return out;
}

Array<double> doubles(int64_t n, uint64_t counter) {
    Array<double> out = make<double>(n);
    double* to = out.mutable_data();
    for (int64_t i = 0; i < n; ++i) to[i] = unit(splitmix(counter += GOLDEN));
    return out;
}

}  // namespace
