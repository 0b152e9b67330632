// Slots of units: attempts of structural plasticity on them, of which most are over at the first
// look, the synapses that hold them, and the book-keeping of an edit.

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "attempts.hpp"

namespace py = pybind11;

namespace slots {

using Longs = py::array_t<int64_t, py::array::c_style>;
using Ints = py::array_t<int32_t, py::array::c_style>;
using Doubles = py::array_t<double, py::array::c_style>;

// -- synapses of a network that are slots of units ----------------------------------------------

// The slots of a world's units. ends: first key of each projection, and one past the last; of each
// projection its presynaptic units, the first of them among all neurons, the first slot of its
// target in `own`, and slots a unit has; own: numbers of the synapses, slot by slot of each unit.
class Slots {
  public:
    Slots(Longs ends, Longs width, Longs source, Longs first, Longs many, Longs own)
        : ends_(std::move(ends)), width_(std::move(width)), source_(std::move(source)),
          first_(std::move(first)), many_(std::move(many)), own_(std::move(own)) {}

    // Number of the synapse that holds the edge of each of these rows.
    Longs synapses(const Longs& keys, const Longs& slot, const Longs& rows) const {
        Longs out(rows.size());
        for (py::ssize_t i = 0; i < rows.size(); ++i)
            out.mutable_data()[i] = at(keys.data()[rows.data()[i]], slot.data()[rows.data()[i]]);
        return out;
    }

    // The presynaptic neuron of each row.
    Longs sources(const Longs& keys, const Longs& rows) const {
        Longs out(rows.size());
        for (py::ssize_t i = 0; i < rows.size(); ++i) {
            const int64_t key = keys.data()[rows.data()[i]], p = projection(key);
            out.mutable_data()[i] =
                (key - ends_.data()[p]) % width_.data()[p] + source_.data()[p];
        }
        return out;
    }

    int64_t at(int64_t key, int64_t slot) const {
        const int64_t p = projection(key), unit = (key - ends_.data()[p]) / width_.data()[p];
        return own_.data()[first_.data()[p] + unit * many_.data()[p] + slot];
    }

  private:
    int64_t projection(int64_t key) const {
        return std::upper_bound(ends_.data(), ends_.data() + ends_.size(), key) - ends_.data() - 1;
    }

    Longs ends_, width_, source_, first_, many_, own_;
};

// What the synapses of a graph's edges hold in an array of theirs, now.
class Reader {
  public:
    Reader(const Slots& slots, Longs keys, Longs slot, Doubles values)
        : slots_(slots), keys_(std::move(keys)), slot_(std::move(slot)),
          values_(std::move(values)) {}

    double at(int64_t row) const {
        const double value = values_.data()[slots_.at(keys_.data()[row], slot_.data()[row])];
        lost_ = lost_ || std::isnan(value);
        return value;
    }

    bool lost() const { return lost_; }  // whether one that was read was NaN

    std::vector<double> read(const std::vector<int64_t>& rows) const {
        std::vector<double> out;
        for (const int64_t row : rows) out.push_back(at(row));
        return out;
    }

