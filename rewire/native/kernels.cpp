// Kernels of a rewiring tick: each does in one pass what numpy does in several, and gives the same
// numbers. Arrays are contiguous; whoever calls has checked shapes and ranges.

#include <pybind11/stl.h>

#include <algorithm>
#include <string>

#include "arrays.hpp"
#include "choose.hpp"
#include "curveball.hpp"
#include "paths.hpp"
#include "queue.hpp"
#include "random.hpp"
#include "slots.hpp"
#include "walk.hpp"

namespace {

// -- DEEP R's walk ------------------------------------------------------------------------------

WIDE bool moved(const float* w, const int8_t* s, const float* noise, float down, float spread,
                int64_t n, float* out) {
    return move_block(w, s, noise, down, spread, n, out);
}

WIDE bool moved(const double* w, const int8_t* s, const float* noise, double down, float spread,
                int64_t n, double* out) {
    return move_block(w, s, noise, down, spread, n, out);
}

WIDE void signed_again(const int8_t* s, int64_t n, float* out) { sign_block(s, n, out); }
WIDE void signed_again(const int8_t* s, int64_t n, double* out) { sign_block(s, n, out); }

#ifdef AVX512
// All of it for a whole block of float numbers, noise included, in registers; theta's rows below 0
// are counted from `row` on.
AVX512 void walked_avx512(const float* w, const int8_t* s, uint64_t counter, const Interval* of,
                          float down, float spread, int64_t row, float* out,
                          std::vector<int64_t>& below) {
    const __m512 drift = _mm512_set1_ps(down), wide = _mm512_set1_ps(spread);
    Normals16 normals(counter, of);
    for (int64_t i = 0; i < BLOCK; i += 16) {
        const __m128i signs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(s + i));
        const __m512 sign = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(signs));
        const __m512 kick = _mm512_mul_ps(normals.next(), wide);
        __m512 theta = _mm512_sub_ps(_mm512_mul_ps(sign, _mm512_loadu_ps(w + i)), drift);
        theta = _mm512_add_ps(theta, kick);
        unsigned fell = _mm512_cmp_ps_mask(theta, _mm512_setzero_ps(), _CMP_LT_OQ);
        for (; fell; fell &= fell - 1) below.push_back(row + i + __builtin_ctz(fell));
        _mm512_storeu_ps(out + i, _mm512_mul_ps(theta, sign));
    }
}
#endif

// theta = sign * weight - drift + spread * noise, as the weights that it gives; appends the rows below
// 0. The noise is that of the counter on; none where there are no intervals.
template <class T>
Array<T> walk(const Array<T>& weight, const Array<int8_t>& sign, const Array<float>& intervals,
              uint64_t counter, double drift, double spread, std::vector<int64_t>& below) {
    const int64_t n = weight.size();
    Array<T> walked = make<T>(n);
    const T* w = weight.data();
    const int8_t* s = sign.data();
    T* out = walked.mutable_data();
    const auto of = reinterpret_cast<const Interval*>(intervals.data());
    float noise[BLOCK];
    for (int64_t i = 0; i < n; i += BLOCK, counter += BLOCK / 2 * GOLDEN) {
        const int64_t size = std::min(BLOCK, n - i), end = i + size;
#ifdef AVX512
        if constexpr (std::is_same_v<T, float>)
            if (size == BLOCK && intervals.size() && has_avx512()) {
                walked_avx512(w + i, s + i, counter, of, static_cast<float>(drift),
                              static_cast<float>(spread), i, out + i, below);
                continue;
            }
#endif
        if (intervals.size()) normal_block(counter, of, noise);
        if (moved(w + i, s + i, intervals.size() ? noise : nullptr, static_cast<T>(drift),
                  static_cast<float>(spread), size, out + i))
            for (int64_t j = i; j < end; ++j)
                if (out[j] < 0) below.push_back(j);
        signed_again(s + i, size, out + i);
    }
    return walked;
}

// -- the hash of a synapse ----------------------------------------------------------------------

