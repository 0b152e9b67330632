// The random numbers of a tick, as rewire.streams.Stream draws them.

#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "../normals.hpp"
#include "../splitmix.hpp"
#include "files.hpp"

namespace rewire {

// numpy's generator of counters (Philox 4x64-10, Salmon et al. 2011), as far as its permutations ask.
class Philox {
  public:
    Philox(uint64_t low, uint64_t high) : key_{low, high} {}

    // numpy's Generator.permutation of an array, in place.
    void permute(std::vector<int64_t>& values) {
        for (size_t i = values.size(); i > 1; --i)
            std::swap(values[i - 1], values[below(static_cast<uint32_t>(i - 1))]);
    }

  private:
    // A number in [0, most]: the first that is, of as many bits as it has.
    uint32_t below(uint32_t most) {
        uint32_t mask = most;
        for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
        uint32_t value = next32() & mask;
        while (value > most) value = next32() & mask;
        return value;
    }

    uint32_t next32() {
        if (half_) {
            half_ = false;
            return upper_;
        }
        const uint64_t bits = next64();
        half_ = true;
        upper_ = static_cast<uint32_t>(bits >> 32);
        return static_cast<uint32_t>(bits);
    }

    uint64_t next64() {
        if (at_ < 4) return block_[at_++];
        for (uint64_t& digit : counter_)
            if (++digit) break;
        round();
        at_ = 1;
        return block_[0];
    }

    static uint64_t high(uint64_t a, uint64_t b) {
        const uint64_t a0 = a & 0xFFFFFFFF, a1 = a >> 32, b0 = b & 0xFFFFFFFF, b1 = b >> 32;
        const uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
        return a1 * b1 + (middle >> 32) + ((a0 * b1 + (middle & 0xFFFFFFFF)) >> 32);
    }

    void round() {
        constexpr uint64_t A = 0xD2E7470EE14C6C93ull, B = 0xCA5A826395121157ull;
        uint64_t x[4] = {counter_[0], counter_[1], counter_[2], counter_[3]};
        uint64_t k0 = key_[0], k1 = key_[1];
        for (int i = 0; i < 10; ++i, k0 += 0x9E3779B97F4A7C15ull, k1 += 0xBB67AE8584CAA73Bull) {
            const uint64_t first = high(B, x[2]) ^ x[1] ^ k0, third = high(A, x[0]) ^ x[3] ^ k1;
            x[3] = A * x[0];
            x[1] = B * x[2];
            x[0] = first;
            x[2] = third;
        }
        std::copy(x, x + 4, block_);
    }

    uint64_t key_[2], counter_[4] = {0, 0, 0, 0}, block_[4] = {0, 0, 0, 0};
    int at_ = 4;
    bool half_ = false;
    uint32_t upper_ = 0;
};

// One tick's stream, by its key.
class Stream {
  public:
    Stream(uint64_t low, uint64_t high)
        : normals_(low), doubles_(high), permutations_(low, high) {}

    double next() { return unit(splitmix(doubles_ += GOLDEN)); }

    void skip(int64_t n) { doubles_ += static_cast<uint64_t>(n) * GOLDEN; }

    // Where its normal numbers begin; a tick draws them once.
    uint64_t normals() const { return normals_; }

    void permute(std::vector<int64_t>& values) { permutations_.permute(values); }

    // 0 to n - 1, see Stream.order.
    std::vector<int64_t> order(int64_t n) {
        std::vector<std::pair<double, int64_t>> lots(static_cast<size_t>(n));
        for (int64_t i = 0; i < n; ++i) lots[i] = {next(), i};
        std::sort(lots.begin(), lots.end());
        std::vector<int64_t> out;
        for (const auto& lot : lots) out.push_back(lot.second);
        return out;
    }

  private:
    uint64_t normals_, doubles_;
    Philox permutations_;
};

// The keys of a rule's streams, two numbers for each tick at which it is due.
class Streams {
  public:
    explicit Streams(Settings& from) : keys_(from.next<uint64_t>()) {}

    Stream of(size_t number) const { return Stream(keys_[2 * number], keys_[2 * number + 1]); }

  private:
    std::vector<uint64_t> keys_;
};

// Standard normal numbers from a counter on, by blocks.
class Normals {
  public:
    explicit Normals(Settings& from) {
        const std::vector<double> numbers = from.next<double>();
        for (size_t i = 0; i + 1 < numbers.size(); i += 2)
            of_.push_back(
                Interval{static_cast<float>(numbers[i]), static_cast<float>(numbers[i + 1])});
    }

    // BLOCK numbers, or none where there are no intervals.
    const float* block(uint64_t counter) {
        if (of_.empty()) return nullptr;
        ::normals(counter, of_.data(), numbers_);
        return numbers_;
    }

  private:
    std::vector<Interval> of_;
    float numbers_[BLOCK];
};

}  // namespace rewire
