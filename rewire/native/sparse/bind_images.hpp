// What Python sees of convolutions, norms and pooling: a layer by itself, and operations of a plan.
#pragma once

#include <pybind11/stl.h>

#include <array>
#include <optional>

#include "conv.hpp"
#include "layout.hpp"
#include "norm.hpp"
#include "plan.hpp"
#include "pool.hpp"

namespace rewire {

using Pair = std::array<int64_t, 2>;  // (vertical, horizontal)

inline Geometry geometry_of(Pair kernel, Pair stride, Pair padding, int64_t groups) {
    if (kernel[0] < 1 || kernel[1] < 1 || stride[0] < 1 || stride[1] < 1 || padding[0] < 0 ||
        padding[1] < 0)
        refuse("kernels and strides must be positive, padding must not be negative.");
    return {kernel[0], kernel[1], stride[0], stride[1], padding[0], padding[1], groups};
}

// -- a convolution by itself, NCHW in and out -----------------------------------------------------

// One forward pass of a batch, and the backward pass through it, in this order: `forward`,
// `output`, `load_slope`, `backward`, `gradients`. `forward` and `backward` work in the engine's
// layout, the others go to and fro.
template <class T>
class Conv2dPass {
public:
    Conv2dPass(py::array indptr, py::array index, py::array_t<T> value,
               const std::optional<py::array_t<T>>& bias, py::array_t<T> x, Pair kernel,
               Pair stride, Pair padding, int64_t groups, bool want_x) {
        if (x.ndim() != 4) refuse("x must be (batch, channels, height, width).");
        const Geometry g = geometry_of(kernel, stride, padding, groups);
        run_.batch = x.shape(0), run_.lanes = padded(run_.batch), run_.training = true;
        if (run_.batch < 1) refuse("a batch must have an example.");
        in_.channels = x.shape(1), in_.height = x.shape(2), in_.width = x.shape(3);
        out_.channels = indptr.size() - 1;
        out_.height = g.size_after(in_.height, g.kernel_h, g.stride_h, g.padding_h);
        out_.width = g.size_after(in_.width, g.kernel_w, g.stride_w, g.padding_w);
        in_.wants_gradient = want_x, out_.wants_gradient = true;
        op_ = std::make_unique<Conv2d<T>>(in_, out_, g, false);
        py::array_t<T> dvalue(value.size());
        op_->rewire(std::move(indptr), std::move(index), std::move(value), dvalue);
        if (bias) op_->set_bias(*bias, py::array_t<T>(bias->size()));
        const T* from = memory_of<T>(x, -1, "x");
        py::gil_scoped_release free;
        in_.resize(run_, false), out_.resize(run_, false);
        from_batch(run_, in_, from, in_.value());
        op_->prepare(run_);
    }

    void forward() { op_->forward(run_); }

    py::array_t<T> output() const { return to_array(out_, out_.value()); }

    void load_slope(py::array_t<T> dy) {
        const T* from = memory_of<T>(dy, run_.batch * out_.features(), "dy");
        py::gil_scoped_release free;
        in_.resize(run_, true), out_.resize(run_, true);
        from_batch(run_, out_, from, out_.gradient());
    }

    void backward() {
        in_.begin_backward(), out_.begin_backward();
        op_->backward(run_);
    }

    // (dvalue, dbias or None, dx or None).
    py::tuple gradients() const {
        py::object dbias = py::none(), dx = py::none();
        if (op_->bias.value != nullptr) dbias = op_->bias.gradient_array;
        if (in_.wants_gradient) dx = to_array(in_, in_.gradient());
        return py::make_tuple(op_->weight.gradient_array, dbias, dx);
    }

    // dL/dw at pairs (output channel, index within the row), after `backward`.
    py::array_t<T> gradient_at(py::array_t<int64_t> rows, py::array_t<int64_t> columns) {
        if (rows.size() != columns.size()) refuse("rows and columns must be as many.");
        py::array_t<T> result(rows.size());
        op_->gradient_at(run_, rows.size(), rows.data(), columns.data(), result.mutable_data());
        return result;
    }

private:
    py::array_t<T> to_array(const Buffer<T>& b, const T* from) const {
        py::array_t<T> made({run_.batch, b.channels, b.height, b.width});
        T* to = made.mutable_data();
        py::gil_scoped_release free;
        to_batch(run_, b, from, to);
        return made;
    }