// One bit of splitmix64 of (key + salt), as +1 or -1; the other sign for the rising keys `turned`.
Array<int8_t> hash_sign(const Keys& keys, uint64_t salt, const Keys& turned) {
    const int64_t n = keys.size();
    const int64_t* key = keys.data();
    const int64_t* other = turned.data();
    Array<int8_t> out = make<int8_t>(n);
    int8_t* sign = out.mutable_data();
    const int64_t n_turned = turned.size();
    Finder finder(other, n_turned);
    for (int64_t i = 0; i < n; ++i) {
        const uint64_t z = splitmix(static_cast<uint64_t>(key[i]) + salt);
        sign[i] = (z >> 41) & 1 ? 1 : -1;
        if (i && key[i] < key[i - 1]) finder = Finder(other, n_turned);  // not rising
        const int64_t at = finder.next(key[i]);
        if (at < n_turned && other[at] == key[i]) sign[i] = static_cast<int8_t>(-sign[i]);
    }
    return out;
}

// -- growth by rejection ------------------------------------------------------------------------

// The first `most` distinct numbers of a sequence, in order of drawing.
class Distinct {
  public:
    explicit Distinct(int64_t most) : left(most) {
        while (mask < 4 * static_cast<uint64_t>(most)) mask = 2 * mask + 1;
        seen.assign(mask + 1, -1);
        found.reserve(static_cast<size_t>(most));
    }

    bool full() const { return left == 0; }

    void add(int64_t number) {
        uint64_t slot = (static_cast<uint64_t>(number) * GOLDEN >> 20) & mask;
        while (seen[slot] >= 0 && seen[slot] != number) slot = (slot + 1) & mask;
        if (seen[slot] == number) return;
        seen[slot] = number;
        found.push_back(number);
        --left;
    }

    std::vector<int64_t> found;

  private:
    int64_t left;
    uint64_t mask = 15;
    std::vector<int64_t> seen;  // open addressing, a quarter full
};

// The keys of a range that exist, rows [first, end), and those about to go, rising.
struct Range {
    const int64_t* keys;
    int64_t first, end;
    const int64_t *gone, *gone_end;
    int64_t low, size;

    int64_t drawn(uint64_t counter) const {
        return static_cast<int64_t>(unit(splitmix(counter)) * static_cast<double>(size)) + low;
    }

    int64_t clamp(double row) const {
        return std::clamp(static_cast<int64_t>(row), first, std::max(first, end - 1));
    }

    bool is_free(int64_t key, int64_t guess) const {
        const int64_t row = first_near(keys, first, end, key, guess);
        return row == end || keys[row] != key || std::binary_search(gone, gone_end, row);
    }

    // The first `need` distinct free keys that are drawn. Rows are guessed as if keys lay evenly,
    // some draws at once, so that memory is asked for before it is needed.
    std::vector<int64_t> draw(int64_t need, uint64_t counter) const {
        constexpr int64_t AT_ONCE = 16;
        const double pace = static_cast<double>(end - first) / static_cast<double>(size);
        int64_t key[AT_ONCE], guess[AT_ONCE];
        Distinct some(need);
        while (!some.full()) {
            for (int64_t i = 0; i < AT_ONCE; ++i) {
                key[i] = drawn(counter += GOLDEN);
                guess[i] = clamp(static_cast<double>(first) + pace * static_cast<double>(key[i] - low));
                __builtin_prefetch(keys + guess[i]);
            }
            for (int64_t i = 0; i < AT_ONCE && first < end; ++i) {
                const auto off = static_cast<double>(key[i] - keys[guess[i]]);
                guess[i] = clamp(static_cast<double>(guess[i]) + pace * off);
                __builtin_prefetch(keys + guess[i]);
            }
            for (int64_t i = 0; i < AT_ONCE && !some.full(); ++i)
                if (is_free(key[i], guess[i])) some.add(key[i]);
        }
        std::sort(some.found.begin(), some.found.end());
        return std::move(some.found);
    }

    // Drawn by number among all `free` ones, of which more are left than are taken, or the other
    // way round.
    std::vector<int64_t> draw_numbers(int64_t need, int64_t free, uint64_t counter) const {
        const bool few = 2 * need <= free;
        Distinct some(few ? need : free - need);
        while (!some.full())
            some.add(static_cast<int64_t>(unit(splitmix(counter += GOLDEN)) *
                                          static_cast<double>(free)));
        std::vector<int64_t> chosen = std::move(some.found);
        std::sort(chosen.begin(), chosen.end());
        if (!few) {
            std::vector<int64_t> others;
            for (int64_t number = 0, i = 0; number < free; ++number)
                if (i < static_cast<int64_t>(chosen.size()) && chosen[i] == number)
                    ++i;
                else
                    others.push_back(number);
            chosen.swap(others);
        }
        int64_t row = first, passed = low;  // the key of number x is x + low + the edges before it
        const int64_t* leaving = gone;
        for (int64_t& number : chosen) {
            for (; row < end; ++row) {
                if (leaving < gone_end && *leaving == row) {
                    ++leaving;
                    continue;
                }
                if (keys[row] > number + passed) break;
                ++passed;
            }
            number += passed;
        }
        return chosen;
    }
};

