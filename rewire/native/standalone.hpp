// Structural plasticity within a program of Brian2's cpp_standalone device: the ticks that a session
// makes elsewhere, and a log of the edits as rewire/edit_log.py reads it. Plain C++11.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "attempts.hpp"
#include "splitmix.hpp"

namespace rewire {

// -- files --------------------------------------------------------------------------------------

// What Python wrote for a run: arrays of 8-byte numbers, one after the other, each after its length.
class Settings {
  public:
    explicit Settings(const std::string& path) : file_(std::fopen(path.c_str(), "rb")) {
        if (file_ == nullptr) stop("cannot read " + path);
    }
    ~Settings() { std::fclose(file_); }

    template <class T>
    std::vector<T> next() {
        static_assert(sizeof(T) == 8, "all numbers have 8 bytes");
        int64_t n = 0;
        if (std::fread(&n, sizeof n, 1, file_) != 1) stop("the settings end too early");
        std::vector<T> out(static_cast<size_t>(n));
        if (n && std::fread(out.data(), sizeof(T), out.size(), file_) != out.size())
            stop("the settings end too early");
        return out;
    }

    static void stop(const std::string& why) {
        std::cerr << "rewire: " << why << std::endl;
        std::exit(1);
    }

  private:
    std::FILE* file_;
};

// The records of a history: see rewire.edit_log.Record.
class Log {
  public:
    explicit Log(const std::string& path) : file_(std::fopen(path.c_str(), "wb")) {
        if (file_ == nullptr) Settings::stop("cannot write " + path);
        for (uint32_t i = 0; i < 256; ++i) {
            uint32_t c = i;
            for (int bit = 0; bit < 8; ++bit) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
            table_[i] = c;
        }
    }

    void add(int64_t tick, int16_t rule, const std::vector<int32_t>& drop,
             const std::vector<int64_t>& grow) {
        record_.clear();
        put(tick);
        put(static_cast<int32_t>(tick));
        put(static_cast<int32_t>(0));
        put(rule);
        put(static_cast<int32_t>(drop.size()));
        put(static_cast<int32_t>(grow.size()));
        for (const int32_t row : drop) put(row);
        for (const int64_t key : grow) put(key);
        uint32_t sum = 0xFFFFFFFFu;  // CRC-32
        for (const unsigned char byte : record_) sum = table_[(sum ^ byte) & 0xFF] ^ (sum >> 8);
        put(sum ^ 0xFFFFFFFFu);
        if (std::fwrite(record_.data(), 1, record_.size(), file_) != record_.size())
            Settings::stop("cannot write to the log of edits: is the disk full?");
    }

    void close() {
        if (std::fclose(file_) != 0)
            Settings::stop("cannot write to the log of edits: is the disk full?");
    }

  private:
    template <class T>
    void put(T value) {
        const auto* bytes = reinterpret_cast<const unsigned char*>(&value);
        record_.insert(record_.end(), bytes, bytes + sizeof value);
    }

    std::FILE* file_;
    uint32_t table_[256];
    std::vector<unsigned char> record_;
};

// -- the network --------------------------------------------------------------------------------

// What the program has of Brian2: spikes (the last number is their count), the synapses' arrays, and
// the spike queues in which synapses move or from which their spikes in flight are taken.
template <class Queue>
struct Network {
    const int32_t* spikes;
    int64_t room;  // where in `spikes` their count is
    std::vector<int32_t>& pre;
    std::vector<double>& w;
    std::vector<int32_t>& outgoing;
    std::vector<Queue*> moving, purged;
    std::function<void(int64_t)> born, emptied;  // what else a synapse carries
};

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

enum Partner : int64_t { SPIKED, UNIFORM, POPULATION };

// The attempts on one population.
struct Sheet {
    explicit Sheet(Settings& from)
        : into(from.next<int64_t>()), ends(from.next<int64_t>()), scale(from.next<double>()),
          falls(from.next<double>()), here(from.next<double>()), there(from.next<double>()),
          before(from.next<int64_t>()), ranges(from.next<int64_t>()),
          counters(from.next<uint64_t>()) {
        const std::vector<double> numbers = from.next<double>();
        eliminated = slots::ByWeight{numbers[0], numbers[1], numbers[2]};
        one_more = numbers[3];
        const std::vector<int64_t> shape = from.next<int64_t>();
        ticks = shape[0];
        n = shape[1];
        law = slots::Law{ends, scale, falls, here.data(), there.data()};
        at = ticks;
    }
    Sheet(const Sheet&) = delete;