  private:
    const Slots& slots_;
    Longs keys_, slot_;
    Doubles values_;
    mutable bool lost_ = false;
};

// -- attempts of structural plasticity ----------------------------------------------------------

// As in attempts.hpp: (place, luck), from the numbers u and the slots before each unit.
inline py::tuple draw_ahead(const Doubles& u, const Longs& slots, int64_t ticks, int64_t n,
                            double one_more) {
    Longs place({ticks, int64_t{2}, n});
    Doubles luck({ticks, int64_t{3}, n});
    draw_ahead(u.data(), slots.data(), slots.size() - 1, ticks, n, one_more, place.mutable_data(),
               luck.mutable_data());
    return py::make_tuple(place, luck);
}

// The neurons that spike, as numbers over the ranges (R, 2) in a row. spiking: ascending.
inline void number_in_row(const Ints& spiking, const Longs& ranges, std::vector<int64_t>& units) {
    number_in_row(spiking.data(), spiking.size(), ranges.data(), ranges.size() / 2, units);
}

inline Attempts attempts_at(const Longs& place, const Doubles& luck, int64_t at) {
    return Attempts(place.data(), luck.data(), place.shape(2), at);
}

// For each number in [0, 1) one of the neurons that spike; nothing where none does.
inline std::vector<int64_t> draw_spiking(const Ints& spiking, const Longs& ranges,
                                         const std::vector<double>& u) {
    std::vector<int64_t> units, out;
    number_in_row(spiking, ranges, units);
    if (!units.empty())
        for (const double x : u)
            out.push_back(units[static_cast<int64_t>(x * static_cast<double>(units.size()))]);
    return out;
}

// Who may form synapses into a population, and how likely: a Law by its parts.
class Sheet {
    using Full = std::vector<std::tuple<int64_t, int64_t, int64_t>>;

  public:
    Sheet(std::vector<int64_t> ends, std::vector<double> scale, std::vector<double> falls,
          Doubles here, Doubles there)
        : here_(std::move(here)), there_(std::move(there)),
          law_{std::move(ends), std::move(scale), std::move(falls), here_.data(), there_.data()} {}

    // The attempts on an empty slot, and (attempt, projection, row) of those on a full one that the
    // first number leaves a chance. starts (P, units + 1): the row where each unit's edges of each
    // projection begin.
    py::tuple screen(const Longs& starts, const Longs& place, const Doubles& luck, int64_t at,
                     double likely) {
        screen_into(starts, attempts_at(place, luck, at), likely);
        return py::make_tuple(empty_, full_);
    }

    // (attempt, projection, presynaptic unit) of the partners that form a synapse, by their numbers
    // in the row; tried: the attempt for which each was drawn.
    py::list accepted(const Longs& place, const Doubles& luck, int64_t at,
                      const std::vector<int64_t>& tried, const std::vector<int64_t>& partner) {
        const Attempts attempts = attempts_at(place, luck, at);
        py::list out;
        for (size_t i = 0; i < partner.size(); ++i) try_one(attempts, tried[i], partner[i], out);
        return out;
    }

    // All of it where partners are drawn among neurons that spike, and weights are read now: the rows
    // that are eliminated, and what `accepted` says of the partners; None where both are nothing.
    // weak: the weight below which elimination has the probability `if_weak`, else `if_strong`.
    py::object attempt(const Longs& starts, const Longs& place, const Doubles& luck, int64_t at,
                       const Ints& spiking, const Longs& ranges, const Reader& weights, double weak,
                       double if_weak, double if_strong) {
        const Attempts attempts = attempts_at(place, luck, at);
        const ByWeight eliminated{weak, if_weak, if_strong};
        screen_into(starts, attempts, eliminated.most());
        py::list gone, formed;
        for (const auto& [k, p, row] : full_)
            if (attempts.chance[k] < eliminated.of(weights.at(row))) gone.append(row);
        units_.clear();
        if (!empty_.empty()) number_in_row(spiking, ranges, units_);
        if (!units_.empty())
            for (const int64_t k : empty_) {
                const double of = attempts.choice[k] * static_cast<double>(units_.size());
                try_one(attempts, k, units_[static_cast<int64_t>(of)], formed);
            }
        if (gone.empty() && formed.empty()) return py::none();
        return py::make_tuple(gone, formed);
    }

  private:
    void screen_into(const Longs& starts, const Attempts& attempts, double likely) {
        const int64_t projections = starts.shape(0), width = starts.shape(1);
        empty_.clear();
        full_.clear();
        for (int64_t k = 0; k < attempts.n; ++k) {
            const int64_t* first = starts.data() + attempts.unit[k];
            int64_t number = attempts.slot[k], p = 0;
            for (; p < projections; ++p, first += width) {
                const int64_t held = first[1] - first[0];
                if (number < held) break;
                number -= held;
            }
            if (p == projections)
                empty_.push_back(k);
            else if (attempts.chance[k] < likely)
                full_.emplace_back(k, p, first[0] + number);
        }
    }