// want[i] distinct free keys of each range [ends[i], ends[i + 1]), whose rows are [bounds[i],
// bounds[i + 1]), sorted; rows `gone`, rising, count as free. None where there are not as many.
py::object draw_free(const Keys& taken, const std::vector<int64_t>& gone, uint64_t start,
                     const std::vector<int64_t>& ends, const std::vector<int64_t>& bounds,
                     const std::vector<int64_t>& want) {
    std::vector<int64_t> found;
    const int64_t* g = gone.data();
    const int64_t* last = g + gone.size();
    for (size_t i = 0; i < want.size(); ++i) {
        const int64_t need = want[i], held = bounds[i + 1] - bounds[i], size = ends[i + 1] - ends[i];
        const int64_t* g_end = std::lower_bound(g, last, bounds[i + 1]);
        const Range range{taken.data(), bounds[i], bounds[i + 1], g, g_end, ends[i], size};
        const int64_t free = size - held + (g_end - g);
        g = g_end;
        if (need > free) return py::none();
        if (need == 0) continue;
        const uint64_t counter = splitmix(start + i);
        const bool crowded = 2 * free < size || 2 * need > free;
        const auto some = crowded ? range.draw_numbers(need, free, counter)
                                  : range.draw(need, counter);
        found.insert(found.end(), some.begin(), some.end());
    }
    return array_of(found);
}

// sample_absent without multapses or slots.
py::object free_keys(const Keys& taken, const Keys& dropped, uint64_t start,
                     const std::vector<int64_t>& ends, const std::vector<int64_t>& bounds,
                     const std::vector<int64_t>& want) {
    std::vector<int64_t> gone(dropped.data(), dropped.data() + dropped.size());
    if (!std::is_sorted(gone.begin(), gone.end())) std::sort(gone.begin(), gone.end());
    return draw_free(taken, gone, start, ends, bounds, want);
}

// A tick of DEEP R: (weights after the walk, rows below 0, as many free keys of each range, their
// signs as hash_sign gives them). No keys where no row fell, where too few are free, and where no
// ranges are given.
template <class T>
py::tuple walk_and_draw(const Array<T>& weight, const Array<int8_t>& sign,
                        const Array<float>& intervals, uint64_t counter, double drift,
                        double spread, const Keys& keys, const std::vector<int64_t>& ends,
                        const std::vector<int64_t>& bounds, uint64_t start, uint64_t salt,
                        const Keys& turned) {
    std::vector<int64_t> below;
    const Array<T> walked = walk(weight, sign, intervals, counter, drift, spread, below);
    py::object drawn = py::none(), signs = py::none();
    if (!below.empty() && !ends.empty()) {
        std::vector<int64_t> counts(bounds.size() - 1, 0);
        size_t g = 0;
        for (const int64_t row : below) {
            while (row >= bounds[g + 1]) ++g;
            ++counts[g];
        }
        drawn = draw_free(keys, below, start, ends, bounds, counts);
        if (!drawn.is_none())
            signs = hash_sign(py::reinterpret_borrow<Keys>(drawn), salt, turned);
    }
    return py::make_tuple(walked, array_of(below), drawn, signs);
}

// -- the merge of an edit -----------------------------------------------------------------------

template <class T>
bool fill_births(py::array& column, const int64_t* rows, int64_t n, const py::object& birth) {
    if (!py::isinstance<Array<T>>(column)) return false;
    T* out = static_cast<T*>(column.mutable_data());
    if (py::isinstance<py::array>(birth)) {
        if (!py::isinstance<Array<T>>(birth)) return false;
        const auto each = birth.cast<Array<T>>();
        for (int64_t i = 0; i < n; ++i) out[rows[i]] = each.data()[i];
    } else {
        const T value = static_cast<T>(birth.cast<double>());
        for (int64_t i = 0; i < n; ++i) out[rows[i]] = value;
    }
    return true;
}

// Rows that stay, between those dropped and the places of new keys.
struct Run {
    int64_t from, to, count;
};

