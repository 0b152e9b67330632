// What a plan is made of: buffers of activations, parameters, and operations between buffers.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "common.hpp"

namespace py = pybind11;

namespace rewire {

[[noreturn]] inline void refuse(const std::string& why) { throw std::invalid_argument(why); }

// The memory of an array of Python's: contiguous, of this type, of `size` items (-1: any number).
template <class T>
T* memory_of(const py::array& a, int64_t size, const std::string& what) {
    if (!py::dtype::of<T>().equal(a.dtype()) || !(a.flags() & py::array::c_style))
        refuse(what + " must be contiguous and of type " +
               std::string(py::str(py::dtype::of<T>())) + ", got " +
               std::string(py::str(a.dtype())) + ".");
    if (size >= 0 && a.size() != size)
        refuse(what + " must have " + std::to_string(size) + " items, got " +
               std::to_string(a.size()) + ".");
    return static_cast<T*>(const_cast<void*>(a.data()));
}

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

// Memory of Python's that a plan reads and writes in place, kept alive while the plan needs it.
template <class T>
struct Parameter {
    T* value = nullptr;
    T* gradient = nullptr;
    int64_t size = 0;
    py::array value_array, gradient_array;

    void set(py::array v, py::array g, int64_t n, const std::string& what) {
        T* at = memory_of<T>(v, n, what);
        gradient = memory_of<T>(g, v.size(), "the gradient of " + what);
        value = at;
        size = v.size();
        value_array = std::move(v);
        gradient_array = std::move(g);
    }
};

// The edges of one projection, CSR by output row: edge e of row r, indptr[r] <= e < indptr[r + 1],
// comes from `index[e]`, the flat index within the row of the weight as it is stored (linear: the
// input unit; convolution: (in channel within the group, ky, kx)). Indices rise within a row.
struct Csr {
    int64_t rows = 0, columns = 0;
    const int64_t* indptr = nullptr;
    const int32_t* index = nullptr;

    int64_t edges() const { return indptr == nullptr ? 0 : indptr[rows]; }
    // Rows [first, end) of the same edges, which keep their numbers.
    Csr part(int64_t first, int64_t end) const {
        return {end - first, columns, indptr + first, index};
    }
};

// The same in memory of Python's.
struct Connectivity : Csr {
    py::array indptr_array, index_array;

    // trusted: whoever hands them over answers for what they say.
    void set(py::array pointers, py::array indices, bool trusted = false) {
        const int64_t* p = memory_of<int64_t>(pointers, rows + 1, "indptr");
        const int32_t* i = memory_of<int32_t>(indices, -1, "index");
        const int64_t n = indices.size();
        if (p[0] != 0 || p[rows] != n)
            refuse("indptr must run from 0 to the number of edges, " + std::to_string(n) +
                   "; it runs from " + std::to_string(p[0]) + " to " + std::to_string(p[rows]) +
                   ".");
        if (!trusted) check(p, i, n);
        indptr = p, index = i;
        indptr_array = std::move(pointers);
        index_array = std::move(indices);
    }

private:
    void check(const int64_t* p, const int32_t* i, int64_t n) const {
        for (int64_t r = 0; r < rows; ++r)
            if (p[r] > p[r + 1]) refuse("indptr must not fall.");
        int32_t low = 0, high = -1;
        for (int64_t e = 0; e < n; ++e) low = std::min(low, i[e]), high = std::max(high, i[e]);
        if (low < 0 || high >= columns)
            refuse("index must lie in [0, " + std::to_string(columns) + "), found " +
                   std::to_string(low < 0 ? low : high) + ".");
        for (int64_t r = 0; r < rows; ++r) {
            bool falls = false;
            for (int64_t e = p[r] + 1; e < p[r + 1]; ++e) falls |= i[e - 1] >= i[e];
            if (falls) refuse("index must rise within row " + std::to_string(r) + ".");
        }
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

    // Other edges, in memory that Python hands over; the old memory is let go.
    void rewire(py::array indptr, py::array index, py::array value, py::array gradient,
                bool trusted = false) {
        csr.set(std::move(indptr), std::move(index), trusted);
        weight.set(std::move(value), std::move(gradient), csr.edges(), "the weights");
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

// One operation of a plan. Passes run without the GIL: touch no Python object in them.
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