    Buffer<T> in_, out_;
    Run run_;
    std::unique_ptr<Conv2d<T>> op_;
};

// -- operations of a plan -------------------------------------------------------------------------

template <class T>
void bind_images(py::module_& m, py::class_<Plan<T>>& plan, const char* name) {
    py::class_<Conv2dPass<T>>(m, name, py::module_local())
        .def(py::init<py::array, py::array, py::array_t<T>, std::optional<py::array_t<T>>,
                      py::array_t<T>, Pair, Pair, Pair, int64_t, bool>(),
             py::arg("indptr"), py::arg("index"), py::arg("value").noconvert(),
             py::arg("bias").noconvert().none(true), py::arg("x").noconvert(), py::arg("kernel"),
             py::arg("stride"), py::arg("padding"), py::arg("groups"), py::arg("want_x"))
        .def("forward", &Conv2dPass<T>::forward, py::call_guard<py::gil_scoped_release>())
        .def("output", &Conv2dPass<T>::output)
        .def("load_slope", &Conv2dPass<T>::load_slope, py::arg("dy").noconvert())
        .def("backward", &Conv2dPass<T>::backward, py::call_guard<py::gil_scoped_release>())
        .def("gradients", &Conv2dPass<T>::gradients)
        .def("gradient_at", &Conv2dPass<T>::gradient_at);

    plan.def("add_conv2d",
             [](Plan<T>& p, int64_t in, int64_t out, Pair kernel, Pair stride, Pair padding,
                int64_t groups, bool relu, py::array indptr, py::array index, py::array value,
                py::array gradient, const std::optional<py::array>& bias,
                const std::optional<py::array>& bias_gradient) {
                 auto op = std::make_unique<Conv2d<T>>(
                     p.buffer(in), p.buffer(out), geometry_of(kernel, stride, padding, groups),
                     relu);
                 op->rewire(std::move(indptr), std::move(index), std::move(value),
                            std::move(gradient));
                 if (bias && bias_gradient) op->set_bias(*bias, *bias_gradient);
                 return p.add(std::move(op), {in}, out);
             });
    plan.def("add_batch_norm",
             [](Plan<T>& p, int64_t in, std::optional<int64_t> residual, int64_t out, double eps,
                double momentum, bool relu, const std::vector<py::array>& affine,
                const std::vector<py::array>& running, const std::optional<py::array>& batches) {
                 Buffer<T>* added = residual ? &p.buffer(*residual) : nullptr;
                 auto op = std::make_unique<BatchNorm<T>>(p.buffer(in), added, p.buffer(out), eps,
                                                          momentum, relu);
                 if (affine.size() == 4) op->set_affine(affine[0], affine[1], affine[2], affine[3]);
                 if (running.size() == 2) op->set_running(running[0], running[1], batches);
                 std::vector<int64_t> inputs{in};
                 if (residual) inputs.push_back(*residual);
                 return p.add(std::move(op), inputs, out);
             });
    const auto window = [](Pair kernel, Pair stride, Pair padding) {
        return Window{kernel[0], kernel[1], stride[0], stride[1], padding[0], padding[1]};
    };
    plan.def("add_max_pool2d", [window](Plan<T>& p, int64_t in, int64_t out, Pair kernel,
                                        Pair stride, Pair padding) {
        return p.add(std::make_unique<MaxPool2d<T>>(p.buffer(in), p.buffer(out),
                                                    window(kernel, stride, padding)),
                     {in}, out);
    });
    plan.def("add_avg_pool2d", [window](Plan<T>& p, int64_t in, int64_t out, Pair kernel,
                                        Pair stride, Pair padding) {
        return p.add(std::make_unique<AvgPool2d<T>>(p.buffer(in), p.buffer(out),
                                                    window(kernel, stride, padding)),
                     {in}, out);
    });
    plan.def("add_sum", [](Plan<T>& p, int64_t a, int64_t b, int64_t out, bool relu) {
        return p.add(std::make_unique<Add<T>>(p.buffer(a), p.buffer(b), p.buffer(out), relu),
                     {a, b}, out);
    });
    plan.def("add_flatten", [](Plan<T>& p, int64_t in, int64_t out) {
        return p.add(std::make_unique<Flatten<T>>(p.buffer(in), p.buffer(out)), {in}, out);
    });
    plan.def("add_subsample", [](Plan<T>& p, int64_t in, int64_t out, Pair stride,
                                 int64_t before) {
        return p.add(std::make_unique<Subsample<T>>(p.buffer(in), p.buffer(out), stride[0],
                                                    stride[1], before),
                     {in}, out);
    });
}

}  // namespace rewire
