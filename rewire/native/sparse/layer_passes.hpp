// The passes of layers by themselves.
#pragma once

#include "conv.hpp"
#include "layers.hpp"
#include "layout.hpp"
#include "linear.hpp"

namespace rewire {

// -- a linear layer -------------------------------------------------------------------------------

template <class T>
void linear_forward_batch(const Csr& csr, const T* weight, const T* bias, int64_t batch,
                          const T* x, T* kept, T* y) {
    const int64_t lanes = padded(batch);
    Memory<T> out;
    out.grow(csr.rows * lanes);
    features_first(batch, csr.columns, x, kept, lanes);
    linear_forward(csr, RowRuns(csr), weight, bias, kept, out.data(), lanes, false);
    batch_first(batch, csr.rows, out.data(), lanes, y);
}

template <class T>
void linear_backward_batch(const Csr& csr, const T* weight, const T* kept, int64_t batch,
                           const T* dy, const ByColumn* by_column, T* dvalue, T* dbias, T* dx) {
    const int64_t lanes = padded(batch);
    Memory<T> slopes, into;
    Memory<int64_t> cursor;
    features_first(batch, csr.rows, dy, slopes.grow(csr.rows * lanes), lanes);
    if (dbias != nullptr)
        close_rows<T>(csr.rows, lanes, nullptr, slopes.data(), dbias, false);
    if (dx != nullptr) into.grow(csr.columns * lanes);
    const bool scatters = dx != nullptr && by_column == nullptr;
    if (scatters) into.zeros(csr.columns * lanes);
    linear_backward(csr, RowRuns(csr), weight, kept, slopes.data(), dvalue,
                    scatters ? into.data() : nullptr, lanes, cursor);
    if (dx == nullptr) return;
    if (!scatters) gather_dx(*by_column, weight, slopes.data(), into.data(), lanes, false);
    batch_first(batch, csr.columns, into.data(), lanes, dx);
}

// -- a convolution, NCHW in and out ---------------------------------------------------------------

template <class T>
Conv2dPass<T>::Conv2dPass(int64_t batch, const Shape& input, int64_t output_channels,
                          const Geometry& geometry, EdgeArrays edges,
                          std::optional<std::pair<Array, Array>> bias, bool wants_input) {
    const Geometry& g = geometry;
    run_.batch = batch, run_.lanes = padded(batch), run_.training = true;
    if (batch < 1) refuse("a batch must have an example.");
    in_.channels = input.channels, in_.height = input.height, in_.width = input.width;
    out_.channels = output_channels;
    out_.height = g.size_after(in_.height, g.kernel_h, g.stride_h, g.padding_h);
    out_.width = g.size_after(in_.width, g.kernel_w, g.stride_w, g.padding_w);
    in_.wants_gradient = wants_input, out_.wants_gradient = true;
    op_ = std::make_unique<Conv2d<T>>(in_, out_, g, false);
    op_->rewire(std::move(edges));
    if (bias) op_->set_bias(std::move(bias->first), std::move(bias->second));
}

template <class T>
Conv2dPass<T>::~Conv2dPass() = default;

template <class T>
void Conv2dPass<T>::load(const T* x) {
    in_.resize(run_, false), out_.resize(run_, false);
    from_batch(run_, in_, x, in_.value());
    op_->prepare(run_);
}

template <class T>
void Conv2dPass<T>::forward() {
    op_->forward(run_);
}

template <class T>
void Conv2dPass<T>::output(T* to) const {
    to_batch(run_, out_, out_.value(), to);
}

template <class T>
void Conv2dPass<T>::load_slope(const T* dy) {
    in_.resize(run_, true), out_.resize(run_, true);
    from_batch(run_, out_, dy, out_.gradient());
}

template <class T>
void Conv2dPass<T>::backward() {
    in_.begin_backward(), out_.begin_backward();
    op_->backward(run_);
}

template <class T>
void Conv2dPass<T>::input_slope(T* to) const {
    to_batch(run_, in_, in_.gradient(), to);
}

template <class T>
void Conv2dPass<T>::gradient_at(int64_t n, const int64_t* rows, const int64_t* columns, T* to) {
    op_->gradient_at(run_, n, rows, columns, to);
}

}  // namespace rewire
