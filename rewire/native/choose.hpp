// Exact selection in one pass over the numbers: a sample says about where the k-th lies, what may
// be among the k is gathered, and what is too much is cut off.

#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "random.hpp"

namespace {

// The first place in [from, n) of a number that is at least `key`; cheap where it is near.
inline int64_t first_from(const int64_t* keys, int64_t from, int64_t n, int64_t key) {
    int64_t reach = 1;
    while (from + reach < n && keys[from + reach] < key) reach *= 2;
    const int64_t end = std::min(from + reach + 1, n);
    return std::lower_bound(keys + from + reach / 2, keys + end, key) - keys;
}

// The same in [first, n), sought from a guess on.
inline int64_t first_near(const int64_t* keys, int64_t first, int64_t n, int64_t key,
                          int64_t guess) {
    if (first >= n) return n;
    guess = std::clamp(guess, first, n - 1);
    if (keys[guess] < key) return first_from(keys, guess, n, key);
    int64_t reach = 1;
    while (guess - reach > first && keys[guess - reach] >= key) reach *= 2;
    return std::lower_bound(keys + std::max(first, guess - reach), keys + guess, key) - keys;
}

// Places of rising keys among others, one after the other: each is sought where it would be if keys
// lay as densely as between the last two.
class Finder {
  public:
    Finder(const int64_t* keys, int64_t n) : keys(keys), n(n) {}

    int64_t next(int64_t key) {
        if (at >= n) return at;
        const int64_t from = at, ahead = key - keys[from];
        at = pace * static_cast<double>(ahead) < FAR
                 ? first_from(keys, from, n, key)
                 : first_near(keys, from, n, key, corrected(key, from, ahead));
        if (at < n && keys[at] > keys[from])
            pace = static_cast<double>(at - from) / static_cast<double>(keys[at] - keys[from]);
        return at;
    }

  private:
    int64_t corrected(int64_t key, int64_t from, int64_t ahead) const {
        const int64_t guess = jump(from, ahead);
        return jump(guess, key - keys[guess]);
    }

    int64_t jump(int64_t from, int64_t keys_ahead) const {
        const double rows = pace * static_cast<double>(keys_ahead);
        const double most = static_cast<double>(n - 1 - from), least = -static_cast<double>(from);
        return from + static_cast<int64_t>(std::clamp(rows, least, most));
    }

    static constexpr double FAR = 400;  // rows from which a guess beats doubling steps
    const int64_t* keys;
    int64_t n, at = 0;
    double pace = 0;
};

// What is ranked: x or |x|, from the smallest or from the largest on.
enum Order { SMALLEST, LARGEST, WEAKEST, STRONGEST };

// Ranks: whole numbers that rise in the order asked for. The two highest are no number's.
template <class Rank>
constexpr Rank TAKEN = std::numeric_limits<Rank>::max();  // not to be chosen
template <class Rank>
constexpr Rank LOST = TAKEN<Rank> - 1;  // NaN

template <Order order, class T, class Rank>
inline void rank_all(const T* x, int64_t n, Rank* to) {
    constexpr Rank sign = Rank{1} << (8 * sizeof(T) - 1);
    for (int64_t i = 0; i < n; ++i) {
        const T value = x[i] + T{0};  // no negative zero
        Rank bits;
        std::memcpy(&bits, &value, sizeof value);
        Rank rank = bits & sign ? ~bits : bits | sign;
        if (order == WEAKEST || order == STRONGEST) rank = bits & ~sign;
        if (order == STRONGEST) rank = sign - 1 - rank;
        if (order == LARGEST) rank = ~rank;
        to[i] = value != value ? LOST<Rank> : rank;
    }
}

#define RANKS(name, T, Rank, order) \
    WIDE void name(const T* x, int64_t n, Rank* to) { rank_all<order>(x, n, to); }
RANKS(smallest_first, float, uint32_t, SMALLEST)
RANKS(smallest_first, double, uint64_t, SMALLEST)
RANKS(largest_first, float, uint32_t, LARGEST)
RANKS(largest_first, double, uint64_t, LARGEST)
RANKS(weakest_first, float, uint32_t, WEAKEST)
RANKS(weakest_first, double, uint64_t, WEAKEST)
RANKS(strongest_first, float, uint32_t, STRONGEST)
RANKS(strongest_first, double, uint64_t, STRONGEST)
#undef RANKS

template <class T, class Rank>
void ranks(const T* x, int64_t n, Order order, Rank* to) {
    if (order == SMALLEST) smallest_first(x, n, to);
    if (order == LARGEST) largest_first(x, n, to);
    if (order == WEAKEST) weakest_first(x, n, to);
    if (order == STRONGEST) strongest_first(x, n, to);
}

// What may be chosen: places and ranks, in the order of the places.
template <class Rank>
struct Candidates {
    static constexpr int64_t SLACK = 16;  // whole vectors are written
    Array<uint32_t> places;
    Array<Rank> ranks;
    int64_t n = 0, room;
    bool lost = false;