constexpr size_t VAST = size_t{1} << 24;  // bytes that no cache keeps until the next tick
constexpr size_t LONG = 4096;             // bytes of a run that are worth a way of their own
constexpr int64_t FEW = 4;

// Moves the runs, in rising order, from n numbers to m. A short run is moved as FEW numbers, the
// last of which the next run or a new edge overwrites.
template <class T>
void move_runs(const Run* run, const Run* end, const T* from, int64_t n, T* to, int64_t m) {
    const size_t bytes = static_cast<size_t>(m) * sizeof(T);
    const bool vast = bytes > VAST && bytes > LONG * static_cast<size_t>(end - run);
    for (; run < end; ++run) {
        const T* source = from + run->from;
        T* target = to + run->to;
        if (run->count <= FEW && run->from + FEW <= n && run->to + FEW <= m)
            std::memcpy(target, source, FEW * sizeof(T));
        else if (vast)
            copy_past_caches(reinterpret_cast<char*>(target),
                             reinterpret_cast<const char*>(source), run->count * sizeof(T));
        else
            std::memcpy(target, source, run->count * sizeof(T));
    }
}

template <class T>
void move_column(const Run* run, const Run* end, const py::array& from, py::array& to) {
    move_runs(run, end, static_cast<const T*>(from.data()), from.size(),
              static_cast<T*>(to.mutable_data()), to.size());
}

// Graph.apply: keys and columns without the rows dropped and with the keys added (rising), which
// hold in each column what `births` says: one number, or an array of one each. Only projections
// that allow it, `parallel`, may hold a key several times, in order of birth. Returns (keys,
// columns, rows of the new ones, first row of each projection); None for an edit that is not legal,
// or that only the slow way can judge. Columns of 1, 2, 4 or 8 bytes an edge.
py::object merge(const Keys& keys, const Keys& drop, const Keys& add, const py::list& columns,
                 const py::list& births, const Keys& ends, const std::vector<bool>& parallel) {
    const int64_t possible = ends.data()[ends.size() - 1];
    const int64_t n = keys.size(), d = drop.size(), a = add.size();
    const int64_t* old = keys.data();
    const int64_t* fresh = add.data();
    std::vector<int64_t> gone(drop.data(), drop.data() + d);
    if (!std::is_sorted(gone.begin(), gone.end())) std::sort(gone.begin(), gone.end());
    for (int64_t i = 0; i < d; ++i)
        if (gone[i] < 0 || gone[i] >= n || (i && gone[i] == gone[i - 1])) return py::none();
    for (int64_t i = 0; i < a; ++i)
        if (fresh[i] < 0 || fresh[i] >= possible || (i && fresh[i] < fresh[i - 1]))
            return py::none();
    const auto several = [&](int64_t key) {
        const int64_t* first = ends.data();
        return parallel[std::upper_bound(first, first + ends.size(), key) - first - 1];
    };

    Keys run_memory = make<int64_t>(3 * (d + a + 1));
    const Run* runs = reinterpret_cast<const Run*>(run_memory.data());
    Run* end = reinterpret_cast<Run*>(run_memory.mutable_data());
    Keys born = make<int64_t>(a);
    int64_t* rows = born.mutable_data();
    int64_t from = 0, to = 0, g = 0;
    const auto keep_until = [&](int64_t row) {  // survivors among [from, row)
        while (g < d && gone[g] < row) {
            if (gone[g] > from) {
                *end++ = {from, to, gone[g] - from};
                to += gone[g] - from;
            }
            from = gone[g++] + 1;
        }
        if (row > from) {
            *end++ = {from, to, row - from};
            to += row - from;
            from = row;
        }
    };
    Finder finder(old, n);
    for (int64_t i = 0; i < a; ++i) {
        int64_t place = finder.next(fresh[i]);
        const bool there = place < n && old[place] == fresh[i];
        const bool twice = i && fresh[i] == fresh[i - 1];
        if ((there || twice) && several(fresh[i])) {  // after its elders
            while (place < n && old[place] == fresh[i]) ++place;
        } else if (twice) {
            return py::none();
        } else if (there && !std::binary_search(gone.begin(), gone.end(), place)) {
            return py::none();
        }
        keep_until(place);
        rows[i] = to++;
    }
    keep_until(n);

    const int64_t m = n - d + a;
    Keys merged = make<int64_t>(m);
    int64_t* out = merged.mutable_data();
    move_runs(runs, end, old, n, out, m);
    for (int64_t i = 0; i < a; ++i) out[rows[i]] = fresh[i];
    py::list after;
    for (size_t c = 0; c < columns.size(); ++c) {
        const auto column = py::reinterpret_borrow<py::array>(columns[c]);
        py::array result = make(column.dtype(), m);
        switch (column.itemsize()) {
            case 1: move_column<uint8_t>(runs, end, column, result); break;
            case 2: move_column<uint16_t>(runs, end, column, result); break;
            case 4: move_column<uint32_t>(runs, end, column, result); break;
            default: move_column<uint64_t>(runs, end, column, result);
        }
        if (a && !fill_births<float>(result, rows, a, births[c]) &&
            !fill_births<int8_t>(result, rows, a, births[c]))
            result.attr("__setitem__")(born, births[c]);  // of other types, rare
        after.append(result);
    }
    std::vector<int64_t> bounds;
    for (py::ssize_t i = 0; i < ends.size(); ++i)
        bounds.push_back(std::lower_bound(out, out + m, ends.data()[i]) - out);
    return py::make_tuple(merged, after, born, bounds);
}

