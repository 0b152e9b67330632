// The operations of a plan.
#pragma once

#include "conv.hpp"
#include "elementwise.hpp"
#include "linear.hpp"
#include "norm.hpp"
#include "plan.hpp"
#include "pool.hpp"

namespace rewire {

// Takes an operation over. `output` wants a gradient where the operation has parameters, or one of
// its inputs wants one.
template <class T>
int64_t Plan<T>::add(std::unique_ptr<Op<T>> op, const std::vector<int64_t>& inputs, int64_t output) {
    bool wants = !op->parameters().empty();
    for (const int64_t i : inputs) {
        wants = wants || buffer(i).wants_gradient;
        if (i == 0) readers_.push_back(op.get());
    }
    buffer(output).wants_gradient = wants;
    ops_.push_back(std::move(op));
    output_ = output;
    run_ = Run{};
    return static_cast<int64_t>(ops_.size()) - 1;
}

template <class T>
template <class L>
int64_t Plan<T>::add_layer(int64_t in, int64_t out, std::unique_ptr<L> layer, Bias bias) {
    if (bias)
        layer->bias.set(std::move(bias->first), std::move(bias->second), buffer(out).features(),
                        "the bias");
    return add(std::move(layer), {in}, out);
}

template <class T>
int64_t Plan<T>::add_linear(int64_t in, int64_t out, EdgeArrays edges, Bias bias, bool relu) {
    auto layer = std::make_unique<Linear<T>>(buffer(in), buffer(out), relu);
    layer->rewire(std::move(edges));
    return add_layer(in, out, std::move(layer), std::move(bias));
}

template <class T>
int64_t Plan<T>::add_dense_linear(int64_t in, int64_t out, Array weight, Array gradient, Bias bias,
                                  bool relu) {
    auto layer = std::make_unique<DenseLinear<T>>(buffer(in), buffer(out), relu);
    layer->weight.set(std::move(weight), std::move(gradient),
                      buffer(in).features() * buffer(out).features(), "the weights");
    return add_layer(in, out, std::move(layer), std::move(bias));
}

template <class T>
int64_t Plan<T>::add_relu(int64_t in, int64_t out) {
    return add(std::make_unique<Elementwise<T, ReLU>>(buffer(in), buffer(out)), {in}, out);
}

template <class T>
int64_t Plan<T>::add_tanh(int64_t in, int64_t out) {
    return add(std::make_unique<Elementwise<T, Tanh>>(buffer(in), buffer(out)), {in}, out);
}

template <class T>
int64_t Plan<T>::add_conv2d(int64_t in, int64_t out, const Geometry& geometry, bool relu,
                            EdgeArrays edges, Bias bias) {
    auto layer = std::make_unique<Conv2d<T>>(buffer(in), buffer(out), geometry, relu);
    layer->rewire(std::move(edges));
    if (bias) layer->set_bias(std::move(bias->first), std::move(bias->second));
    return add(std::move(layer), {in}, out);
}

template <class T>
int64_t Plan<T>::add_batch_norm(int64_t in, std::optional<int64_t> residual, int64_t out,
                                double eps, double momentum, bool relu,
                                const std::vector<Array>& affine,
                                const std::vector<Array>& running,
                                const std::optional<Array>& batches) {
    Buffer<T>* added = residual ? &buffer(*residual) : nullptr;
    auto layer =
        std::make_unique<BatchNorm<T>>(buffer(in), added, buffer(out), eps, momentum, relu);
    if (affine.size() == 4) layer->set_affine(affine[0], affine[1], affine[2], affine[3]);
    if (running.size() == 2) layer->set_running(running[0], running[1], batches);
    std::vector<int64_t> inputs{in};
    if (residual) inputs.push_back(*residual);
    return add(std::move(layer), inputs, out);
}

template <class T>
int64_t Plan<T>::add_max_pool2d(int64_t in, int64_t out, const Window& window) {
    return add(std::make_unique<MaxPool2d<T>>(buffer(in), buffer(out), window), {in}, out);
}

template <class T>
int64_t Plan<T>::add_avg_pool2d(int64_t in, int64_t out, const Window& window) {
    return add(std::make_unique<AvgPool2d<T>>(buffer(in), buffer(out), window), {in}, out);
}

template <class T>
int64_t Plan<T>::add_sum(int64_t a, int64_t b, int64_t out, bool relu) {
    return add(std::make_unique<Add<T>>(buffer(a), buffer(b), buffer(out), relu), {a, b}, out);
}

template <class T>
int64_t Plan<T>::add_flatten(int64_t in, int64_t out) {
    return add(std::make_unique<Flatten<T>>(buffer(in), buffer(out)), {in}, out);
}

template <class T>
int64_t Plan<T>::add_subsample(int64_t in, int64_t out, int64_t stride_h, int64_t stride_w,
                               int64_t before) {
    return add(
        std::make_unique<Subsample<T>>(buffer(in), buffer(out), stride_h, stride_w, before), {in},
        out);
}

}  // namespace rewire
