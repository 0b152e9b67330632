// The graph in the slots of a program's synapses, and what a rule sees and says.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "files.hpp"

namespace rewire {

// How many edges precede those of a cell, where cells' counts change: a Fenwick tree.
class Counts {
  public:
    explicit Counts(size_t n) : tree_(n + 1, 0) {}

    void add(size_t cell, int64_t more) {
        for (size_t i = cell + 1; i < tree_.size(); i += i & (~i + 1)) tree_[i] += more;
    }

    int64_t before(size_t cell) const {
        int64_t sum = 0;
        for (size_t i = cell; i > 0; i -= i & (~i + 1)) sum += tree_[i];
        return sum;
    }

  private:
    std::vector<int64_t> tree_;
};

struct Edge {
    int32_t pre;   // unit of the source population
    int32_t slot;  // of the target unit
};

// An edge by its place: the cell of its target unit in its projection, and its number there.
struct Place {
    size_t cell;
    int64_t number;
};

inline bool operator<(const Place& a, const Place& b) {
    return a.cell != b.cell ? a.cell < b.cell : a.number < b.number;
}

// What a rule found that ends the run: Python says the rest.
struct Refusal {
    const char *which, *why;
};

// What a rule decides at a tick: edges that go and keys that come, both rising, and the weights of
// those, one for each or one for all.
struct Edit {
    std::vector<Place> gone;
    std::vector<int64_t> grown;
    std::vector<double> births;

    void clear() {
        gone.clear();
        grown.clear();
        births.clear();
    }
};

// The edges of all projections by target unit, the slots that they are in, and their weights.
class Graph {
  public:
    std::vector<int64_t> bounds, width, source;  // keys, sources of each unit, the first source
    std::vector<int64_t> sizes, slots, lands;    // of populations, and the target of projections
    std::vector<char> parallel;                  // whether a pair may hold several synapses
    std::vector<std::vector<Edge>> held;         // of each cell, by rising source
    bool multapses = false;                      // whether any projection allows them
    double most = 0;                             // the largest weight

    Graph(Settings& from, std::vector<double>& weights) : w_(weights) {
        bounds = from.next<int64_t>();
        width = from.next<int64_t>();
        source = from.next<int64_t>();
        first_ = from.next<int64_t>();
        many_ = from.next<int64_t>();
        for (const int64_t allowed : from.next<int64_t>()) parallel.push_back(allowed != 0);
        sizes = from.next<int64_t>();
        slots = from.next<int64_t>();
        lands = from.next<int64_t>();
        own = from.next<int64_t>();
        most = from.next<double>()[0];
        multapses = std::find(parallel.begin(), parallel.end(), 1) != parallel.end();
        first_cell_.assign(1, 0);
        for (size_t p = 0; p < width.size(); ++p)
            first_cell_.push_back(first_cell_.back() + (bounds[p + 1] - bounds[p]) / width[p]);
        held.resize(static_cast<size_t>(first_cell_.back()));
        counts_.reset(new Counts(held.size()));
        taken_.assign(own.size(), 0);
        const std::vector<int64_t> keys = from.next<int64_t>(), slot = from.next<int64_t>();
        for (size_t i = 0; i < keys.size(); ++i) {
            const size_t p = projection(keys[i]), cell = cell_of(p, keys[i]);
            held[cell].push_back(Edge{pre_of(p, keys[i]), static_cast<int32_t>(slot[i])});
            counts_->add(cell, 1);
            taken_[place(p, cell, slot[i])] = 1;
        }
    }

    std::vector<int64_t> own;  // numbers of the synapses that are slots, by unit

    size_t projections() const { return width.size(); }
    size_t first_cell(size_t p) const { return static_cast<size_t>(first_cell_[p]); }
    size_t end_cell(size_t p) const { return static_cast<size_t>(first_cell_[p + 1]); }

    size_t projection(int64_t key) const {
        return std::upper_bound(bounds.begin(), bounds.end(), key) - bounds.begin() - 1;
    }
    size_t projection_of(size_t cell) const {
        return std::upper_bound(first_cell_.begin(), first_cell_.end(), static_cast<int64_t>(cell)) -
               first_cell_.begin() - 1;
    }
    size_t cell_of(size_t p, int64_t key) const {
        return static_cast<size_t>(first_cell_[p] + (key - bounds[p]) / width[p]);
    }
    int32_t pre_of(size_t p, int64_t key) const {
        return static_cast<int32_t>((key - bounds[p]) % width[p]);
    }
    int64_t unit_of(size_t p, size_t cell) const {
        return static_cast<int64_t>(cell) - first_cell_[p];
    }
    int64_t key(size_t p, size_t cell, int32_t pre) const {
        return bounds[p] + unit_of(p, cell) * width[p] + pre;
    }
    // The synapses that are the slots of a cell's unit.
    const int64_t* synapses(size_t p, size_t cell) const { return &own[place(p, cell, 0)]; }
    int64_t synapse(size_t p, size_t cell, int64_t slot) const { return synapses(p, cell)[slot]; }

