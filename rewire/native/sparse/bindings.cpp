// What Python sees of the sparse engine. Compiled once and linked with the engine of each generation
// of processors (setup.py); rewire.native chooses one of them. Nothing here may include vectors.hpp,
// whose types differ between generations.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <optional>
#include <tuple>
#include <variant>

#include "layers.hpp"
#include "plan.hpp"
#include "recurrent.hpp"
#include "spiking.hpp"

namespace py = pybind11;

namespace rewire {
namespace {

// -- arrays ---------------------------------------------------------------------------------------

Array array_of(const py::array& a) {
    const py::dtype type = a.dtype();
    const char order = type.byteorder();
    Array out;
    out.data = const_cast<void*>(a.data());
    out.size = a.size();
    out.dimensions = static_cast<int>(a.ndim());
    out.length = a.ndim() > 0 ? a.shape(0) : 0;
    out.kind = order == '=' || order == '|' ? type.kind() : 0;
    out.item_size = static_cast<int>(type.itemsize());
    out.contiguous = (a.flags() & py::array::c_style) != 0;
    out.owner = std::shared_ptr<void>(a.inc_ref().ptr(), [](void* object) {
        const py::gil_scoped_acquire lock;
        py::handle(static_cast<PyObject*>(object)).dec_ref();
    });
    return out;
}

using Maybe = std::optional<py::array>;

std::optional<Array> array_of(const Maybe& a) {
    return a ? std::optional<Array>(array_of(*a)) : std::nullopt;
}

std::vector<Array> arrays_of(const std::vector<py::array>& list) {
    std::vector<Array> out;
    for (const py::array& a : list) out.push_back(array_of(a));
    return out;
}

EdgeArrays edges_of(const py::array& indptr, const py::array& index, const py::array& value,
                    const py::array& gradient) {
    return {array_of(indptr), array_of(index), array_of(value), array_of(gradient)};
}

Bias bias_of(const Maybe& value, const Maybe& gradient) {
    if (!value || !gradient) return std::nullopt;
    return std::pair{array_of(*value), array_of(*gradient)};
}

template <class T>
T* memory_of(const py::array& a, int64_t size, const char* what) {
    return rewire::memory_of<T>(array_of(a), size, what);
}
template <class T>
T* memory_of(const Maybe& a, int64_t size, const char* what) {
    return a ? memory_of<T>(*a, size, what) : nullptr;
}

template <class T>
py::array new_array(std::vector<py::ssize_t> shape) {
    return py::array(py::dtype::of<T>(), std::move(shape));
}
template <class T>
T* begin(py::array& a) {
    return static_cast<T*>(a.mutable_data());
}
// The first item of an array that may be None.
template <class T>
T* begin(py::object& a) {
    return a.is_none() ? nullptr : static_cast<T*>(py::reinterpret_borrow<py::array>(a).mutable_data());
}

// One of an object for each type of numbers.
template <template <class> class O>
using Either = std::variant<std::unique_ptr<O<float>>, std::unique_ptr<O<double>>>;

// Calls f(float) or f(double), by what the array holds.
template <class F>
auto by_type(const py::array& a, F&& f) {
    const Array view = array_of(a);
    if (!holds<float>(view) && !holds<double>(view))
        refuse("arrays of numbers must be float32 or float64, got " +
               type_name(view.kind, view.item_size) + ".");
    return holds<float>(view) ? f(float()) : f(double());
}

Connectivity connectivity(const py::array& indptr, const py::array& index, int64_t columns) {
    Connectivity csr;
    csr.rows = indptr.size() - 1;
    csr.columns = columns;
    csr.set(array_of(indptr), array_of(index));
    return csr;
}

std::unique_ptr<ByColumn> by_column(const py::array& indptr, const py::array& index,
                                    int64_t columns) {
    auto edges = std::make_unique<ByColumn>();
    edges->build(connectivity(indptr, index, columns));
    return edges;
}

// How many rows of these edges a linear layer computes two at a time.
int64_t paired_rows(const py::array& indptr, const py::array& index, int64_t columns) {
    int64_t paired = 0;
    for (const RowRun& run : RowRuns(connectivity(indptr, index, columns)).runs)
        if (run.paired) paired += run.end - run.first;
    return paired;
}

// -- linear layers by themselves ------------------------------------------------------------------

// y (batch, rows), and x as (columns, lanes) for the backward pass.
py::tuple linear_forward(const py::array& indptr, const py::array& index, const py::array& value,
                         const Maybe& bias, const py::array& x) {
    if (x.ndim() != 2) refuse("x must be (batch, features).");
    return by_type(x, [&](auto number) {
        using T = decltype(number);
        const int64_t batch = x.shape(0), columns = x.shape(1);
        const Connectivity csr = connectivity(indptr, index, columns);
        const T* w = memory_of<T>(value, csr.edges(), "value");
        const T* b = memory_of<T>(bias, csr.rows, "bias");
        const T* from = memory_of<T>(x, -1, "x");
        py::array kept = new_array<T>({columns, padded(batch)});
        py::array y = new_array<T>({batch, csr.rows});
        T *keep = begin<T>(kept), *to = begin<T>(y);
        {
            py::gil_scoped_release free;
            linear_forward_batch(csr, w, b, batch, from, keep, to);
        }
        return py::make_tuple(y, kept);
    });
}

// (dvalue, dbias or None, dx or None) from dy (batch, rows) and what the forward pass kept.
// by_column: the same edges, made once for several passes; null where edges change in every one.
py::tuple linear_backward(const py::array& indptr, const py::array& index, const py::array& value,
                          const py::array& kept, const py::array& dy, bool want_bias, bool want_x,
                          const ByColumn* by_column) {
    if (dy.ndim() != 2 || kept.ndim() != 2) refuse("dy and kept must be matrices.");
    return by_type(dy, [&](auto number) {
        using T = decltype(number);
        const int64_t batch = dy.shape(0), columns = kept.shape(0);
        const Connectivity csr = connectivity(indptr, index, columns);
        if (by_column != nullptr && !by_column->of(csr))
            refuse("by_column is of other edges: make it again where edges changed.");
        const T* w = memory_of<T>(value, csr.edges(), "value");
        const T* x = memory_of<T>(kept, columns * padded(batch), "kept");
        const T* from = memory_of<T>(dy, batch * csr.rows, "dy");
        py::array dvalue = new_array<T>({csr.edges()});
        py::object dbias = py::none(), dx = py::none();
        if (want_bias) dbias = new_array<T>({csr.rows});
        if (want_x) dx = new_array<T>({batch, columns});
        T *dw = begin<T>(dvalue), *db = begin<T>(dbias), *to = begin<T>(dx);
        {
            py::gil_scoped_release free;
            linear_backward_batch(csr, w, x, batch, from, by_column, dw, db, to);
        }
        return py::make_tuple(dvalue, dbias, dx);
    });
}

// -- recurrent layers -----------------------------------------------------------------------------

struct AnySequence {
    Either<Sequence> sequence;
};
// Edges of a weight as the rows of its gates, and its bias: indptr, index, value, bias.
using GateEdges = std::tuple<py::array, py::array, py::array, Maybe>;

template <class T>
void set_weights(Weights<T>& weights, const GateEdges& edges, int64_t columns, int64_t rows) {
    const auto& [indptr, index, value, bias] = edges;
    weights.csr = connectivity(indptr, index, columns);
    if (weights.csr.rows != rows)
        refuse("a weight must have a row for each of " + std::to_string(rows) + " gates, got " +
               std::to_string(weights.csr.rows) + ".");
    weights.rows.build(weights.csr);
    weights.value = memory_of<T>(value, weights.csr.edges(), "value");
    weights.value_array = array_of(value);
    if (!bias) return;
    weights.bias = memory_of<T>(bias, rows, "bias");
    weights.bias_array = array_of(*bias);
}

// (out (steps, batch, units), state and cells (batch, units) after the last step, what a backward
// pass needs). x: (steps, batch, features), or the gates' share of it where there is no `input`.
py::tuple recurrent_forward(const std::string& mode, const py::array& x,
                            const std::optional<GateEdges>& input, const GateEdges& state,
                            const py::array& h, const Maybe& c, bool backwards, bool keep) {
    if (x.ndim() != 3 || h.ndim() != 2 || x.shape(0) == 0)
        refuse("x must be (steps, batch, features), with a step at least, and h (batch, units).");
    return by_type(x, [&](auto number) {
        using T = decltype(number);
        auto run = std::make_unique<Sequence<T>>();
        run->cell = cell_of(mode);
        run->steps = x.shape(0), run->batch = x.shape(1), run->lanes = padded(x.shape(1));
        run->units = h.shape(1), run->backwards = backwards, run->inputs = x.shape(2);
        const int64_t size = run->batch * run->units;
        const T* h_from = memory_of<T>(h, size, "h");
        if ((run->cell == Cell::lstm) != c.has_value()) refuse("an LSTM, and no other, has cells.");
        const T* c_from = memory_of<T>(c, size, "c");
        set_weights(run->state, state, run->units, run->width());
        if (input) set_weights(run->input, *input, run->inputs, run->width());
        else if (run->inputs != run->width()) refuse("x must hold a number for each gate.");
        const T* from = memory_of<T>(x, -1, "x");
        py::array out = new_array<T>({run->steps, run->batch, run->units});
        py::array h_end = new_array<T>({run->batch, run->units});
        py::object c_end = py::none(), kept = py::none();
        if (c) c_end = new_array<T>({run->batch, run->units});
        T *to = begin<T>(out), *h_to = begin<T>(h_end), *c_to = begin<T>(c_end);
        {
            py::gil_scoped_release free;
            run->forward(from, h_from, c_from, to, h_to, c_to, keep);
        }
        if (keep) kept = py::cast(std::make_unique<AnySequence>(AnySequence{std::move(run)}));
        return py::make_tuple(out, h_end, c_end, kept);
    });
}

// What a backward pass makes for one weight: (dvalue, dbias or None, what reached its gates at each
// step or None).
template <class T>
py::tuple slopes_of(const Sequence<T>& run, const Weights<T>& weights, bool want_passed,
                    Slopes<T>& to) {
    py::array value = new_array<T>({weights.csr.edges()});
    py::object bias = py::none(), passed = py::none();
    if (weights.bias != nullptr) bias = new_array<T>({run.width()});
    if (want_passed) passed = new_array<T>({run.steps, run.batch, run.width()});
    to.value = begin<T>(value), to.bias = begin<T>(bias), to.passed = begin<T>(passed);
    return py::make_tuple(value, bias, passed);
}

// (dx or None, dh, dc or None, of the input's weight or None, of the state's) from the gradients of
// what the forward pass returned.
template <class T>
py::tuple backward_through(Sequence<T>& run, const py::array& dout, const Maybe& dh_end,
                           const Maybe& dc_end, bool want_x, bool want_input_passes,
                           bool want_state_passes) {
    const int64_t size = run.batch * run.units;
    const T* from = memory_of<T>(dout, run.steps * size, "dout");
    const T* dh_from = memory_of<T>(dh_end, size, "dh");
    const T* dc_from = memory_of<T>(dc_end, size, "dc");
    Slopes<T> input, state;
    py::object of_input = py::none(), dx = py::none(), dc = py::none();
    if (run.input.there()) of_input = slopes_of(run, run.input, want_input_passes, input);
    const py::tuple of_state = slopes_of(run, run.state, want_state_passes, state);
    if (want_x) dx = new_array<T>({run.steps, run.batch, run.inputs});
    if (run.cell == Cell::lstm) dc = new_array<T>({run.batch, run.units});
    py::array dh = new_array<T>({run.batch, run.units});
    T *x_to = begin<T>(dx), *h_to = begin<T>(dh), *c_to = begin<T>(dc);
    {
        py::gil_scoped_release free;
        run.backward(from, dh_from, dc_from, x_to, h_to, c_to, input, state);
    }
    return py::make_tuple(dx, dh, dc, of_input, of_state);
}

py::tuple recurrent_backward(AnySequence& run, const py::array& dout, const Maybe& dh,
                             const Maybe& dc, bool want_x, bool want_input_passes,
                             bool want_state_passes) {
    return std::visit(
        [&](auto& sequence) {
            return backward_through(*sequence, dout, dh, dc, want_x, want_input_passes,
                                    want_state_passes);
        },
        run.sequence);
}

// -- spiking layers -------------------------------------------------------------------------------

#include "spiking_bindings.hpp"

// -- convolutions by themselves -------------------------------------------------------------------

using Pair = std::array<int64_t, 2>;  // (vertical, horizontal)

Geometry geometry_of(const Pair& kernel, const Pair& stride, const Pair& padding, int64_t groups) {
    if (kernel[0] < 1 || kernel[1] < 1 || stride[0] < 1 || stride[1] < 1 || padding[0] < 0 ||
        padding[1] < 0)
        refuse("kernels and strides must be positive, padding must not be negative.");
    return {kernel[0], kernel[1], stride[0], stride[1], padding[0], padding[1], groups};
}

struct Convolution {
    Either<Conv2dPass> pass;
    py::array dvalue;
    py::object dbias;
};

template <class T>
std::unique_ptr<Convolution> convolution(const py::array& indptr, const py::array& index,
                                         const py::array& value, const Maybe& bias,
                                         const py::array& x, const Pair& kernel,
                                         const Pair& stride, const Pair& padding, int64_t groups,
                                         bool want_x) {
    if (x.ndim() != 4) refuse("x must be (batch, channels, height, width).");
    py::array dvalue = new_array<T>({value.size()});
    py::object dbias = py::none();
    Bias with_gradient;
    if (bias) {
        const py::array gradient = new_array<T>({bias->size()});
        with_gradient = bias_of(bias, gradient);
        dbias = gradient;
    }
    auto pass = std::make_unique<Conv2dPass<T>>(
        x.shape(0), Shape{x.shape(1), x.shape(2), x.shape(3)}, indptr.size() - 1,
        geometry_of(kernel, stride, padding, groups), edges_of(indptr, index, value, dvalue),
        std::move(with_gradient), want_x);
    const T* from = memory_of<T>(x, -1, "x");
    {
        py::gil_scoped_release free;
        pass->load(from);
    }
    return std::make_unique<Convolution>(Convolution{std::move(pass), dvalue, dbias});
}

void convolve(Convolution& c) {
    py::gil_scoped_release free;
    std::visit([](auto& pass) { pass->forward(); }, c.pass);
}

void convolve_back(Convolution& c) {
    py::gil_scoped_release free;
    std::visit([](auto& pass) { pass->backward(); }, c.pass);
}

// What `read` gives of a pass, as (batch, channels, height, width).
template <class T, class F>
py::array pictures(const Conv2dPass<T>& pass, const Shape& shape, F&& read) {
    py::array out = new_array<T>({pass.batch(), shape.channels, shape.height, shape.width});
    T* to = begin<T>(out);
    py::gil_scoped_release free;
    read(pass, to);
    return out;
}

py::array convolution_output(const Convolution& c) {
    return std::visit(
        [](auto& pass) {
            return pictures(*pass, pass->output(), [](auto& p, auto* to) { p.output(to); });
        },
        c.pass);
}

template <class T>
void load_slope_of(Conv2dPass<T>& pass, const py::array& dy) {
    const Shape shape = pass.output();
    const T* from =
        memory_of<T>(dy, pass.batch() * shape.channels * shape.height * shape.width, "dy");
    py::gil_scoped_release free;
    pass.load_slope(from);
}

void load_slope(Convolution& c, const py::array& dy) {
    std::visit([&](auto& pass) { load_slope_of(*pass, dy); }, c.pass);
}

// (dvalue, dbias or None, dx or None).
py::tuple convolution_gradients(const Convolution& c) {
    const py::object dx = std::visit(
        [](auto& pass) -> py::object {
            if (!pass->wants_input()) return py::none();
            return pictures(*pass, pass->input(), [](auto& p, auto* to) { p.input_slope(to); });
        },
        c.pass);
    return py::make_tuple(c.dvalue, c.dbias, dx);
}

using Integers = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;

template <class T>
py::array gradient_at_pairs(Conv2dPass<T>& pass, const Integers& rows, const Integers& columns) {
    py::array out = new_array<T>({rows.size()});
    pass.gradient_at(rows.size(), rows.data(), columns.data(), begin<T>(out));
    return out;
}

// dL/dw at pairs (output channel, index within the row), after `backward`.
py::array convolution_gradient_at(Convolution& c, const Integers& rows, const Integers& columns) {
    if (rows.size() != columns.size()) refuse("rows and columns must be as many.");
    return std::visit([&](auto& pass) { return gradient_at_pairs(*pass, rows, columns); }, c.pass);
}

void bind_convolutions(py::module_& m) {
    py::class_<Convolution>(m, "Conv2dPass", py::module_local())
        .def("forward", &convolve)
        .def("output", &convolution_output)
        .def("load_slope", &load_slope, py::arg("dy"))
        .def("backward", &convolve_back)
        .def("gradients", &convolution_gradients)
        .def("gradient_at", &convolution_gradient_at, py::arg("rows"), py::arg("columns"));
    for (const auto& [name, make] : {std::pair{"Conv2dFloat32", &convolution<float>},
                                     std::pair{"Conv2dFloat64", &convolution<double>}})
        m.def(name, make, py::arg("indptr"), py::arg("index"), py::arg("value"), py::arg("bias"),
              py::arg("x"), py::arg("kernel"), py::arg("stride"), py::arg("padding"),
              py::arg("groups"), py::arg("want_x"));
}

// -- plans ----------------------------------------------------------------------------------------

struct AnyPlan {
    Either<Plan> plan;

