// What a plan is made of: buffers of activations, parameters, and operations between buffers.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "edges.hpp"
#include "memory.hpp"

namespace rewire {

// How a pass runs. `lanes` is the batch padded to a multiple of PAD; the stride of every buffer.
struct Run {
    int64_t batch = 0, lanes = 0;
    bool training = false;
};

// Activations [channels][height + 2 halo][width + 2 halo][lanes], and their gradient in the same
// layout. Halos are 0 and stay 0: who writes a buffer writes its inside only. Lanes beyond the
// batch may hold any finite number in `value` and are 0 in the gradient.
template <class T>
struct Buffer {
    int64_t channels, height, width, halo = 0;
    bool wants_gradient = false;  // there is a parameter somewhere before it

    int64_t padded_height() const { return height + 2 * halo; }
    int64_t padded_width() const { return width + 2 * halo; }
    int64_t plane() const { return padded_height() * padded_width(); }  // places of one channel
    int64_t places() const { return channels * plane(); }               // lanes apart
    int64_t features() const { return channels * height * width; }

    // A consumer needs this much halo; said while the plan is built.
    void want_halo(int64_t h) { halo = std::max(halo, h); }

    // A consumer reads the features as one vector, which they are where there is no halo.
    void check_flat() const {
        if (halo > 0 && height * width > 1)
            refuse("a linear layer cannot read pictures that a padded convolution reads as well.");
    }

    T* value() const { return value_.data(); }
    T* gradient() const { return gradient_.data(); }  // complete once all consumers ran backward

    // The gradient for a consumer that adds to it: 0 before the first one.
    T* add_gradient(const Run& run) {
        if (!started_) std::memset(gradient(), 0, sizeof(T) * places() * run.lanes);
        started_ = true;
        return gradient();
    }

    // The gradient for a consumer that can also set it: `fresh` says that it must, everywhere but
    // in the halo.
    T* gradient(bool& fresh) {
        fresh = !started_;
        started_ = true;
        return gradient();
    }

    // -- for the plan
    void resize(const Run& run, bool with_gradient) {
        const int64_t n = places() * run.lanes;
        if (value_.size() < n || (lanes_ != run.lanes && halo > 0)) value_.zeros(n);
        if (with_gradient && wants_gradient &&
            (gradient_.size() < n || (gradient_lanes_ != run.lanes && halo > 0))) {
            gradient_.zeros(n);
            gradient_lanes_ = run.lanes;
        }
        lanes_ = run.lanes;
    }
    void begin_backward() { started_ = false; }

private:
    Memory<T> value_, gradient_;
    int64_t lanes_ = 0, gradient_lanes_ = 0;
    bool started_ = false;
};

// Memory of the caller's that a plan reads and writes in place, kept alive while the plan needs it.
template <class T>
struct Parameter {
    T* value = nullptr;
    T* gradient = nullptr;
    int64_t size = 0;
    Array value_array, gradient_array;

    void set(Array v, Array g, int64_t n, const std::string& what) {
        T* at = memory_of<T>(v, n, what);
        gradient = memory_of<T>(g, v.size, "the gradient of " + what);
        value = at;
        size = v.size;
        value_array = std::move(v);
        gradient_array = std::move(g);
    }
};

// The edges that an operation holds, and the gradient at pairs without an edge, from the
// activations and output gradients of the last backward pass.
template <class T>
class Edges {
public:
    virtual ~Edges() = default;
    Connectivity csr;
    Parameter<T> weight;

    // Other edges, in memory that the caller hands over; the old memory is let go.
    void rewire(EdgeArrays arrays, bool trusted = false) {
        csr.set(std::move(arrays.indptr), std::move(arrays.index), trusted);
        weight.set(std::move(arrays.value), std::move(arrays.gradient), csr.edges(),
                   "the weights");
        rewired();
    }
    // dL/dw at n pairs (row, column), columns as in Connectivity::index.
    virtual void gradient_at(const Run& run, int64_t n, const int64_t* rows,
                             const int64_t* columns, T* out) = 0;
    // dL/dw of the rectangle [row0, row1) x [column0, column1), row by row, into `out`.
    virtual void gradient_tile(const Run& run, int64_t row0, int64_t row1, int64_t column0,
                               int64_t column1, T* out) = 0;

protected:
    virtual void rewired() {}  // offsets and lists that follow the edges
};

// One operation of a plan. Passes run without Python's lock.
template <class T>
class Op {
public:
    virtual ~Op() = default;
    // Called when the number of lanes, or what a pass keeps, changed: offset tables, scratch.
    virtual void prepare(const Run&) {}
    virtual void forward(const Run& run) = 0;
    // Reads the gradient of its output, writes that of its parameters (whole, not added) and adds
    // to that of its inputs where they want one.
    virtual void backward(const Run& run) = 0;
    // Those that were given memory, in a fixed order.
    virtual std::vector<Parameter<T>*> parameters() { return {}; }
    // Which features of its input it reads at all, a byte each; null: all. Only the plan's input,
    // which can be left unfilled elsewhere.
    virtual const uint8_t* wanted_inputs() { return nullptr; }
    virtual Edges<T>* edges() { return nullptr; }
};

}  // namespace rewire