// The keys of rows [first, last) less `offset`, without the rows dropped (rising, of all rows).
Keys keys_left(const Keys& keys, const Keys& dropped, int64_t first, int64_t last, int64_t offset) {
    const int64_t* all = dropped.data() + dropped.size();
    const int64_t* gone = std::lower_bound(dropped.data(), all, first);
    const int64_t* gone_end = std::lower_bound(gone, all, last);
    Keys out = make<int64_t>(last - first - (gone_end - gone));
    int64_t* to = out.mutable_data();
    for (; first < last; ++first) {  // up to the next that goes, and past it
        const int64_t until = gone < gone_end ? *gone++ : last;
        for (; first < until; ++first) *to++ = keys.data()[first] - offset;
    }
    return out;
}

// Rows to drop and keys to grow, both rising, without the synapses that are among both.
py::tuple exchange(const Keys& keys, const Keys& drop, const Keys& grow) {
    const int64_t d = drop.size(), g = grow.size();
    std::vector<int64_t> rows, fresh;
    rows.resize(static_cast<size_t>(d) + 1);  // one more: each is written before it is judged
    fresh.resize(static_cast<size_t>(g) + 1);
    int64_t i = 0, j = 0, n = 0, m = 0;
    while (i < d && j < g) {
        const int64_t row = drop.data()[i], gone = keys.data()[row], key = grow.data()[j];
        rows[n] = row;
        fresh[m] = key;
        n += gone < key;
        m += key < gone;
        i += gone <= key;
        j += key <= gone;
    }
    while (i < d) rows[n++] = drop.data()[i++];
    while (j < g) fresh[m++] = grow.data()[j++];
    rows.resize(n);
    fresh.resize(m);
    return py::make_tuple(array_of(rows), array_of(fresh));
}

// The place in its row, of `width` places, of each edge of a projection after an edit, from those
// before it: `index`, of rows `before` on. Rows dropped of the graph before it, and born of the graph
// after it, rising; the projection's rows there are [first, last), its keys begin at `offset`.
Array<int32_t> index_after(const Array<int32_t>& index, int64_t before, const Keys& drop,
                           const Keys& keys, const Keys& born, int64_t first, int64_t last,
                           int64_t offset, int64_t width) {
    const int64_t n = index.size(), m = last - first;
    const auto part = [](const Keys& rows, int64_t lo, int64_t hi) {
        const int64_t* end = rows.data() + rows.size();
        const int64_t* begin = std::lower_bound(rows.data(), end, lo);
        return std::make_pair(begin, std::lower_bound(begin, end, hi));
    };
    auto [gone, gone_end] = part(drop, before, before + n);
    auto [fresh, fresh_end] = part(born, first, last);
    if (n - (gone_end - gone) + (fresh_end - fresh) != m)
        throw py::value_error("index_after: these are not the rows before and after one edit.");
    Array<int32_t> out = make<int32_t>(m);
    const int32_t* from = index.data();
    int32_t* to = out.mutable_data();
    for (int64_t i = 0, j = 0; j < m;) {
        while (gone < gone_end && *gone - before == i) ++gone, ++i;
        if (fresh < fresh_end && *fresh - first == j) {
            to[j++] = static_cast<int32_t>((keys.data()[*fresh++] - offset) % width);
            continue;
        }
        const int64_t stay = (gone < gone_end ? *gone - before : n) - i;
        const int64_t many = std::min(stay, (fresh < fresh_end ? *fresh - first : m) - j);
        std::memcpy(to + j, from + i, many * sizeof(int32_t));
        i += many, j += many;
    }
    return out;
}