    // This tick's attempts.
    slots::Attempts next() {
        if (at == ticks) {
            std::vector<double> u(static_cast<size_t>(ticks + 4 * ticks * n));
            uint64_t counter = counters[batch++];
            for (double& x : u) x = unit(splitmix(counter += GOLDEN));
            place.resize(static_cast<size_t>(2 * ticks * n));
            luck.resize(static_cast<size_t>(3 * ticks * n));
            slots::draw_ahead(u.data(), before.data(), static_cast<int64_t>(before.size()) - 1, ticks,
                              n, one_more, place.data(), luck.data());
            at = 0;
        }
        return slots::Attempts(place.data(), luck.data(), n, at++);
    }

    std::vector<int64_t> into, ends;
    std::vector<double> scale, falls, here, there;
    std::vector<int64_t> before, ranges;
    std::vector<uint64_t> counters;  // of the random numbers of each batch of ticks
    slots::ByWeight eliminated;
    slots::Law law;
    double one_more;
    int64_t ticks, n, at;
    size_t batch = 0;
    std::vector<int64_t> place;
    std::vector<double> luck;
};

template <class Queue>
class Program {
    struct Edge {
        int32_t pre;   // unit of the source population
        int32_t slot;  // of the target unit
    };
    struct Gone {
        size_t cell;
        int64_t number;  // among the cell's edges
    };

  public:
    Program(const std::string& settings, const std::string& results, Network<Queue> network)
        : network_(std::move(network)), results_(results), log_(results + "rewire_edits.log") {
        Settings from(settings);
        const std::vector<int64_t> whole = from.next<int64_t>();
        null_ = static_cast<int32_t>(whole[0]);
        offset_ = static_cast<int32_t>(whole[1]);
        stop_ = static_cast<int32_t>(whole[2]);
        ascending_ = whole[3] != 0;
        steps_ = whole[4];
        last_ = whole[5];
        a_second_ = whole[6];
        rule_ = static_cast<int16_t>(whole[7]);
        partner_ = static_cast<Partner>(whole[8]);
        multapses_ = whole[9] != 0;
        birth_ = from.next<double>()[0];
        seeds_ = from.next<int64_t>();
        bounds_ = from.next<int64_t>();
        width_ = from.next<int64_t>();
        source_ = from.next<int64_t>();
        first_ = from.next<int64_t>();
        many_ = from.next<int64_t>();
        parallel_ = from.next<int64_t>();
        own_ = from.next<int64_t>();
        const std::vector<int64_t> keys = from.next<int64_t>(), slot = from.next<int64_t>();
        hold(keys, slot, from.next<double>());
        const int64_t sheets = from.next<int64_t>()[0];
        for (int64_t i = 0; i < sheets; ++i) sheets_.emplace_back(new Sheet(from));
    }

    // The seed of Brian2's random numbers from this second on.
    uint64_t seed(int64_t step) const {
        return static_cast<uint64_t>(seeds_[std::min<size_t>(step / a_second_, seeds_.size() - 1)]);
    }

    // To be called at the end of every time step, `step` of which were over before it. Returns
    // whether random numbers are to be seeded anew; over(): whether all ticks are made.
    bool end_of_step(int64_t step) {
        look();
        const int64_t now = step + 1;
        if (now % steps_ == 0 && !over()) tick();
        if (now % a_second_) return false;
        refuse_nan();
        return true;
    }

    bool over() const { return tick_ >= last_; }

