// Attempts of structural plasticity on the slots of units. Plain C++11 without Python: the kernels of
// a tick and programs of Brian2's standalone device make the same attempts from the same numbers.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace slots {

// Attempts of some ticks: place (ticks, 2, n) unit and slot, luck (ticks, 3, n), from numbers in
// [0, 1): `ticks` that say whether there is one more than n - 1, then (ticks, 4, n) that choose a slot
// and are the luck. before: slots of all units before each, and at the end of all together. An attempt
// on a slot that was tried in its tick already, or that there is not, has the luck 2.
inline void draw_ahead(const double* u, const int64_t* before, int64_t units, int64_t ticks,
                       int64_t n, double one_more, int64_t* place, double* luck) {
    const double total = static_cast<double>(before[units]);
    const double pace = static_cast<double>(units) / total;
    std::vector<int32_t> tried(before[units], -1);  // the last tick that tried each slot
    const double* from = u + ticks;
    for (int64_t t = 0; t < ticks; ++t, from += 4 * n, place += 2 * n, luck += 3 * n) {
        std::copy(from + n, from + 4 * n, luck);
        if (u[t] >= one_more) luck[n - 1] = 2;
        for (int64_t k = 0; k < n; ++k) {
            const int64_t ticket = static_cast<int64_t>(from[k] * total);
            int64_t at =
                std::min(units - 1, static_cast<int64_t>(pace * static_cast<double>(ticket)));
            while (before[at] > ticket) --at;
            while (before[at + 1] <= ticket) ++at;
            place[k] = at;
            place[n + k] = ticket - before[at];
            if (tried[ticket] == t) luck[k] = 2;
            tried[ticket] = static_cast<int32_t>(t);
        }
    }
}

// Neurons, ascending, as numbers over the ranges (low, high) in a row.
inline void number_in_row(const int32_t* neurons, int64_t n, const int64_t* ranges, int64_t many,
                          std::vector<int64_t>& units) {
    const int32_t* end = neurons + n;
    int64_t first = 0;
    units.clear();
    for (const int64_t* r = ranges; r < ranges + 2 * many; r += 2) {
        for (const int32_t* at = std::lower_bound(neurons, end, r[0]); at < end && *at < r[1]; ++at)
            units.push_back(*at - r[0] + first);
        first += r[1] - r[0];
    }
}

// One tick's attempts on a population, of those drawn ahead: place (ticks, 2, n) unit and slot, luck
// (ticks, 3, n) numbers that decide, choose the partner, and choose among parallel synapses.
struct Attempts {
    Attempts(const int64_t* place, const double* luck, int64_t many, int64_t at)
        : n(many), unit(place + 2 * n * at), slot(unit + n), chance(luck + 3 * n * at),
          choice(chance + n) {}

    int64_t n;
    const int64_t *unit, *slot;
    const double *chance, *choice;
};

// How likely partners form synapses into a population: the sources of all projections in a row,
// which end at `ends`; here and there: places on the torus of side 1; falls: -1 / (2 sigma^2), 0
// where units have no place.
struct Law {
    std::vector<int64_t> ends;
    std::vector<double> scale, falls;
    const double *here, *there;

    // Whether attempt k forms a synapse with this partner, by its number in the row; which: the
    // projection.
    bool accepts(const Attempts& attempts, int64_t k, int64_t partner, size_t& which) const {
        which = 0;
        while (partner >= ends[which]) ++which;
        double probability = scale[which];
        if (attempts.chance[k] >= probability) return false;
        if (falls[which] != 0) {
            const double* a = here + 2 * partner;
            const double* b = there + 2 * attempts.unit[k];
            const double dx = apart(a[0], b[0]), dy = apart(a[1], b[1]);
            probability *= std::exp((dx * dx + dy * dy) * falls[which]);
        }
        return attempts.chance[k] < probability;
    }

    static double apart(double a, double b) { return 0.5 - std::fabs(std::fabs(a - b) - 0.5); }
};

// Elimination with one probability below a weight and another from it up.
struct ByWeight {
    double weak, if_weak, if_strong;

    double of(double weight) const { return weight < weak ? if_weak : if_strong; }
    double most() const { return std::max(if_weak, if_strong); }
};

}  // namespace slots