    explicit Candidates(int64_t most)
        : places(make<uint32_t>(most + SLACK)), ranks(make<Rank>(most + SLACK)), room(most) {}
};

// Adds those of n <= room - c.n ranks that are at most `limit`; `first` is the place of the first.
template <class Rank>
void add_up_to(Rank limit, const Rank* rank, int64_t n, uint32_t first, Candidates<Rank>& c) {
    uint32_t* place = c.places.mutable_data() + c.n;
    Rank* found = c.ranks.mutable_data() + c.n;
    int64_t count = 0;
    bool lost = false;
    for (int64_t i = 0; i < n; ++i) {
        place[count] = first + static_cast<uint32_t>(i);
        found[count] = rank[i];
        count += rank[i] <= limit;
        lost |= rank[i] == LOST<Rank>;
    }
    c.n += count;
    c.lost |= lost;
}

#ifdef AVX512
AVX512 void add_up_to_avx512(uint32_t limit, const uint32_t* rank, int64_t n, uint32_t first,
                             Candidates<uint32_t>& c) {
    uint32_t* place = c.places.mutable_data() + c.n;
    uint32_t* found = c.ranks.mutable_data() + c.n;
    const __m512i most = _mm512_set1_epi32(static_cast<int>(limit));
    const __m512i nan = _mm512_set1_epi32(static_cast<int>(LOST<uint32_t>));
    const __m512i step = _mm512_set1_epi32(16);
    __m512i at = _mm512_add_epi32(
        _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
        _mm512_set1_epi32(static_cast<int>(first)));
    int64_t count = 0;
    __mmask16 lost = 0;
    for (int64_t i = 0; i < n; i += 16, at = _mm512_add_epi32(at, step)) {
        const auto there = static_cast<__mmask16>(n - i < 16 ? (1 << (n - i)) - 1 : 0xFFFF);
        const __m512i r = _mm512_maskz_loadu_epi32(there, rank + i);
        const __mmask16 in = _mm512_mask_cmple_epu32_mask(there, r, most);
        lost = static_cast<__mmask16>(lost | _mm512_mask_cmpeq_epi32_mask(there, r, nan));
        _mm512_storeu_si512(found + count, _mm512_maskz_compress_epi32(in, r));
        _mm512_storeu_si512(place + count, _mm512_maskz_compress_epi32(in, at));
        count += __builtin_popcount(in);
    }
    c.n += count;
    c.lost |= lost != 0;
}

void add_up_to(uint32_t limit, const uint32_t* rank, int64_t n, uint32_t first,
               Candidates<uint32_t>& c) {
    has_avx512() ? add_up_to_avx512(limit, rank, n, first, c)
                 : add_up_to<uint32_t>(limit, rank, n, first, c);
}
#endif

// Two ranks between which the k-th smallest of the free numbers very likely lies.
template <class T, class Rank>
std::pair<Rank, Rank> bounds_of(const T* x, int64_t n, const int64_t* taken, int64_t held,
                                int64_t k, Order order) {
    if (held == n) return {0, LOST<Rank> - 1};
    const int64_t few = std::clamp<int64_t>(n / 64, 1024, 16384), stride = n / few;
    std::vector<T> values;
    values.reserve(static_cast<size_t>(few));
    for (int64_t i = 0, row = 0; i < few; ++i) {  // at irregular places: weights lie in rows
        const int64_t at = i * stride + static_cast<int64_t>(splitmix(i) % stride);
        if (row < held) row = first_from(taken, row, held, at);
        if (row == held || taken[row] != at) values.push_back(x[at]);
    }
    std::vector<Rank> sample(values.size());
    const auto m = static_cast<int64_t>(sample.size());
    ranks(values.data(), m, order, sample.data());
    const double share = static_cast<double>(k) / static_cast<double>(n - held);
    const double expected = share * static_cast<double>(m);
    const double doubt = 4 * std::sqrt(expected * (1 - share)) + 4;
    const auto low = static_cast<int64_t>(expected - doubt);
    const auto high = static_cast<int64_t>(expected + doubt) + 1;
    const auto at = [&](int64_t i) {
        std::nth_element(sample.begin(), sample.begin() + i, sample.end());
        return sample[static_cast<size_t>(i)];
    };
    return {low <= 0 ? 0 : at(low), high >= m ? LOST<Rank> - 1 : at(high)};
}

// All free numbers whose rank is at most `limit`; `c.lost` where one is NaN.
template <class T, class Rank>
Candidates<Rank> up_to(Rank limit, int64_t room, const T* x, int64_t n, const int64_t* taken,
                       int64_t held, Order order) {
    constexpr int64_t PART = 1024;
    Candidates<Rank> c(room);
    Rank part[PART];
    for (int64_t start = 0, row = 0; start < n; start += PART) {
        const int64_t size = std::min(PART, n - start);
        ranks(x + start, size, order, part);
        for (; row < held && taken[row] < start + size; ++row)
            part[taken[row] - start] = TAKEN<Rank>;
        if (c.n + size > c.room) {  // more than the sample made one expect
            Candidates<Rank> all(n);
            std::copy_n(c.places.data(), c.n, all.places.mutable_data());
            std::copy_n(c.ranks.data(), c.n, all.ranks.mutable_data());
            all.n = c.n;
            all.lost = c.lost;
            c = all;
        }
        add_up_to(limit, part, size, static_cast<uint32_t>(start), c);
    }
    return c;
}

// The places of the k < n - held first numbers in the order asked for, rising, the smaller first
// among equals; `taken`, `held` rising places, are left out. False where a number is NaN.
template <class T, class Rank>
bool choose(const T* x, int64_t n, const int64_t* taken, int64_t held, int64_t k, Order order,
            int64_t offset, int64_t* out) {
    Rank low = 0, high = LOST<Rank> - 1;
    int64_t room = n;
    if (n > 8192) {
        std::tie(low, high) = bounds_of<T, Rank>(x, n, taken, held, k, order);
        if (high < LOST<Rank> - 1) room = std::min(n, k + k / 4 + n / 64 + 4096);
    }
    Candidates<Rank> c = up_to(high, room, x, n, taken, held, order);
    if (c.lost || k == 0) return !c.lost;
    if (c.n < k) c = up_to(LOST<Rank> - 1, n, x, n, taken, held, order);
    const Rank* rank = c.ranks.data();
    std::vector<Rank> middle;
    int64_t before = 0;  // those below `low`
    const auto sort_out = [&] {
        before = 0;
        middle.resize(static_cast<size_t>(c.n) + 1);
        int64_t m = 0;
        for (int64_t i = 0; i < c.n; ++i) {
            middle[static_cast<size_t>(m)] = rank[i];
            m += rank[i] >= low;
        }
        middle.resize(static_cast<size_t>(m));
        before = c.n - m;
    };
    sort_out();
    if (before >= k) {
        low = 0;
        sort_out();
    }
    const auto kth = middle.begin() + (k - before - 1);
    std::nth_element(middle.begin(), kth, middle.end());
    const Rank cut = *kth;
    int64_t equals = k - before;  // of those that are at the cut
    for (auto i = middle.begin(); i < kth; ++i) equals -= *i < cut;
    const uint32_t* place = c.places.data();
    for (int64_t i = 0, found = 0; found < k; ++i) {
        out[found] = offset + place[i];
        const bool equal = rank[i] == cut;
        found += rank[i] < cut || (equal && equals > 0);
        equals -= equal;
    }
    return true;
}

// Places of the counts[g] first of the numbers [low[g], high[g]) of each group, one group after the
// other; rising `taken` places are left out. None where one of the others is NaN.
template <class T, class Rank>
py::object first_of(const Array<T>& values, const std::vector<int64_t>& low,
                    const std::vector<int64_t>& high, const std::vector<int64_t>& counts, int order,
                    const Keys& taken) {
    int64_t total = 0;
    for (const int64_t k : counts) total += k;
    Keys out = make<int64_t>(total);
    int64_t* to = out.mutable_data();
    const int64_t* first = taken.data();
    const int64_t* last = first + taken.size();
    for (size_t g = 0; g < counts.size(); to += counts[g++]) {
        const int64_t* from = std::lower_bound(first, last, low[g]);
        const int64_t held = std::lower_bound(from, last, high[g]) - from;
        std::vector<int64_t> shifted;
        if (held && low[g]) {
            shifted.assign(from, from + held);
            for (int64_t& place : shifted) place -= low[g];
            from = shifted.data();
        }
        if (!choose<T, Rank>(values.data() + low[g], high[g] - low[g], from, held, counts[g],
                             static_cast<Order>(order), low[g], to))
            return py::none();
    }
    return out;
}

}  // namespace