    // Closes the log, and writes beside it the slot of every edge, in the order of the graph's rows:
    // the arrays of a network do not tell which of parallel synapses is the elder.
    void finish() {
        refuse_nan();
        log_.close();
        std::FILE* file = std::fopen((results_ + "rewire_slots.bin").c_str(), "wb");
        bool written = file != nullptr;
        for (const auto& edges : held_)
            for (const Edge& edge : edges)
                written = written && std::fwrite(&edge.slot, sizeof edge.slot, 1, file) == 1;
        if (!written || std::fclose(file) != 0)
            Settings::stop("cannot write the slots of the edges: is the disk full?");
    }

  private:
    // The graph at the start, and the synapses that are to hold it: keys, the slot of each, weights of
    // all synapses.
    void hold(const std::vector<int64_t>& keys, const std::vector<int64_t>& slot,
              const std::vector<double>& w) {
        first_cell_.assign(1, 0);
        for (size_t p = 0; p < width_.size(); ++p)
            first_cell_.push_back(first_cell_.back() + (bounds_[p + 1] - bounds_[p]) / width_[p]);
        held_.resize(static_cast<size_t>(first_cell_.back()));
        counts_.reset(new Counts(held_.size()));
        taken_.assign(own_.size(), 0);
        std::vector<int32_t> pre(network_.pre);
        for (const int64_t synapse : own_) pre[synapse] = null_ + offset_;
        for (size_t i = 0; i < keys.size(); ++i) {
            const size_t p = projection(keys[i]);
            const size_t cell = cell_of(p, keys[i]);
            const auto from = static_cast<int32_t>((keys[i] - bounds_[p]) % width_[p]);
            held_[cell].push_back(Edge{from, static_cast<int32_t>(slot[i])});
            counts_->add(cell, 1);
            taken_[place(p, cell, slot[i])] = 1;
            pre[synapse(p, cell, slot[i])] = static_cast<int32_t>(from + source_[p]) + offset_;
        }
        for (const int64_t synapse : own_) {
            network_.w[synapse] = w[synapse];
            if (pre[synapse] == network_.pre[synapse]) continue;
            point(synapse, pre[synapse]);
            (pre[synapse] == null_ + offset_ ? network_.emptied : network_.born)(synapse);
        }
    }

    size_t projection(int64_t key) const {
        return std::upper_bound(bounds_.begin(), bounds_.end(), key) - bounds_.begin() - 1;
    }
    size_t cell_of(size_t p, int64_t key) const {
        return static_cast<size_t>(first_cell_[p] + (key - bounds_[p]) / width_[p]);
    }
    size_t place(size_t p, size_t cell, int64_t slot) const {
        const int64_t unit = static_cast<int64_t>(cell) - first_cell_[p];
        return static_cast<size_t>(first_[p] + unit * many_[p] + slot);
    }
    int64_t synapse(size_t p, size_t cell, int64_t slot) const { return own_[place(p, cell, slot)]; }

    // Which neurons of the source group spiked in this time step, ascending.
    void look() {
        const int32_t* begin = network_.spikes;
        const int32_t* end = begin + network_.spikes[network_.room];
        if (!ascending_) {
            spiking_.assign(begin, end);
            std::sort(spiking_.begin(), spiking_.end());
            spiking_.erase(std::unique(spiking_.begin(), spiking_.end()), spiking_.end());
            begin = spiking_.data();
            end = begin + spiking_.size();
        }
        begin = std::lower_bound(begin, end, offset_);
        end = std::lower_bound(begin, end, stop_);
        if (std::binary_search(begin, end, null_ + offset_))
            refuse("null", "the null neuron spiked");
        if (offset_ || begin < end) {
            neurons_.assign(begin, end);
            for (int32_t& neuron : neurons_) neuron -= offset_;
        } else {
            neurons_.clear();
        }
    }

    // One tick of the rule.
    void tick() {
        ++tick_;
        gone_.clear();
        grown_.clear();
        for (auto& sheet : sheets_) {
            const slots::Attempts attempts = sheet->next();
            attempt(*sheet, attempts);
        }
        if (!gone_.empty() || !grown_.empty()) edit();
    }

