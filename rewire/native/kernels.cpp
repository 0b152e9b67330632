// Kernels of a rewiring tick: each does in one pass what numpy does in several, and gives the same
// numbers. Arrays are contiguous; whoever calls has checked shapes and ranges.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "queue.hpp"
#include "slots.hpp"

// Compiled for several generations of processors, chosen as the module is loaded.
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif

namespace py = pybind11;
using Keys = py::array_t<int64_t, py::array::c_style>;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

template <class T>
py::array_t<T> array_of(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

// -- random numbers ---------------------------------------------------------------------------

uint64_t splitmix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

// Stream.normal: two numbers from each 64 bits, by inversion in equally likely intervals.
Array<float> normal(int64_t n, uint64_t start, const Array<float>& starts,
                    const Array<float>& widths) {
    Array<float> out(n);
    float* to = out.mutable_data();
    const float* a = starts.data();
    const float* b = widths.data();
    const auto number = [=](uint32_t half) {
        const uint32_t interval = half >> 20;
        if (interval != 0 && interval != 4095)
            return a[interval] + static_cast<float>(half & 0xFFFFF) * 0x1p-20f * b[interval];
        const uint32_t within = 4096 + ((half >> 8) & 0xFFF);
        const float low = a[within] + static_cast<float>(half & 0xFF) * 0x1p-8f * b[within];
        return interval == 0 ? low : -low;
    };
    for (int64_t i = 0; i < n; i += 2) {
        const uint64_t bits = splitmix(start += 0x9E3779B97F4A7C15ull);
        to[i] = number(static_cast<uint32_t>(bits));
        if (i + 1 < n) to[i + 1] = number(static_cast<uint32_t>(bits >> 32));
    }
    return out;
}

// -- DEEP R's walk ------------------------------------------------------------------------------

// theta = sign * weight - drift + spread * noise: the weights that it gives, the rows below 0, and
// how many of them fall between each two of the bounds.
template <class T>
py::tuple walk(const Array<T>& weight, const Array<float>& sign, const py::object& noise,
               double drift, double spread, const std::vector<int64_t>& bounds) {
    const py::ssize_t n = weight.size();
    Array<T> moved(n);
    const T* w = weight.data();
    const float* s = sign.data();
    T* out = moved.mutable_data();
    const T down = static_cast<T>(drift);
    std::vector<int64_t> below;
    if (noise.is_none()) {
        for (py::ssize_t i = 0; i < n; ++i) out[i] = static_cast<T>(s[i]) * w[i] - down;
    } else {
        const auto held = noise.cast<Array<float>>();
        const float* x = held.data();
        const float wide = static_cast<float>(spread);
        for (py::ssize_t i = 0; i < n; ++i) {
            const float kick = x[i] * wide;
            out[i] = (static_cast<T>(s[i]) * w[i] - down) + static_cast<T>(kick);
        }
    }
    // few fall below 0: blocks where none does are passed over
    for (py::ssize_t start = 0; start < n; start += 64) {
        const py::ssize_t end = std::min<py::ssize_t>(start + 64, n);
        int any = 0;
        for (py::ssize_t i = start; i < end; ++i) any |= out[i] < 0;
        if (any)
            for (py::ssize_t i = start; i < end; ++i)
                if (out[i] < 0) below.push_back(i);
    }
    for (py::ssize_t i = 0; i < n; ++i) out[i] *= static_cast<T>(s[i]);
    std::vector<int64_t> counts(bounds.size() - 1, 0);
    size_t g = 0;
    for (const int64_t row : below) {
        while (row >= bounds[g + 1]) ++g;
        ++counts[g];
    }
    return py::make_tuple(moved, array_of(below), counts);
}

// -- growth by rejection ------------------------------------------------------------------------

// In order of drawing, the first want[g] distinct free keys of each range [ends[g], ends[g + 1]),
// sorted; None where the draws u (tries[g] of each range) did not suffice.
py::object first_free(const Keys& taken, const Keys& dropped, const Array<double>& u,
                      const std::vector<int64_t>& ends, const std::vector<int64_t>& want,
                      const std::vector<int64_t>& tries) {
    const int64_t* keys = taken.data();
    const int64_t* end = keys + taken.size();
    std::vector<int64_t> gone(dropped.data(), dropped.data() + dropped.size());
    if (!std::is_sorted(gone.begin(), gone.end())) std::sort(gone.begin(), gone.end());
    const double* draw = u.data();
    std::vector<int64_t> found;
    for (size_t g = 0; g < want.size(); ++g) {
        const double* last = draw + tries[g];
        const double size = static_cast<double>(ends[g + 1] - ends[g]);
        const size_t base = found.size();
        size_t need = static_cast<size_t>(want[g]);
        std::vector<int64_t> seen;  // open addressing, a quarter full
        uint64_t mask = 15;
        while (mask < 4 * need) mask = 2 * mask + 1;
        seen.assign(need ? mask + 1 : 0, -1);
        for (; draw < last && found.size() - base < need; ++draw) {
            const int64_t key = static_cast<int64_t>(*draw * size) + ends[g];
            const int64_t* at = std::lower_bound(keys, end, key);
            if (at < end && *at == key &&
                !std::binary_search(gone.begin(), gone.end(), at - keys))
                continue;
            uint64_t slot = (static_cast<uint64_t>(key) * 0x9E3779B97F4A7C15ull >> 20) & mask;
            while (seen[slot] >= 0 && seen[slot] != key) slot = (slot + 1) & mask;
            if (seen[slot] == key) continue;
            seen[slot] = key;
            found.push_back(key);
        }
        if (found.size() - base < need) return py::none();
        draw = last;
        std::sort(found.begin() + base, found.end());
    }
    return array_of(found);
}

// -- the merge of an edit -----------------------------------------------------------------------

// The first place in [from, n) of a number that is at least `key`; cheap where it is near.
int64_t first_from(const int64_t* keys, int64_t from, int64_t n, int64_t key) {
    int64_t reach = 1;
    while (from + reach < n && keys[from + reach] < key) reach *= 2;
    const int64_t end = std::min(from + reach + 1, n);
    return std::lower_bound(keys + from + reach / 2, keys + end, key) - keys;
}

template <class T>
bool fill_births(py::array& column, const int64_t* rows, int64_t n, const py::object& birth) {
    if (!py::isinstance<Array<T>>(column)) return false;
    T* out = static_cast<T*>(column.mutable_data());
    if (py::isinstance<py::array>(birth)) {
        const auto each = birth.cast<Array<T>>();
        for (int64_t i = 0; i < n; ++i) out[rows[i]] = each.data()[i];
    } else {
        const T value = birth.cast<T>();
        for (int64_t i = 0; i < n; ++i) out[rows[i]] = value;
    }
    return true;
}

// Graph.apply: keys and columns without the rows dropped and with the keys added (rising), which
// hold in each column what `births` says: one number, or an array of one each. Returns (keys,
// columns, rows of the new ones); None for an edit that is not legal, or that only the slow way can
// judge. Columns of 1, 2, 4 or 8 bytes an edge.
py::object merge(const Keys& keys, const Keys& drop, const Keys& add, const py::list& columns,
                 const py::list& births, int64_t possible) {
    const int64_t n = keys.size(), d = drop.size(), a = add.size();
    const int64_t* old = keys.data();
    const int64_t* fresh = add.data();
    std::vector<int64_t> gone(drop.data(), drop.data() + d);
    if (!std::is_sorted(gone.begin(), gone.end())) std::sort(gone.begin(), gone.end());
    for (int64_t i = 0; i < d; ++i)
        if (gone[i] < 0 || gone[i] >= n || (i && gone[i] == gone[i - 1])) return py::none();
    for (int64_t i = 0; i < a; ++i)
        if (fresh[i] < 0 || fresh[i] >= possible || (i && fresh[i] <= fresh[i - 1]))
            return py::none();

    // runs of survivors between the rows dropped and the places of new keys: (from, to, count)
    struct Run {
        int64_t from, to, count;
    };
    std::vector<Run> runs;
    runs.reserve(d + a + 1);
    Keys born(a);
    int64_t* rows = born.mutable_data();
    int64_t from = 0, to = 0, g = 0;
    const auto keep_until = [&](int64_t row) {  // survivors among [from, row)
        while (g < d && gone[g] < row) {
            if (gone[g] > from) {
                runs.push_back({from, to, gone[g] - from});
                to += gone[g] - from;
            }
            from = gone[g++] + 1;
        }
        if (row > from) {
            runs.push_back({from, to, row - from});
            to += row - from;
            from = row;
        }
    };
    for (int64_t i = 0; i < a; ++i) {
        const int64_t place = first_from(old, std::min(from, n), n, fresh[i]);
        keep_until(place);
        if (place < n && old[place] == fresh[i]) {
            if (!(g < d && gone[g] == place) || (place + 1 < n && old[place + 1] == fresh[i]))
                return py::none();  // there already, or one of several parallel ones
        }
        rows[i] = to++;
    }
    keep_until(n);

    const int64_t m = n - d + a;
    const auto moved = [&](const char* source, char* target, size_t width) {
        for (const Run& r : runs)
            std::memcpy(target + r.to * width, source + r.from * width, r.count * width);
    };
    Keys merged(m);
    int64_t* out = merged.mutable_data();
    moved(reinterpret_cast<const char*>(old), reinterpret_cast<char*>(out), sizeof(int64_t));
    for (int64_t i = 0; i < a; ++i) out[rows[i]] = fresh[i];
    py::list after;
    for (size_t c = 0; c < columns.size(); ++c) {
        const auto column = py::reinterpret_borrow<py::array>(columns[c]);
        py::array result(column.dtype(), std::vector<py::ssize_t>{m});
        moved(static_cast<const char*>(column.data()), static_cast<char*>(result.mutable_data()),
              column.itemsize());
        if (a && !fill_births<float>(result, rows, a, births[c]))
            result.attr("__setitem__")(born, births[c]);  // of other types, rare
        after.append(result);
    }
    return py::make_tuple(merged, after, born);
}

// -- single numbers of several tensors ----------------------------------------------------------

// Contiguous tensors, one for each projection, as addresses of their numbers; all in double
// precision, or all in single.
using Addresses = std::vector<uintptr_t>;

// Calls f(numbers so shifted that keys index them, first row, one past the last row) for each.
template <class T, class F>
void by_projection(const Addresses& tensors, const Keys& ends, const Keys& keys, F f) {
    const int64_t* first = keys.data();
    const int64_t* last = first + keys.size();
    const int64_t* lower = first;
    for (size_t i = 0; i < tensors.size(); ++i) {
        const int64_t* upper = std::lower_bound(lower, last, ends.data()[i + 1]);
        f(reinterpret_cast<T*>(tensors[i]) - ends.data()[i], lower - first, upper - first, i);
        lower = upper;
    }
}

// The numbers at rising keys.
template <class T>
Array<T> gather(const Addresses& tensors, const Keys& ends, const Keys& keys) {
    Array<T> out(keys.size());
    const int64_t* key = keys.data();
    T* to = out.mutable_data();
    by_projection<T>(tensors, ends, keys, [=](const T* from, int64_t lo, int64_t hi, size_t) {
        for (int64_t i = lo; i < hi; ++i) to[i] = from[key[i]];
    });
    return out;
}

// Writes one number each at rising keys.
template <class T>
void scatter(const Addresses& tensors, const Keys& ends, const Keys& keys,
             const Array<T>& values) {
    const int64_t* key = keys.data();
    const T* from = values.data();
    by_projection<T>(tensors, ends, keys, [=](T* to, int64_t lo, int64_t hi, size_t) {
        for (int64_t i = lo; i < hi; ++i) to[key[i]] = from[i];
    });
}

// Writes the same number at rising keys.
template <class T>
void fill(const Addresses& tensors, const Keys& ends, const Keys& keys, T value) {
    const int64_t* key = keys.data();
    by_projection<T>(tensors, ends, keys, [=](T* to, int64_t lo, int64_t hi, size_t) {
        for (int64_t i = lo; i < hi; ++i) to[key[i]] = value;
    });
}

// Multiplies contiguous tensors, one for each projection, by their boolean masks.
WIDE void mask_one(float* values, const uint8_t* mask, int64_t n) {
    for (int64_t i = 0; i < n; ++i) values[i] *= static_cast<float>(mask[i]);
}

WIDE void mask_one(double* values, const uint8_t* mask, int64_t n) {
    for (int64_t i = 0; i < n; ++i) values[i] *= static_cast<double>(mask[i]);
}

template <class T>
void mask(const Addresses& tensors, const Addresses& masks, const std::vector<int64_t>& sizes) {
    for (size_t i = 0; i < tensors.size(); ++i)
        mask_one(reinterpret_cast<T*>(tensors[i]), reinterpret_cast<const uint8_t*>(masks[i]),
                 sizes[i]);
}

// What an edit does to weights and masks: 0 at the rows dropped of the keys before it, then the
// weight after it and 1 at the rows born of the keys after it.
template <class T>
void replace(const Addresses& weights, const Addresses& masks, const Keys& ends, const Keys& before,
             const Keys& drop, const Keys& after, const Keys& born, const Array<T>& weight) {
    const int64_t* first = ends.data();
    const int64_t* last = first + ends.size();
    const auto write = [&](int64_t key, T value, uint8_t mask) {
        const size_t i = std::upper_bound(first, last, key) - first - 1;
        reinterpret_cast<T*>(weights[i])[key - first[i]] = value;
        reinterpret_cast<uint8_t*>(masks[i])[key - first[i]] = mask;
    };
    for (py::ssize_t i = 0; i < drop.size(); ++i) write(before.data()[drop.data()[i]], 0, 0);
    for (py::ssize_t i = 0; i < born.size(); ++i) {
        const int64_t row = born.data()[i];
        write(after.data()[row], weight.data()[row], 1);
    }
}

// Sets every number to 0 but those at the rising keys.
template <class T>
void keep_only(const Addresses& tensors, const Keys& ends, const Keys& keys) {
    const int64_t* key = keys.data();
    const int64_t* end = ends.data();
    std::vector<T> kept(keys.size());
    T* held = kept.data();
    by_projection<T>(tensors, ends, keys, [=](T* values, int64_t lo, int64_t hi, size_t p) {
        for (int64_t i = lo; i < hi; ++i) held[i] = values[key[i]];
        std::memset(values + end[p], 0, (end[p + 1] - end[p]) * sizeof(T));
        for (int64_t i = lo; i < hi; ++i) values[key[i]] = held[i];
    });
}

template <class T>
void add_tensor_kernels(py::module_& m, const std::string& type) {
    m.def(("gather_" + type).c_str(), &gather<T>);
    m.def(("scatter_" + type).c_str(), &scatter<T>);
    m.def(("fill_" + type).c_str(), &fill<T>);
    m.def(("mask_" + type).c_str(), &mask<T>);
    m.def(("replace_" + type).c_str(), &replace<T>);
    m.def(("keep_only_" + type).c_str(), &keep_only<T>);
}

// -- the hash of a synapse ----------------------------------------------------------------------

// One bit of splitmix64 of (key + salt), as +1 or -1; the other sign for the rising keys `turned`.
Array<float> hash_sign(const Keys& keys, uint64_t salt, const Keys& turned) {
    const int64_t n = keys.size();
    const int64_t* key = keys.data();
    const int64_t* other = turned.data();
    Array<float> out(n);
    float* sign = out.mutable_data();
    for (int64_t i = 0; i < n; ++i) {
        const uint64_t z = splitmix(static_cast<uint64_t>(key[i]) + salt);
        sign[i] = (z >> 41) & 1 ? 1.0f : -1.0f;
        if (std::binary_search(other, other + turned.size(), key[i])) sign[i] = -sign[i];
    }
    return out;
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
    m.def("walk", &walk<float>, py::arg("weight").noconvert(), py::arg("sign").noconvert(),
          py::arg("noise"), py::arg("drift"), py::arg("spread"), py::arg("bounds"));
    m.def("walk", &walk<double>, py::arg("weight").noconvert(), py::arg("sign").noconvert(),
          py::arg("noise"), py::arg("drift"), py::arg("spread"), py::arg("bounds"));
    m.def("normal", &normal);
    m.def("first_free", &first_free);
    m.def("merge", &merge);
    add_tensor_kernels<float>(m, "float32");
    add_tensor_kernels<double>(m, "float64");
    m.def("hash_sign", &hash_sign);
    m.def("screen", &slots::screen);
    m.def("accepted", &slots::accepted);
    m.def("draw_spiking", &slots::draw_spiking);
    m.def("shifted", &slots::shifted);
    m.def("fill_slots", &slots::fill_slots);
    add_queue(m);
}