    // The weight of an edge, in the array of the program; refused where it is NaN.
    double& weight(size_t p, size_t cell, int64_t number) const {
        return weight(synapses(p, cell), held[cell][number]);
    }
    double& weight(const int64_t* synapses, const Edge& edge) const {
        double& w = w_[synapses[edge.slot]];
        if (w != w) throw Refusal{"nan", "a weight was NaN"};
        return w;
    }
    // Functions of the library are compiled with other options, and so are never part of a loop.
    double clipped(double w) const { return w < 0 ? 0 : w > most ? most : w; }

    // The first of a cell's edges from this source on, by its number.
    int64_t find(size_t cell, int32_t pre) const {
        const auto& edges = held[cell];
        return std::lower_bound(edges.begin(), edges.end(), pre,
                                [](const Edge& e, int32_t x) { return e.pre < x; }) -
               edges.begin();
    }
    bool joined(size_t cell, int32_t pre) const {
        const auto number = static_cast<size_t>(find(cell, pre));
        return number < held[cell].size() && held[cell][number].pre == pre;
    }

    int32_t row(const Place& of) const {
        return static_cast<int32_t>(counts_->before(of.cell) + of.number);
    }

    // Takes an edge out; those of its cell that follow move up. Returns its synapse.
    int64_t remove(const Place& of) {
        const size_t p = projection_of(of.cell);
        auto& edges = held[of.cell];
        const int64_t slot = edges[of.number].slot;
        edges.erase(edges.begin() + of.number);
        counts_->add(of.cell, -1);
        taken_[place(p, of.cell, slot)] = 0;
        return synapse(p, of.cell, slot);
    }

    // Puts an edge into the lowest slot of its unit that is free. Returns its synapse.
    int64_t add(size_t p, int64_t key) {
        const size_t cell = cell_of(p, key);
        const int32_t pre = pre_of(p, key);
        int32_t slot = 0;
        while (taken_[place(p, cell, slot)]) ++slot;
        taken_[place(p, cell, slot)] = 1;
        auto& edges = held[cell];
        const auto at = std::upper_bound(edges.begin(), edges.end(), pre,
                                         [](int32_t x, const Edge& e) { return x < e.pre; });
        edges.insert(at, Edge{pre, slot});
        counts_->add(cell, 1);
        return synapse(p, cell, slot);
    }

  private:
    size_t place(size_t p, size_t cell, int64_t slot) const {
        return static_cast<size_t>(first_[p] + unit_of(p, cell) * many_[p] + slot);
    }

    std::vector<double>& w_;
    std::vector<int64_t> first_, many_, first_cell_;
    std::unique_ptr<Counts> counts_;
    std::vector<char> taken_;
};

// Running means of the rates of a group's neurons, see rates.Counter.
class Rates {
  public:
    std::vector<double> rates, counted;

    Rates(const std::vector<int64_t>& where, const int32_t* spikes, int64_t room)
        : rates(where[1], 0.0), counted(where[1], 0.0), first_(where[0]), spikes_(spikes),
          room_(room), counts_(where[1], 0.0) {}

    void count() {
        if (rates.empty()) return;
        const auto many = static_cast<int64_t>(rates.size());
        for (const int32_t* at = spikes_; at < spikes_ + spikes_[room_]; ++at)
            if (*at >= first_ && *at < first_ + many) ++counts_[*at - first_];
    }

    void note(double share, double period) {
        for (size_t i = 0; i < rates.size(); ++i)
            rates[i] += share * ((counts_[i] - counted[i]) / period - rates[i]);
        counted = counts_;
    }

  private:
    int64_t first_;
    const int32_t* spikes_;
    int64_t room_;
    std::vector<double> counts_;
};

// What a rule may look at besides the graph.
struct Signals {
    std::vector<int32_t> spiking;  // neurons of the source group, ascending, in this time step
    std::vector<Rates> rates;      // of the source group's neurons and of the target group's
};

// A rule: made once, from what its Python form hands over.
class Rule {
  public:
    virtual ~Rule() {}

    // One tick, the `number`-th at which it is due.
    virtual void tick(size_t number, Graph& graph, const Signals& signals, Edit& edit) = 0;

    // Writes down what it remembers, for its Python form to take up.
    virtual void finish(Results&) const {}
};

}  // namespace rewire