    void attempt(Sheet& sheet, const slots::Attempts& attempts) {
        free_.clear();
        for (int64_t k = 0; k < attempts.n; ++k) {
            int64_t number = attempts.slot[k];
            size_t i = 0;
            for (; i < sheet.into.size(); ++i) {
                const size_t p = static_cast<size_t>(sheet.into[i]);
                const size_t cell = static_cast<size_t>(first_cell_[p] + attempts.unit[k]);
                const auto many = static_cast<int64_t>(held_[cell].size());
                if (number < many) {
                    if (attempts.chance[k] < sheet.eliminated.most() &&
                        attempts.chance[k] < sheet.eliminated.of(weight(p, cell, number)))
                        gone_.push_back(Gone{cell, number});
                    break;
                }
                number -= many;
            }
            if (i == sheet.into.size()) free_.push_back(k);
        }
        if (free_.empty()) return;
        if (partner_ == SPIKED) {
            slots::number_in_row(neurons_.data(), static_cast<int64_t>(neurons_.size()),
                                 sheet.ranges.data(), static_cast<int64_t>(sheet.ranges.size()) / 2,
                                 units_);
            if (units_.empty()) return;
        }
        for (const int64_t k : free_) {
            const int64_t partner = drawn(sheet, attempts.choice[k]);
            size_t i = 0;
            if (!sheet.law.accepts(attempts, k, partner, i)) continue;
            const size_t p = static_cast<size_t>(sheet.into[i]);
            const auto pre = static_cast<int32_t>(partner - (i ? sheet.ends[i - 1] : 0));
            const int64_t key = bounds_[p] + attempts.unit[k] * width_[p] + pre;
            if (!parallel_[p] && joined(cell_of(p, key), pre)) continue;
            if (!multapses_ && std::find(grown_.begin(), grown_.end(), key) != grown_.end()) continue;
            grown_.push_back(key);
        }
    }

    int64_t drawn(const Sheet& sheet, double choice) const {
        if (partner_ == SPIKED)
            return units_[static_cast<size_t>(choice * static_cast<double>(units_.size()))];
        if (partner_ == UNIFORM)
            return static_cast<int64_t>(choice * static_cast<double>(sheet.ends.back()));
        const double scaled = choice * static_cast<double>(sheet.ends.size());
        const auto which = static_cast<size_t>(scaled);
        const int64_t first = which ? sheet.ends[which - 1] : 0;
        const auto size = static_cast<double>(sheet.ends[which] - first);
        return first + static_cast<int64_t>((scaled - static_cast<double>(which)) * size);
    }

    double weight(size_t p, size_t cell, int64_t number) const {
        const double w = network_.w[synapse(p, cell, held_[cell][number].slot)];
        if (std::isnan(w)) refuse("nan", "a weight was NaN");
        return w;
    }

    bool joined(size_t cell, int32_t pre) const {
        const auto& edges = held_[cell];
        const auto at = std::lower_bound(edges.begin(), edges.end(), pre,
                                         [](const Edge& e, int32_t x) { return e.pre < x; });
        return at != edges.end() && at->pre == pre;
    }

