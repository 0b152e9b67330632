// Layers by themselves, batch-first as in torch. The passes are in layer_passes.hpp.
#pragma once

#include <memory>
#include <optional>

#include "edges.hpp"
#include "op.hpp"
#include "shapes.hpp"

namespace rewire {

// y (batch, rows) from x (batch, columns), which is kept as (columns, lanes) for the backward pass.
template <class T>
void linear_forward_batch(const Csr& csr, const T* weight, const T* bias, int64_t batch,
                          const T* x, T* kept, T* y);

// dvalue, dbias and dx (the last two null where they are not wanted) from dy (batch, rows) and what
// the forward pass kept. by_column: the same edges, made once for several passes; null where edges
// change in every one.
template <class T>
void linear_backward_batch(const Csr& csr, const T* weight, const T* kept, int64_t batch,
                           const T* dy, const ByColumn* by_column, T* dvalue, T* dbias, T* dx);

template <class T>
class Conv2d;

// One forward pass of a batch through a convolution, and the backward pass through it, in this
// order: `load`, `forward`, `output`, `load_slope`, `backward`, `input_slope`. `forward` and
// `backward` work in the engine's layout, the others go to and fro; none needs Python's lock.
template <class T>
class Conv2dPass {
public:
    // x is (batch, input.channels, input.height, input.width).
    Conv2dPass(int64_t batch, const Shape& input, int64_t output_channels, const Geometry& geometry,
               EdgeArrays edges, std::optional<std::pair<Array, Array>> bias, bool wants_input);
    ~Conv2dPass();

    int64_t batch() const { return run_.batch; }
    Shape input() const { return {in_.channels, in_.height, in_.width}; }
    Shape output() const { return {out_.channels, out_.height, out_.width}; }
    bool wants_input() const { return in_.wants_gradient; }

    void load(const T* x);
    void forward();
    void output(T* to) const;
    void load_slope(const T* dy);
    void backward();
    void input_slope(T* to) const;
    // dL/dw at n pairs (output channel, index within the row), after `backward`.
    void gradient_at(int64_t n, const int64_t* rows, const int64_t* columns, T* to);

private:
    Buffer<T> in_, out_;
    Run run_;
    std::unique_ptr<Conv2d<T>> op_;
};

// Bytes of one register of the processors that this engine is compiled for.
template <class T>
int vector_bytes();

}  // namespace rewire