// The first row of each key, and whether it is there.
py::tuple find(const Keys& keys, const Keys& asked) {
    const int64_t n = keys.size(), k = asked.size();
    Keys rows = make<int64_t>(k);
    Array<bool> there = make<bool>(k);
    int64_t* row = rows.mutable_data();
    bool* found = there.mutable_data();
    const int64_t* key = asked.data();
    Finder finder(keys.data(), n);
    for (int64_t i = 0; i < k; ++i) {
        if (i && key[i] < key[i - 1]) finder = Finder(keys.data(), n);  // not rising
        const int64_t at = finder.next(key[i]);
        found[i] = at < n && keys.data()[at] == key[i];
        row[i] = std::min(at, std::max<int64_t>(n - 1, 0));
    }
    return py::make_tuple(rows, there);
}

// -- single numbers of several tensors ----------------------------------------------------------

// Tensors without gaps, one for each projection, as addresses of their numbers; all in double
// precision, or all in single.
using Addresses = std::vector<uintptr_t>;

// How the numbers of each tensor lie, as (inputs, places of a kernel): (1, 1) as keys count them;
// else channels last, where that of (out, in, place) comes right after (out, in - 1, place). Empty
// where all lie as keys count them.
using Layouts = std::vector<std::pair<int64_t, int64_t>>;

int64_t channels_last(int64_t local, int64_t inputs, int64_t places) {
    const int64_t filter = local / places, place = local - filter * places;
    const int64_t out = filter / inputs;
    return (out * places + place) * inputs + filter - out * inputs;
}

// Calls f(numbers so shifted that places of keys index them, the place of a key, first row, one
// past the last row, which) for each.
template <class T, class F>
void by_projection(const Addresses& tensors, const Layouts& layouts, const Keys& ends,
                   const Keys& keys, F f) {
    const int64_t* first = keys.data();
    const int64_t* last = first + keys.size();
    const int64_t* lower = first;
    for (size_t i = 0; i < tensors.size(); ++i) {
        const int64_t begin = ends.data()[i];
        const int64_t* upper = std::lower_bound(lower, last, ends.data()[i + 1]);
        T* numbers = reinterpret_cast<T*>(tensors[i]) - begin;
        const auto [inputs, places] = layouts.empty() ? Layouts::value_type{1, 1} : layouts[i];
        if (inputs == 1 && places == 1)
            f(numbers, [](int64_t key) { return key; }, lower - first, upper - first, i);
        else
            f(numbers,
              [=, n = inputs, m = places](int64_t key) {
                  return begin + channels_last(key - begin, n, m);
              },
              lower - first, upper - first, i);
        lower = upper;
    }
}

// The numbers at rising keys.
template <class T>
Array<T> gather(const Addresses& tensors, const Layouts& layouts, const Keys& ends,
                const Keys& keys) {
    Array<T> out = make<T>(keys.size());
    const int64_t* key = keys.data();
    T* to = out.mutable_data();
    by_projection<T>(tensors, layouts, ends, keys,
                     [=](const T* from, auto at, int64_t lo, int64_t hi, size_t) {
                         for (int64_t i = lo; i < hi; ++i) to[i] = from[at(key[i])];
                     });
    return out;
}

// The numbers at rising keys of two lists of tensors that lie alike, into arrays that may be longer.
template <class T>
void gather_pair(const Addresses& tensors, const Addresses& others, const Layouts& layouts,
                 const Keys& ends, const Keys& keys, Array<T>& first, Array<T>& second) {
    const int64_t* key = keys.data();
    T* a = first.mutable_data();
    T* b = second.mutable_data();
    by_projection<T>(tensors, layouts, ends, keys,
                     [=, &others](const T* from, auto at, int64_t lo, int64_t hi, size_t i) {
                         const T* other = reinterpret_cast<const T*>(others[i]) - ends.data()[i];
                         for (int64_t j = lo; j < hi; ++j) {
                             const int64_t place = at(key[j]);
                             a[j] = from[place];
                             b[j] = other[place];
                         }
                     });
}