    // Carries out what was decided: first what goes, then what comes, by rising key.
    void edit() {
        std::sort(gone_.begin(), gone_.end(), [](const Gone& a, const Gone& b) {
            return a.cell != b.cell ? a.cell < b.cell : a.number < b.number;
        });
        std::sort(grown_.begin(), grown_.end());
        rows_.clear();
        for (const Gone& gone : gone_)
            rows_.push_back(static_cast<int32_t>(counts_->before(gone.cell) + gone.number));
        log_.add(tick_, rule_, rows_, grown_);
        moved_.clear();
        for (auto gone = gone_.rbegin(); gone != gone_.rend(); ++gone) {  // numbers stay right
            auto& edges = held_[gone->cell];
            const size_t p = projection_of(gone->cell);
            const int64_t slot = edges[gone->number].slot, at = synapse(p, gone->cell, slot);
            edges.erase(edges.begin() + gone->number);
            counts_->add(gone->cell, -1);
            taken_[place(p, gone->cell, slot)] = 0;
            point(at, null_ + offset_);
            network_.w[at] = 0;
            network_.emptied(at);
            moved_.push_back(static_cast<int32_t>(at));
        }
        for (const int64_t key : grown_) {
            const size_t p = projection(key), cell = cell_of(p, key);
            const auto pre = static_cast<int32_t>((key - bounds_[p]) % width_[p]);
            int32_t slot = 0;  // the lowest that is free
            while (taken_[place(p, cell, slot)]) ++slot;
            taken_[place(p, cell, slot)] = 1;
            auto& edges = held_[cell];
            const auto at = std::upper_bound(edges.begin(), edges.end(), pre,
                                             [](int32_t x, const Edge& e) { return x < e.pre; });
            edges.insert(at, Edge{pre, slot});
            counts_->add(cell, 1);
            const int64_t number = synapse(p, cell, slot);
            point(number, static_cast<int32_t>(pre + source_[p]) + offset_);
            network_.w[number] = birth_;
            network_.born(number);
            moved_.push_back(static_cast<int32_t>(number));
        }
        purge();
    }

    size_t projection_of(size_t cell) const {
        return std::upper_bound(first_cell_.begin(), first_cell_.end(), static_cast<int64_t>(cell)) -
               first_cell_.begin() - 1;
    }

    // Lets a synapse come from another neuron, by its number in the whole group.
    void point(int64_t synapse, int32_t neuron) {
        const auto number = static_cast<int32_t>(synapse);
        const int32_t before = network_.pre[synapse];
        for (Queue* queue : network_.moving) {
            auto& from = queue->synapses[before - queue->source_start];
            from.erase(std::lower_bound(from.begin(), from.end(), number));
            auto& to = queue->synapses[neuron - queue->source_start];
            to.insert(std::lower_bound(to.begin(), to.end(), number), number);
        }
        --network_.outgoing[before];
        ++network_.outgoing[neuron];
        network_.pre[synapse] = neuron;
    }

    // Takes the spikes in flight of what has moved from the queues.
    void purge() {
        moving_.resize(network_.pre.size(), 0);
        for (const int32_t synapse : moved_) moving_[synapse] = 1;
        const auto gone = [&](int32_t synapse) { return moving_[synapse] != 0; };
        for (const auto* queues : {&network_.moving, &network_.purged})
            for (Queue* queue : *queues)
                for (auto& bucket : queue->queue)
                    bucket.erase(std::remove_if(bucket.begin(), bucket.end(), gone), bucket.end());
        for (const int32_t synapse : moved_) moving_[synapse] = 0;
    }

    void refuse_nan() const {
        for (const int64_t synapse : own_)
            if (std::isnan(network_.w[synapse]) && network_.pre[synapse] != null_ + offset_)
                refuse("nan", "a weight was NaN");
    }

    // Ends the program; Python reads which refusal it was, and says what to do.
    void refuse(const std::string& which, const std::string& why) const {
        std::FILE* file = std::fopen((results_ + "rewire_refusal.txt").c_str(), "w");
        if (file != nullptr) {
            std::fprintf(file, "%s %lld", which.c_str(), static_cast<long long>(tick_));
            std::fclose(file);
        }
        Settings::stop(why + ", at tick " + std::to_string(tick_));
    }

    Network<Queue> network_;
    std::string results_;
    Log log_;
    int32_t null_, offset_, stop_;
    bool ascending_, multapses_;
    int64_t steps_, last_, a_second_, tick_ = 0;
    int16_t rule_;
    Partner partner_;
    double birth_;
    std::vector<int64_t> seeds_, bounds_, width_, source_, first_, many_, parallel_, own_, first_cell_;
    std::vector<std::unique_ptr<Sheet>> sheets_;
    std::vector<std::vector<Edge>> held_;  // of each unit in each projection, by rising source
    std::unique_ptr<Counts> counts_;
    std::vector<char> taken_, moving_;
    std::vector<int32_t> spiking_, neurons_, rows_, moved_;
    std::vector<int64_t> free_, units_, grown_;
    std::vector<Gone> gone_;
};

}  // namespace rewire
