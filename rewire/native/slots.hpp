// Slots of units: attempts of structural plasticity on them, of which most are over at the first
// look, and the book-keeping of an edit.

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <tuple>
#include <vector>

namespace py = pybind11;

namespace slots {

using Longs = py::array_t<int64_t, py::array::c_style>;
using Doubles = py::array_t<double, py::array::c_style>;

// Of one tick's attempts, place (ticks, 2, n) and luck (ticks, 3, n): those on an empty slot, and
// (attempt, projection, row) of those on a full one that the first number leaves a chance.
// starts (P, units + 1): the row where each unit's edges of each projection begin.
inline py::tuple screen(const Longs& starts, const Longs& place, const Doubles& luck, int64_t at,
                        double likely) {
    const int64_t n = place.shape(2), projections = starts.shape(0), width = starts.shape(1);
    const int64_t* unit = place.data() + 2 * n * at;
    const int64_t* slot = unit + n;
    const double* chance = luck.data() + 3 * n * at;
    std::vector<int64_t> empty;
    std::vector<std::tuple<int64_t, int64_t, int64_t>> full;
    for (int64_t k = 0; k < n; ++k) {
        const int64_t* first = starts.data() + unit[k];
        int64_t number = slot[k], p = 0;
        for (; p < projections; ++p, first += width) {
            const int64_t held = first[1] - first[0];
            if (number < held) break;
            number -= held;
        }
        if (p == projections)
            empty.push_back(k);
        else if (chance[k] < likely)
            full.emplace_back(k, p, first[0] + number);
    }
    return py::make_tuple(empty, full);
}

// (attempt, projection, presynaptic unit) of the partners that form a synapse. Partners are numbers
// over the sources of all projections in a row, which end at `ends`; here and there: places on the
// torus of side 1; falls: -1 / (2 sigma^2), 0 where units have no place.
inline py::list accepted(const Longs& place, const Doubles& luck, int64_t at,
                         const std::vector<int64_t>& tried, const std::vector<int64_t>& partner,
                         const std::vector<int64_t>& ends, const std::vector<double>& scale,
                         const std::vector<double>& falls, const Doubles& here,
                         const Doubles& there) {
    const int64_t n = place.shape(2);
    const int64_t* unit = place.data() + 2 * n * at;
    const double* chance = luck.data() + 3 * n * at;
    const auto apart = [](double a, double b) {
        return 0.5 - std::fabs(std::fabs(a - b) - 0.5);
    };
    py::list out;
    for (size_t i = 0; i < partner.size(); ++i) {
        const int64_t k = tried[i];
        size_t p = 0;
        while (partner[i] >= ends[p]) ++p;
        double probability = scale[p];
        if (falls[p] != 0) {
            const double* a = here.data() + 2 * partner[i];
            const double* b = there.data() + 2 * unit[k];
            const double dx = apart(a[0], b[0]), dy = apart(a[1], b[1]);
            probability = scale[p] * std::exp((dx * dx + dy * dy) * falls[p]);
        }
        if (chance[k] < probability)
            out.append(py::make_tuple(k, p, partner[i] - (p ? ends[p - 1] : 0)));
    }
    return out;
}

// For each number in [0, 1) one of the neurons that spike, numbered over the ranges in a row; nothing
// where none does. spiking: ascending.
inline std::vector<int64_t> draw_spiking(
    const py::array_t<int32_t, py::array::c_style>& spiking,
    const std::vector<std::pair<int64_t, int64_t>>& ranges, const std::vector<double>& u) {
    const int32_t* end = spiking.data() + spiking.size();
    std::vector<int64_t> units, out;
    int64_t first = 0;
    for (const auto& [start, stop] : ranges) {
        for (auto at = std::lower_bound(spiking.data(), end, start); at < end && *at < stop; ++at)
            units.push_back(*at - start + first);
        first += stop - start;
    }
    if (!units.empty())
        for (const double x : u)
            out.push_back(units[static_cast<int64_t>(x * static_cast<double>(units.size()))]);
    return out;
}

// Where each unit's edges begin after an edit: starts as in `screen`, firsts the first key of each
// unit likewise; rows dropped and keys added, both rising.
inline Longs shifted(const Longs& starts, const Longs& firsts, const Longs& drop,
                     const Longs& add) {
    Longs out({starts.shape(0), starts.shape(1)});
    const int64_t* gone = drop.data();
    const int64_t* fresh = add.data();
    int64_t* to = out.mutable_data();
    for (py::ssize_t p = 0; p < starts.shape(0); ++p) {
        const int64_t* old = starts.data() + p * starts.shape(1);
        const int64_t* key = firsts.data() + p * starts.shape(1);
        int64_t g = 0, f = 0;
        for (py::ssize_t u = 0; u < starts.shape(1); ++u) {
            while (g < drop.size() && gone[g] < old[u]) ++g;
            while (f < add.size() && fresh[f] < key[u]) ++f;
            *to++ = old[u] - g + f;
        }
    }
    return out;
}

// A column after an edit: without the rows dropped, with `birth` at the rows born; both rising.
template <class T>
py::array_t<T> spliced(const py::array_t<T, py::array::c_style>& column, const Longs& drop,
                       const Longs& born, T birth) {
    py::array_t<T> out(column.size() - drop.size() + born.size());
    const T* from = column.data();
    const T* end = from + column.size();
    T* to = out.mutable_data();
    T* const first = to;
    const int64_t* gone = drop.data();
    const int64_t* last = gone + drop.size();
    const auto keep = [&](int64_t many) {  // that many survivors
        while (many > 0) {
            const T* stop = gone < last ? column.data() + *gone : end;
            const int64_t run = std::min<int64_t>(many, stop - from);
            to = std::copy(from, from + run, to);
            from += run;
            many -= run;
            while (gone < last && from == column.data() + *gone) ++from, ++gone;
        }
    };
    while (gone < last && from == column.data() + *gone) ++from, ++gone;
    for (py::ssize_t i = 0; i < born.size(); ++i) {
        keep(born.data()[i] - (to - first));
        *to++ = birth;
    }
    keep(out.size() - (to - first));
    return out;
}

// The place in its row, of `width` places, of each edge of one projection whose keys begin at
// `first`: starts (rows + 1,) says where the edges of each row begin and end.
inline py::array_t<int32_t> columns(const Longs& keys, const Longs& starts, int64_t first,
                                    int64_t width) {
    const int64_t* start = starts.data();
    const int64_t rows = starts.size() - 1;
    py::array_t<int32_t> out(start[rows] - start[0]);
    int32_t* to = out.mutable_data() - start[0];
    const int64_t* key = keys.data();
    for (int64_t r = 0; r < rows; ++r) {
        const int64_t base = first + r * width;
        for (int64_t e = start[r]; e < start[r + 1]; ++e) to[e] = static_cast<int32_t>(key[e] - base);
    }
    return out;
}

// Gives each newborn row the lowest free slot of its unit, in the order of the unit's incoming
// edges. Returns the first unit that holds more edges than it has slots, else -1.
inline int64_t fill_slots(const Longs& starts, const std::vector<int64_t>& born, Longs slot,
                          int64_t slots) {
    const int64_t projections = starts.shape(0), width = starts.shape(1);
    int64_t* held = slot.mutable_data();
    const auto fresh = [&](int64_t row) {
        return std::binary_search(born.begin(), born.end(), row);
    };
    std::vector<int64_t> units;
    for (const int64_t row : born)
        for (int64_t p = 0; p < projections; ++p) {
            const int64_t* first = starts.data() + p * width;
            if (row >= first[0] && row < first[width - 1])
                units.push_back(std::upper_bound(first, first + width, row) - first - 1);
        }
    std::sort(units.begin(), units.end());
    units.erase(std::unique(units.begin(), units.end()), units.end());
    const auto edges = [&](int64_t unit, auto&& visit) {
        for (int64_t p = 0; p < projections; ++p)
            for (int64_t row = starts.data()[p * width + unit];
                 row < starts.data()[p * width + unit + 1]; ++row)
                visit(row);
    };
    for (const int64_t unit : units) {
        int64_t many = 0;
        edges(unit, [&](int64_t) { ++many; });
        if (many > slots) return unit;
    }
    std::vector<char> taken;
    for (const int64_t unit : units) {
        taken.assign(slots, 0);
        edges(unit, [&](int64_t row) {
            if (!fresh(row)) taken[held[row]] = 1;
        });
        int64_t lowest = 0;
        edges(unit, [&](int64_t row) {
            if (!fresh(row)) return;
            while (taken[lowest]) ++lowest;
            held[row] = lowest++;
        });
    }
    return -1;
}

}  // namespace slots