    void try_one(const Attempts& attempts, int64_t k, int64_t partner, py::list& out) const {
        size_t p = 0;
        if (law_.accepts(attempts, k, partner, p))
            out.append(py::make_tuple(k, p, partner - (p ? law_.ends[p - 1] : 0)));
    }

    std::vector<int64_t> empty_, units_;  // room to work in
    Doubles here_, there_;
    Law law_;
    Full full_;
};

// -- synapses that move -------------------------------------------------------------------------

// Lets synapses come from other neurons, with these weights: one for all, or one each. The number of
// synapses that leave each neuron follows; `born`, the time step since when each is what it is.
inline void retarget(const Longs& synapses, const std::variant<Longs, int64_t>& neurons,
                     const std::variant<Doubles, double>& weights, int32_t offset, int64_t step,
                     Ints pre, Ints outgoing, Doubles w, Longs born) {
    const auto* each = std::get_if<Longs>(&neurons);
    const auto* each_w = std::get_if<Doubles>(&weights);
    int32_t* from = pre.mutable_data();
    int32_t* leaving = outgoing.mutable_data();
    for (py::ssize_t i = 0; i < synapses.size(); ++i) {
        const int64_t synapse = synapses.data()[i];
        const auto neuron =
            static_cast<int32_t>(each ? each->data()[i] : std::get<int64_t>(neurons));
        --leaving[from[synapse] - offset];
        ++leaving[neuron];
        from[synapse] = neuron + offset;
        w.mutable_data()[synapse] = each_w ? each_w->data()[i] : std::get<double>(weights);
        born.mutable_data()[synapse] = step;
    }
}

// -- the book-keeping of an edit ----------------------------------------------------------------

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

inline void add_slots(py::module_& m) {
    m.def("draw_ahead", py::overload_cast<const slots::Doubles&, const slots::Longs&, int64_t, int64_t,
                                          double>(&slots::draw_ahead));
    m.def("draw_spiking", &slots::draw_spiking);
    py::class_<slots::Slots>(m, "Slots")
        .def(py::init<slots::Longs, slots::Longs, slots::Longs, slots::Longs, slots::Longs,
                      slots::Longs>())
        .def("synapses", &slots::Slots::synapses)
        .def("sources", &slots::Slots::sources);
    py::class_<slots::Reader>(m, "Reader")
        .def(py::init<const slots::Slots&, slots::Longs, slots::Longs, slots::Doubles>(),
             py::keep_alive<1, 2>(), py::arg("slots"), py::arg("keys"), py::arg("slot"),
             py::arg("values").noconvert())
        .def("__call__", &slots::Reader::read)
        .def_property_readonly("lost", &slots::Reader::lost);
    py::class_<slots::Sheet>(m, "Sheet")
        .def(py::init<std::vector<int64_t>, std::vector<double>, std::vector<double>,
                      slots::Doubles, slots::Doubles>())
        .def("screen", &slots::Sheet::screen)
        .def("accepted", &slots::Sheet::accepted)
        .def("attempt", &slots::Sheet::attempt);
    m.def("retarget", &slots::retarget, py::arg("synapses"), py::arg("neurons"), py::arg("weights"),
          py::arg("offset"), py::arg("step"), py::arg("pre").noconvert(),
          py::arg("outgoing").noconvert(), py::arg("w").noconvert(), py::arg("born").noconvert());
    m.def("columns", &slots::columns);
    m.def("spliced", &slots::spliced<float>, py::arg("column").noconvert(), py::arg("drop"),
          py::arg("born"), py::arg("birth"));
    m.def("spliced", &slots::spliced<double>, py::arg("column").noconvert(), py::arg("drop"),
          py::arg("born"), py::arg("birth"));
    m.def("shifted", &slots::shifted);
    m.def("fill_slots", &slots::fill_slots);
}