// Writes one number each at rising keys.
template <class T>
void scatter(const Addresses& tensors, const Layouts& layouts, const Keys& ends, const Keys& keys,
             const Array<T>& values) {
    const int64_t* key = keys.data();
    const T* from = values.data();
    by_projection<T>(tensors, layouts, ends, keys,
                     [=](T* to, auto at, int64_t lo, int64_t hi, size_t) {
                         for (int64_t i = lo; i < hi; ++i) to[at(key[i])] = from[i];
                     });
}

// Writes the same number at rising keys.
template <class T>
void fill(const Addresses& tensors, const Layouts& layouts, const Keys& ends, const Keys& keys,
          T value) {
    const int64_t* key = keys.data();
    by_projection<T>(tensors, layouts, ends, keys,
                     [=](T* to, auto at, int64_t lo, int64_t hi, size_t) {
                         for (int64_t i = lo; i < hi; ++i) to[at(key[i])] = value;
                     });
}

// Clears, in tensors, one for each projection, what boolean masks that lie as they do leave out. It
// selects: a product would leave NaN where there was an infinite number.
WIDE void mask_one(float* values, const uint8_t* mask, int64_t n) {
    for (int64_t i = 0; i < n; ++i) values[i] = mask[i] ? values[i] : 0.0f;
}

WIDE void mask_one(double* values, const uint8_t* mask, int64_t n) {
    for (int64_t i = 0; i < n; ++i) values[i] = mask[i] ? values[i] : 0.0;
}

template <class T>
void mask(const Addresses& tensors, const Addresses& masks, const std::vector<int64_t>& sizes) {
    for (size_t i = 0; i < tensors.size(); ++i)
        mask_one(reinterpret_cast<T*>(tensors[i]), reinterpret_cast<const uint8_t*>(masks[i]),
                 sizes[i]);
}

// What an edit does to weights and masks: 0 at the rows dropped of the keys before it, then 1 and the
// weight after it at the rows born of the keys after it; `whole` writes the weights at all rows.
template <class T>
void replace(const Addresses& weights, const Addresses& masks, const Layouts& layouts,
             const Keys& ends, const Keys& before, const Keys& drop, const Keys& after,
             const Keys& born, const Array<T>& weight, bool whole) {
    const int64_t* first = ends.data();
    const int64_t* last = first + ends.size();
    const auto write = [&](int64_t key, T value, uint8_t mask) {
        const size_t i = std::upper_bound(first, last, key) - first - 1;
        int64_t at = key - first[i];
        if (!layouts.empty()) at = channels_last(at, layouts[i].first, layouts[i].second);
        reinterpret_cast<T*>(weights[i])[at] = value;
        reinterpret_cast<uint8_t*>(masks[i])[at] = mask;
    };
    for (py::ssize_t i = 0; i < drop.size(); ++i) write(before.data()[drop.data()[i]], 0, 0);
    for (py::ssize_t i = 0; i < born.size(); ++i) {
        const int64_t row = born.data()[i];
        write(after.data()[row], weight.data()[row], 1);
    }
    if (whole) scatter<T>(weights, layouts, ends, after, weight);
}

// Sets every number to 0 but those at the rising keys.
template <class T>
void keep_only(const Addresses& tensors, const Layouts& layouts, const Keys& ends,
               const Keys& keys) {
    const int64_t* key = keys.data();
    const int64_t* end = ends.data();
    std::vector<T> kept(keys.size());
    T* held = kept.data();
    by_projection<T>(tensors, layouts, ends, keys,
                     [=](T* values, auto at, int64_t lo, int64_t hi, size_t p) {
                         for (int64_t i = lo; i < hi; ++i) held[i] = values[at(key[i])];
                         std::memset(values + end[p], 0, (end[p + 1] - end[p]) * sizeof(T));
                         for (int64_t i = lo; i < hi; ++i) values[at(key[i])] = held[i];
                     });
}

template <class T>
void add_tensor_kernels(py::module_& m, const std::string& type) {
    m.def(("gather_" + type).c_str(), &gather<T>);
    m.def(("gather_pair_" + type).c_str(), &gather_pair<T>, py::arg("tensors"), py::arg("others"),
          py::arg("layouts"), py::arg("ends"), py::arg("keys"), py::arg("first").noconvert(),
          py::arg("second").noconvert());
    m.def(("scatter_" + type).c_str(), &scatter<T>);
    m.def(("fill_" + type).c_str(), &fill<T>);
    m.def(("mask_" + type).c_str(), &mask<T>);
    m.def(("replace_" + type).c_str(), &replace<T>);
    m.def(("keep_only_" + type).c_str(), &keep_only<T>);
}

