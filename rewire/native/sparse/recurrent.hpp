// Recurrent layers on edges: a whole sequence in one pass each way. The state's weights are edges;
// those of the input are too, or the caller has multiplied the input by them already. The passes
// are in recurrent_passes.hpp.
#pragma once

#include <string>

#include "edges.hpp"
#include "memory.hpp"

namespace rewire {

enum class Cell { lstm, gru, tanh, relu };

inline Cell cell_of(const std::string& mode) {
    if (mode == "LSTM") return Cell::lstm;
    if (mode == "GRU") return Cell::gru;
    if (mode == "RNN_TANH") return Cell::tanh;
    if (mode == "RNN_RELU") return Cell::relu;
    refuse("there is no recurrent cell " + mode + ".");
}

inline int64_t gates_of(Cell cell) {
    return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1;
}

// Weights of one kind in a pass. value: of the edges; bias may be null.
template <class T>
struct Weights {
    Connectivity csr;
    RowRuns rows;
    Array value_array, bias_array;
    const T* value = nullptr;
    const T* bias = nullptr;

    bool there() const { return value != nullptr; }
    // y = W x + bias, or where `add` y + W x.
    void forward(const T* x, T* y, int64_t lanes, bool add = false) const;
};

// The gradients that a backward pass makes; all null where none are wanted.
template <class T>
struct Slopes {
    T* value = nullptr;
    T* bias = nullptr;
    T* passed = nullptr;  // what reached the gates, (steps, batch, gates), for gradients elsewhere
    bool begun = false;   // whether it holds something to add to
};

// One layer, one direction, over (steps, batch, features); what the backward pass needs is kept
// lane by lane. Passes run without Python's lock.
template <class T>
class Sequence {
public:
    Cell cell;
    int64_t steps, batch, lanes, inputs, units;
    bool backwards;
    Weights<T> input, state;

    int64_t width() const { return gates_of(cell) * units; }
    int64_t time(int64_t s) const { return backwards ? steps - 1 - s : s; }

    // x: (steps, batch, inputs), or (steps, batch, gates) where `input` is not there. h, c: (batch,
    // units) before the first step; c null but for an LSTM. out: (steps, batch, units).
    // Where a backward pass is to come, `keep`.
    void forward(const T* x, const T* h, const T* c, T* out, T* h_end, T* c_end, bool keep);

    // dout: (steps, batch, units); dh_end, dc_end: (batch, units) or null. dx: as x, null where it
    // is not wanted. dh, dc: (batch, units) of the state before the first step.
    void backward(const T* dout, const T* dh_end, const T* dc_end, T* dx, T* dh, T* dc,
                  Slopes<T> of_input, Slopes<T> of_state);

private:
    Memory<T> xs_, gates_, states_, cells_, squashed_, hidden_;
    Memory<int64_t> cursor_;
    ByColumn by_column_, inputs_by_column_;
    RowRuns two_rows_, third_rows_;  // of a GRU's state: reset and update, and the third gate

    void advance(T* gates, const T* from, int64_t at, int64_t next);
    void add_gates_of_state(T* gates, const T* from, T* hidden) const;
    const T* return_through(int64_t s, const T* from, const T* d, T* cells, T* made, T* other,
                            T* past);
    void add_slopes(const Weights<T>& weights, const T* x, const T* dy, int64_t t,
                    Slopes<T>& slopes);
    void clear_beyond(T* values) const;
};

}  // namespace rewire