    template <class F>
    auto visit(F&& f) {
        return std::visit([&](auto& plan) { return f(*plan); }, plan);
    }
};

template <class T>
std::unique_ptr<AnyPlan> new_plan(int64_t channels, int64_t height, int64_t width) {
    return std::make_unique<AnyPlan>(AnyPlan{std::make_unique<Plan<T>>(channels, height, width)});
}

int64_t add_buffer(AnyPlan& any, int64_t channels, int64_t height, int64_t width) {
    return any.visit([&](auto& plan) { return plan.add_buffer(channels, height, width); });
}

int64_t add_linear(AnyPlan& any, int64_t in, int64_t out, const py::array& indptr,
                   const py::array& index, const py::array& value, const py::array& gradient,
                   const Maybe& bias, const Maybe& bias_gradient, bool relu) {
    return any.visit([&](auto& plan) {
        return plan.add_linear(in, out, edges_of(indptr, index, value, gradient),
                               bias_of(bias, bias_gradient), relu);
    });
}

int64_t add_dense_linear(AnyPlan& any, int64_t in, int64_t out, const py::array& weight,
                         const py::array& gradient, const Maybe& bias, const Maybe& bias_gradient,
                         bool relu) {
    return any.visit([&](auto& plan) {
        return plan.add_dense_linear(in, out, array_of(weight), array_of(gradient),
                                     bias_of(bias, bias_gradient), relu);
    });
}

int64_t add_conv2d(AnyPlan& any, int64_t in, int64_t out, const Pair& kernel, const Pair& stride,
                   const Pair& padding, int64_t groups, bool relu, const py::array& indptr,
                   const py::array& index, const py::array& value, const py::array& gradient,
                   const Maybe& bias, const Maybe& bias_gradient) {
    return any.visit([&](auto& plan) {
        return plan.add_conv2d(in, out, geometry_of(kernel, stride, padding, groups), relu,
                               edges_of(indptr, index, value, gradient),
                               bias_of(bias, bias_gradient));
    });
}

int64_t add_batch_norm(AnyPlan& any, int64_t in, std::optional<int64_t> residual, int64_t out,
                       double eps, double momentum, bool relu,
                       const std::vector<py::array>& affine,
                       const std::vector<py::array>& running, const Maybe& batches) {
    return any.visit([&](auto& plan) {
        return plan.add_batch_norm(in, residual, out, eps, momentum, relu, arrays_of(affine),
                                   arrays_of(running), array_of(batches));
    });
}

Window window_of(const Pair& kernel, const Pair& stride, const Pair& padding) {
    return {kernel[0], kernel[1], stride[0], stride[1], padding[0], padding[1]};
}

int64_t add_max_pool2d(AnyPlan& any, int64_t in, int64_t out, const Pair& kernel,
                       const Pair& stride, const Pair& padding) {
    return any.visit([&](auto& plan) {
        return plan.add_max_pool2d(in, out, window_of(kernel, stride, padding));
    });
}

int64_t add_avg_pool2d(AnyPlan& any, int64_t in, int64_t out, const Pair& kernel,
                       const Pair& stride, const Pair& padding) {
    return any.visit([&](auto& plan) {
        return plan.add_avg_pool2d(in, out, window_of(kernel, stride, padding));
    });
}

int64_t add_relu(AnyPlan& any, int64_t in, int64_t out) {
    return any.visit([&](auto& plan) { return plan.add_relu(in, out); });
}

int64_t add_tanh(AnyPlan& any, int64_t in, int64_t out) {
    return any.visit([&](auto& plan) { return plan.add_tanh(in, out); });
}

int64_t add_flatten(AnyPlan& any, int64_t in, int64_t out) {
    return any.visit([&](auto& plan) { return plan.add_flatten(in, out); });
}

int64_t add_sum(AnyPlan& any, int64_t a, int64_t b, int64_t out, bool relu) {
    return any.visit([&](auto& plan) { return plan.add_sum(a, b, out, relu); });
}

int64_t add_subsample(AnyPlan& any, int64_t in, int64_t out, const Pair& stride, int64_t before) {
    return any.visit(
        [&](auto& plan) { return plan.add_subsample(in, out, stride[0], stride[1], before); });
}

void set_scale(AnyPlan& any, std::vector<double> scale, std::vector<double> offset) {
    any.visit([&](auto& plan) { plan.set_scale(std::move(scale), std::move(offset)); });
}

// A parameter's operation, its place among those of the operation, its group, and its state.
using Entries = std::vector<std::tuple<int64_t, int64_t, int64_t, std::vector<py::array>>>;

template <class T>
void set_optimiser_of(Plan<T>& plan, const std::string& method, const py::array& numbers,
                      const Entries& entries) {
    if (method != "sgd" && method != "adam") refuse("there is no optimiser " + method + ".");
    plan.optimiser().set(method == "sgd" ? Method::sgd : Method::adam, array_of(numbers));
    for (const auto& [op, which, group, state] : entries) {
        const auto parameters = plan.op(op).parameters();
        if (which < 0 || which >= static_cast<int64_t>(parameters.size()))
            refuse("operation " + std::to_string(op) + " has no parameter " +
                   std::to_string(which) + ".");
        plan.optimiser().add(parameters[which], group, arrays_of(state));
    }
}

void set_optimiser(AnyPlan& any, const std::string& method, const py::array& numbers,
                   const Entries& entries) {
    any.visit([&](auto& plan) { set_optimiser_of(plan, method, numbers, entries); });
}

void rewire_edges(AnyPlan& any, int64_t op, const py::array& indptr, const py::array& index,
                  const py::array& value, const py::array& gradient, bool trusted) {
    any.visit([&](auto& plan) {
        plan.edges(op).rewire(edges_of(indptr, index, value, gradient), trusted);
    });
}

template <class T>
py::array logits_of(Plan<T>& plan, const py::array& x, const Maybe& rows, bool training) {
    plan.load(array_of(x), array_of(rows));
    py::array logits = new_array<T>({plan.examples(), plan.classes()});
    T* to = begin<T>(logits);
    py::gil_scoped_release free;
    plan.logits(training, to);
    return logits;
}

py::array forward(AnyPlan& any, const py::array& x, const Maybe& rows, bool training) {
    return any.visit([&](auto& plan) { return logits_of(plan, x, rows, training); });
}

double backward(AnyPlan& any, const py::array& y, bool step) {
    return any.visit([&](auto& plan) {
        plan.check_ready();
        if (step) plan.optimiser().check();
        const std::vector<int64_t> labels = plan.labels_of(array_of(y), false);
        py::gil_scoped_release free;
        return plan.backward_all(labels.data(), step);
    });
}

void step(AnyPlan& any) {
    any.visit([&](auto& plan) {
        plan.optimiser().check();
        plan.optimiser().step();
        plan.optimiser().count();
    });
}

double train_step(AnyPlan& any, const py::array& x, const py::array& y, const Maybe& rows,
                  bool step) {
    return any.visit([&](auto& plan) {
        if (step) plan.optimiser().check();
        plan.load(array_of(x), array_of(rows));
        const std::vector<int64_t> labels = plan.labels_of(array_of(y), true);
        py::gil_scoped_release free;
        plan.forward_all(true);
        return plan.backward_all(labels.data(), step);
    });
}

// Mean cross-entropy, and how many are classified right.
std::pair<double, int64_t> evaluate(AnyPlan& any, const py::array& x, const py::array& y,
                                    const Maybe& rows) {
    return any.visit([&](auto& plan) {
        plan.load(array_of(x), array_of(rows));
        const std::vector<int64_t> labels = plan.labels_of(array_of(y), true);
        py::gil_scoped_release free;
        return plan.evaluate(labels.data());
    });
}

template <class T>
py::array gradients_at(Plan<T>& plan, int64_t op, const py::array& rows,
                       const py::array& columns) {
    const Array r = array_of(rows), c = array_of(columns);
    py::array gradient = new_array<T>({r.size});
    T* to = begin<T>(gradient);
    py::gil_scoped_release free;
    plan.gradient_at(op, r, c, to);
    return gradient;
}

py::array gradient_at(AnyPlan& any, int64_t op, const py::array& rows, const py::array& columns) {
    return any.visit([&](auto& plan) { return gradients_at(plan, op, rows, columns); });
}

template <class T>
py::array dense_gradients(Plan<T>& plan, int64_t op) {
    const Csr& csr = plan.kept_edges(op).csr;
    py::array gradient = new_array<T>({csr.rows, csr.columns});
    T* to = begin<T>(gradient);
    py::gil_scoped_release free;
    plan.dense_gradient(op, to);
    return gradient;
}

py::array dense_gradient(AnyPlan& any, int64_t op) {
    return any.visit([&](auto& plan) { return dense_gradients(plan, op); });
}

// (keys rising, their scores, positions without an edge, gradients there that are not a number).
template <class T>
py::tuple best_absent(Plan<T>& plan, int64_t op, int64_t k, const Maybe& leaving) {
    const int64_t edges = plan.kept_edges(op).csr.edges();
    if (k < 0) refuse("k must not be negative.");
    const uint8_t* gone = memory_of<uint8_t>(leaving, edges, "leaving");
    Absent<T> absent;
    {
        py::gil_scoped_release free;
        absent = plan.top_absent(op, k, gone);
    }
    const auto n = static_cast<py::ssize_t>(absent.best.size());
    py::array keys = new_array<int64_t>({n}), scores = new_array<T>({n});
    T* score = begin<T>(scores);
    int64_t* key = begin<int64_t>(keys);
    for (py::ssize_t i = 0; i < n; ++i) {
        score[i] = absent.best[i].first;
        key[i] = absent.best[i].second;
    }
    return py::make_tuple(keys, scores, absent.absent, absent.nan);
}

py::tuple top_absent(AnyPlan& any, int64_t op, int64_t k, const Maybe& leaving) {
    return any.visit([&](auto& plan) { return best_absent(plan, op, k, leaving); });
}

void bind_plans(py::module_& m) {
    const auto none = py::none();
    const py::arg in("input"), out("output"), op("op");
    py::class_<AnyPlan>(m, "Plan", py::module_local())
        .def("add_buffer", &add_buffer, py::arg("channels"), py::arg("height"), py::arg("width"))
        .def("add_linear", &add_linear, in, out, py::arg("indptr"), py::arg("index"),
             py::arg("value"), py::arg("gradient"), py::arg("bias") = none,
             py::arg("bias_gradient") = none, py::arg("relu") = false)
        .def("add_dense_linear", &add_dense_linear, in, out, py::arg("weight"),
             py::arg("gradient"), py::arg("bias") = none, py::arg("bias_gradient") = none,
             py::arg("relu") = false)
        .def("add_conv2d", &add_conv2d)
        .def("add_batch_norm", &add_batch_norm)
        .def("add_max_pool2d", &add_max_pool2d)
        .def("add_avg_pool2d", &add_avg_pool2d)
        .def("add_relu", &add_relu, in, out)
        .def("add_tanh", &add_tanh, in, out)
        .def("add_flatten", &add_flatten, in, out)
        .def("add_sum", &add_sum)
        .def("add_subsample", &add_subsample)
        .def("set_scale", &set_scale, py::arg("scale"), py::arg("offset"))
        .def("set_optimiser", &set_optimiser, py::arg("method"), py::arg("numbers"),
             py::arg("entries"))
        .def("rewire", &rewire_edges, op, py::arg("indptr"), py::arg("index"), py::arg("value"),
             py::arg("gradient"), py::arg("trusted") = false)
        .def("forward", &forward, py::arg("x"), py::arg("rows") = none,
             py::arg("training") = false)
        .def("backward", &backward, py::arg("y"), py::arg("step") = false)
        .def("step", &step)
        .def("train_step", &train_step, py::arg("x"), py::arg("y"), py::arg("rows") = none,
             py::arg("step") = true)
        .def("evaluate", &evaluate, py::arg("x"), py::arg("y"), py::arg("rows") = none)
        .def("gradient_at", &gradient_at, op, py::arg("rows"), py::arg("columns"))
        .def("dense_gradient", &dense_gradient, op)
        .def("top_absent", &top_absent, op, py::arg("k"), py::arg("leaving") = none);
    for (const auto& [name, make] :
         {std::pair{"PlanFloat32", &new_plan<float>}, std::pair{"PlanFloat64", &new_plan<double>}})
        m.def(name, make, py::arg("channels"), py::arg("height"), py::arg("width"));
}

// -- the module -----------------------------------------------------------------------------------

void bind_all(py::module_& m) {
    m.attr("vector_bytes") = vector_bytes<float>();
    py::class_<ByColumn>(m, "ByColumn", py::module_local())
        .def(py::init(&by_column), py::arg("indptr"), py::arg("index"), py::arg("columns"));
    m.def("paired_rows", &paired_rows, py::arg("indptr"), py::arg("index"), py::arg("columns"));
    m.def("linear_forward", &linear_forward, py::arg("indptr"), py::arg("index"),
          py::arg("value"), py::arg("bias"), py::arg("x"));
    m.def("linear_backward", &linear_backward, py::arg("indptr"), py::arg("index"),
          py::arg("value"), py::arg("kept"), py::arg("dy"), py::arg("want_bias"),
          py::arg("want_x"), py::arg("by_column") = py::none());
    py::class_<AnySequence>(m, "Sequence", py::module_local());
    m.def("recurrent_forward", &recurrent_forward, py::arg("mode"), py::arg("x"),
          py::arg("input"), py::arg("state"), py::arg("h"), py::arg("c"), py::arg("backwards"),
          py::arg("keep"));
    m.def("recurrent_backward", &recurrent_backward, py::arg("run"), py::arg("dout"),
          py::arg("dh"), py::arg("dc"), py::arg("want_x"), py::arg("want_input_passes"),
          py::arg("want_state_passes"));
    bind_spiking(m);
    bind_convolutions(m);
    bind_plans(m);
}

}  // namespace
}  // namespace rewire

// One name for each generation; a module uses its own.
PYBIND11_MODULE(_sparse, m) { rewire::bind_all(m); }
PYBIND11_MODULE(_sparse_v3, m) { rewire::bind_all(m); }
PYBIND11_MODULE(_sparse_v4, m) { rewire::bind_all(m); }