// -- examples -----------------------------------------------------------------------------------

// to[i] = table[from[i]]; eight at once where they are background.
inline void look_up(const uint8_t* from, const float* table, int64_t n, float* to) {
    constexpr int64_t AT_ONCE = 8;
    int64_t i = 0;
    for (; i + AT_ONCE <= n; i += AT_ONCE) {
        uint64_t some;
        std::memcpy(&some, from + i, sizeof some);
        if (some == 0)
            std::fill_n(to + i, AT_ONCE, table[0]);
        else
            for (int64_t j = i; j < i + AT_ONCE; ++j) to[j] = table[from[j]];
    }
    for (; i < n; ++i) to[i] = table[from[i]];
}

// Rows of pixels (N, channels, area) as numbers: table[c][p] for pixel p of channel c, table
// (channels, 256), written into `into` (rows, channels, area).
void examples(const Array<uint8_t>& pixels, const Keys& rows, const Array<float>& table,
              Array<float>& into) {
    const int64_t held = pixels.shape(0), channels = table.shape(0);
    const int64_t area = pixels.size() / std::max<int64_t>(held * channels, 1);
    float* to = into.mutable_data();
    for (int64_t i = 0; i < rows.size(); ++i) {
        const int64_t row = rows.data()[i];
        if (row < 0 || row >= held)
            throw py::index_error("there is no example " + std::to_string(row) + ", only " +
                                  std::to_string(held) + ".");
        const uint8_t* from = pixels.data() + row * channels * area;
        for (int64_t c = 0; c < channels; ++c, from += area, to += area)
            look_up(from, table.data() + 256 * c, area, to);
    }
}

// The generation of this processor: 4 and 3 as x86-64-v4 and -v3 name it, else 0.
int generation() {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    const bool third = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                       __builtin_cpu_supports("bmi2");
    const bool fourth = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
    return third ? (fourth ? 4 : 3) : 0;
#else
    return 0;
#endif
}

}  // namespace

PYBIND11_MODULE(_kernels, m) {
    m.def("generation", &generation);
    m.def("walk_and_draw", &walk_and_draw<float>, py::arg("weight").noconvert(),
          py::arg("sign").noconvert(), py::arg("intervals"), py::arg("counter"), py::arg("drift"),
          py::arg("spread"), py::arg("keys"), py::arg("ends"), py::arg("bounds"), py::arg("start"),
          py::arg("salt"), py::arg("turned"));
    m.def("walk_and_draw", &walk_and_draw<double>, py::arg("weight").noconvert(),
          py::arg("sign").noconvert(), py::arg("intervals"), py::arg("counter"), py::arg("drift"),
          py::arg("spread"), py::arg("keys"), py::arg("ends"), py::arg("bounds"), py::arg("start"),
          py::arg("salt"), py::arg("turned"));
    m.def("first_of", &first_of<float, uint32_t>, py::arg("values").noconvert(), py::arg("low"),
          py::arg("high"), py::arg("counts"), py::arg("order"), py::arg("taken"));
    m.def("first_of", &first_of<double, uint64_t>, py::arg("values").noconvert(), py::arg("low"),
          py::arg("high"), py::arg("counts"), py::arg("order"), py::arg("taken"));
    m.def("normal", &normal);
    m.def("doubles", &doubles);
    m.def("free_keys", &free_keys);
    m.def("merge", &merge);
    m.def("keys_left", &keys_left);
    m.def("exchange", &exchange);
    m.def("index_after", &index_after, py::arg("index").noconvert(), py::arg("before"),
          py::arg("drop"), py::arg("keys"), py::arg("born"), py::arg("first"), py::arg("last"),
          py::arg("offset"), py::arg("width"));
    m.def("find", &find);
    add_tensor_kernels<float>(m, "float32");
    add_tensor_kernels<double>(m, "float64");
    m.def("hash_sign", &hash_sign);
    m.def("paths_of_three", &paths_of_three);
    m.def("trade_rows", &trade_rows);
    m.def("examples", &examples, py::arg("pixels").noconvert(), py::arg("rows"),
          py::arg("table").noconvert(), py::arg("into").noconvert());
    add_slots(m);
    add_queue(m);
}
