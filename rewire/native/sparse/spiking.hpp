// Spiking units over a whole sequence in one pass each way: leaky integrate-and-fire, with or
// without thresholds that adapt, and with or without edges among the units, whose spikes arrive a
// step later. Backward a surrogate stands for the derivative of a spike. The passes are in
// spiking_passes.hpp.
#pragma once

#include <string>

#include "edges.hpp"
#include "memory.hpp"
#include "recurrent.hpp"

namespace rewire {

enum class Surrogate { arctan, fast_sigmoid, triangle };

inline Surrogate surrogate_of(const std::string& name) {
    if (name == "arctan") return Surrogate::arctan;
    if (name == "fast-sigmoid") return Surrogate::fast_sigmoid;
    if (name == "triangle") return Surrogate::triangle;
    refuse("there is no surrogate " + name + ".");
}

// u = leak v + current; a spike where u > threshold + adaptation a; then v is 0, or, where it
// `subtracts`, u less the threshold at a spike; a = recovery a + spike.
template <class T>
struct Firing {
    T leak, threshold, recovery, steepness;
    bool subtracts, adapts;
    Surrogate surrogate;
};

// One layer over (steps, batch, units), from rest; what the backward pass needs is kept.
template <class T>
class Spiking {
public:
    Firing<T> how;
    int64_t steps, batch, lanes, units;
    Weights<T> among;  // may not be there
    Array adaptation_array;
    const T* adaptation = nullptr;  // (units,); null where no threshold adapts

    // currents, out: (steps, batch, units). Where a backward pass is to come, `keep`.
    void forward(const T* currents, T* out, bool keep);
    // dout: (steps, batch, units) of the spikes; to: the same of the currents.
    void backward(const T* dout, T* to, Slopes<T> of_among);

private:
    Memory<T> spikes_, above_;  // of each step: (steps + 1, units, lanes) and (steps, units, lanes)
    Memory<int64_t> cursor_;
    ByColumn by_column_;
    std::vector<std::vector<int32_t>> active_;  // units with a spike in any lane, of each step

    bool few(const std::vector<int32_t>& units_of) const;
    void carry(const T* spikes, const std::vector<int32_t>& of, T* currents) const;
    void add_slopes(int64_t t, const T* dy, Slopes<T>& slopes);
};

}  // namespace rewire
