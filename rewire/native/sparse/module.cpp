// The sparse engine: layers on lists of edges, O(edges) in time and memory. Compiled once for each
// generation of processors (setup.py); rewire.native chooses one of them.

#include "bind_images.hpp"
#include "elementwise.hpp"
#include "linear.hpp"
#include "plan.hpp"
#include "recurrent.hpp"

namespace rewire {
namespace {

// -- layers by themselves, batch-first ------------------------------------------------------------

Connectivity connectivity(py::array indptr, py::array index, int64_t columns) {
    Connectivity csr;
    csr.rows = indptr.size() - 1;
    csr.columns = columns;
    csr.set(std::move(indptr), std::move(index));
    return csr;
}

// y (batch, rows), and x as (columns, lanes) for the backward pass.
template <class T>
py::tuple linear_forward_batch(py::array indptr, py::array index, py::array_t<T> value,
                               const std::optional<py::array_t<T>>& bias, py::array_t<T> x) {
    if (x.ndim() != 2) refuse("x must be (batch, features).");
    const int64_t batch = x.shape(0), columns = x.shape(1), lanes = padded(batch);
    const Connectivity csr = connectivity(std::move(indptr), std::move(index), columns);
    const T* w = memory_of<T>(value, csr.edges(), "value");
    const T* b = bias ? memory_of<T>(*bias, csr.rows, "bias") : nullptr;
    const T* from = memory_of<T>(x, -1, "x");
    py::array_t<T> kept({columns, lanes}), y({batch, csr.rows});
    T* xt = kept.mutable_data();
    T* out = y.mutable_data();
    {
        py::gil_scoped_release free;
        Memory<T> yt;
        yt.grow(csr.rows * lanes);
        features_first(batch, columns, from, xt, lanes);
        linear_forward(csr, w, b, xt, yt.data(), lanes, false);
        batch_first(batch, csr.rows, yt.data(), lanes, out);
    }
    return py::make_tuple(y, kept);
}

// (dvalue, dbias or None, dx or None) from dy (batch, rows) and what the forward pass kept.
// by_column: the same edges, made once for several passes; null where edges change in every one.
template <class T>
py::tuple linear_backward_batch(py::array indptr, py::array index, py::array_t<T> value,
                                py::array_t<T> kept, py::array_t<T> dy, bool want_bias,
                                bool want_x, const ByColumn* by_column) {
    if (dy.ndim() != 2 || kept.ndim() != 2) refuse("dy and kept must be matrices.");
    const int64_t batch = dy.shape(0), columns = kept.shape(0), lanes = kept.shape(1);
    const Connectivity csr = connectivity(std::move(indptr), std::move(index), columns);
    if (by_column != nullptr && !by_column->of(csr))
        refuse("by_column is of other edges: make it again where edges changed.");
    const T* w = memory_of<T>(value, csr.edges(), "value");
    const T* x = memory_of<T>(kept, columns * padded(batch), "kept");
    const T* from = memory_of<T>(dy, batch * csr.rows, "dy");
    py::array_t<T> dvalue(csr.edges());
    py::object dbias = py::none(), dx = py::none();
    T* dw = dvalue.mutable_data();
    T *db = nullptr, *dxb = nullptr;
    if (want_bias) {
        py::array_t<T> made(csr.rows);
        db = made.mutable_data();
        dbias = made;
    }
    if (want_x) {
        py::array_t<T> made({batch, columns});
        dxb = made.mutable_data();
        dx = made;
    }
    {
        py::gil_scoped_release free;
        Memory<T> dyt, dxt;
        Memory<int64_t> cursor;
        features_first(batch, csr.rows, from, dyt.grow(csr.rows * lanes), lanes);
        if (db != nullptr)
            close_rows<T>(csr.rows, lanes, nullptr, dyt.data(), db, false);
        if (dxb != nullptr) dxt.grow(columns * lanes);
        const bool scatters = dxb != nullptr && by_column == nullptr;
        if (scatters) dxt.zeros(columns * lanes);
        linear_backward(csr, w, x, dyt.data(), dw, scatters ? dxt.data() : nullptr, lanes, cursor);
        if (dxb != nullptr && !scatters)
            gather_dx(*by_column, w, dyt.data(), dxt.data(), lanes, false);
        if (dxb != nullptr) batch_first(batch, columns, dxt.data(), lanes, dxb);
    }
    return py::make_tuple(dvalue, dbias, dx);
}

// -- recurrent layers -----------------------------------------------------------------------------

using Maybe = std::optional<py::array>;
// Edges of a weight as the rows of its gates, and its bias: indptr, index, value, bias.
using Given = std::tuple<py::array, py::array, py::array, Maybe>;

template <class T>
void take(Weights<T>& weights, const Given& given, int64_t columns, int64_t rows) {
    const auto& [indptr, index, value, bias] = given;
    weights.csr = connectivity(indptr, index, columns);
    if (weights.csr.rows != rows)
        refuse("a weight must have a row for each of " + std::to_string(rows) + " gates, got " +
               std::to_string(weights.csr.rows) + ".");
    weights.value = memory_of<T>(value, weights.csr.edges(), "value");
    weights.value_array = value;
    if (!bias) return;
    weights.bias = memory_of<T>(*bias, rows, "bias");
    weights.bias_array = *bias;
}

// (out (steps, batch, units), state and cells (batch, units) after the last step, what a backward
// pass needs). x: (steps, batch, features), or the gates' share of it where there is no `input`.
template <class T>
py::tuple recurrent_forward(const std::string& mode, py::array_t<T> x,
                            const std::optional<Given>& input, const Given& state,
                            py::array_t<T> h, const std::optional<py::array_t<T>>& c,
                            bool backwards, bool keep) {
    if (x.ndim() != 3 || h.ndim() != 2 || x.shape(0) == 0)
        refuse("x must be (steps, batch, features), with a step at least, and h (batch, units).");
    auto run = std::make_unique<Sequence<T>>();
    run->cell = cell_of(mode);
    run->steps = x.shape(0), run->batch = x.shape(1), run->lanes = padded(x.shape(1));
    run->units = h.shape(1), run->backwards = backwards, run->inputs = x.shape(2);
    const int64_t size = run->batch * run->units;
    const T* from = memory_of<T>(h, size, "h");
    if ((run->cell == Cell::lstm) != c.has_value()) refuse("an LSTM, and no other, has cells.");
    const T* cells = c ? memory_of<T>(*c, size, "c") : nullptr;
    take(run->state, state, run->units, run->width());
    if (input) take(run->input, *input, run->inputs, run->width());
    else if (run->inputs != run->width()) refuse("x must hold a number for each gate.");
    const T* given = memory_of<T>(x, -1, "x");
    py::array_t<T> out({run->steps, run->batch, run->units}), h_end({run->batch, run->units});
    py::object c_end = py::none();
    T *to = out.mutable_data(), *h_to = h_end.mutable_data(), *c_to = nullptr;
    if (c) {
        py::array_t<T> made({run->batch, run->units});
        c_to = made.mutable_data();
        c_end = made;
    }
    {
        py::gil_scoped_release free;
        run->forward(given, from, cells, to, h_to, c_to, keep);
    }
    if (!keep) return py::make_tuple(out, h_end, c_end, py::none());
    return py::make_tuple(out, h_end, c_end, std::move(run));
}

// What a backward pass makes for one weight: (dvalue, dbias or None, what reached its gates at each
// step or None).
template <class T>
py::tuple slopes_of(const Sequence<T>& run, const Weights<T>& weights, bool want_passes,
                    Slopes<T>& to) {
    py::array_t<T> value(weights.csr.edges());
    py::object bias = py::none(), passed = py::none();
    to.value = value.mutable_data();
    if (weights.bias != nullptr) {
        py::array_t<T> made(run.width());
        to.bias = made.mutable_data();
        bias = made;
    }
    if (want_passes) {
        py::array_t<T> made({run.steps, run.batch, run.width()});
        to.passed = made.mutable_data();
        passed = made;
    }
    return py::make_tuple(value, bias, passed);
}

// (dx or None, dh, dc or None, of the input's weight or None, of the state's) from the gradients of
// what the forward pass returned.
template <class T>
py::tuple recurrent_backward(Sequence<T>& run, py::array_t<T> dout,
                             const std::optional<py::array_t<T>>& dh_end,
                             const std::optional<py::array_t<T>>& dc_end, bool want_x,
                             bool want_input_passes, bool want_state_passes) {
    const int64_t size = run.batch * run.units;
    const T* from = memory_of<T>(dout, run.steps * size, "dout");
    const T* dh = dh_end ? memory_of<T>(*dh_end, size, "dh") : nullptr;
    const T* dc = dc_end ? memory_of<T>(*dc_end, size, "dc") : nullptr;
    Slopes<T> input, state;
    py::object of_input = py::none(), dx = py::none(), dcells = py::none();
    if (run.input.there()) of_input = slopes_of(run, run.input, want_input_passes, input);
    const py::tuple of_state = slopes_of(run, run.state, want_state_passes, state);
    T *x_to = nullptr, *c_to = nullptr;
    if (want_x) {
        py::array_t<T> made({run.steps, run.batch, run.inputs});
        x_to = made.mutable_data();
        dx = made;
    }
    if (run.cell == Cell::lstm) {
        py::array_t<T> made({run.batch, run.units});
        c_to = made.mutable_data();
        dcells = made;
    }
    py::array_t<T> dstate({run.batch, run.units});
    T* h_to = dstate.mutable_data();
    {
        py::gil_scoped_release free;
        run.backward(from, dh, dc, x_to, h_to, c_to, input, state);
    }
    return py::make_tuple(dx, dstate, dcells, of_input, of_state);
}

// -- plans ----------------------------------------------------------------------------------------

template <class L, class T>
int64_t add_layer(Plan<T>& plan, int64_t in, int64_t out, std::unique_ptr<L> layer, Maybe bias,
                  Maybe bias_gradient) {
    if (bias && bias_gradient)
        layer->bias.set(*bias, *bias_gradient, plan.buffer(out).features(), "the bias");
    return plan.add(std::move(layer), {in}, out);
}

template <class T>
int64_t add_linear(Plan<T>& plan, int64_t in, int64_t out, py::array indptr, py::array index,
                   py::array value, py::array gradient, Maybe bias, Maybe bias_gradient,
                   bool relu) {
    auto layer = std::make_unique<Linear<T>>(plan.buffer(in), plan.buffer(out), relu);
    layer->rewire(std::move(indptr), std::move(index), std::move(value), std::move(gradient));
    return add_layer(plan, in, out, std::move(layer), std::move(bias), std::move(bias_gradient));
}

template <class T>
int64_t add_dense_linear(Plan<T>& plan, int64_t in, int64_t out, py::array weight,
                         py::array gradient, Maybe bias, Maybe bias_gradient, bool relu) {
    auto layer = std::make_unique<DenseLinear<T>>(plan.buffer(in), plan.buffer(out), relu);
    layer->weight.set(std::move(weight), std::move(gradient),
                      plan.buffer(in).features() * plan.buffer(out).features(), "the weights");
    return add_layer(plan, in, out, std::move(layer), std::move(bias), std::move(bias_gradient));
}

template <class T, class F>
int64_t add_elementwise(Plan<T>& plan, int64_t in, int64_t out) {
    return plan.add(std::make_unique<Elementwise<T, F>>(plan.buffer(in), plan.buffer(out)), {in},
                    out);
}

template <class T>
void set_optimiser(Plan<T>& plan, const std::string& method, py::array numbers,
                   const std::vector<std::tuple<int64_t, int64_t, int64_t, std::vector<py::array>>>&
                       entries) {
    if (method != "sgd" && method != "adam") refuse("there is no optimiser " + method + ".");
    plan.optimiser().set(method == "sgd" ? Method::sgd : Method::adam, std::move(numbers));
    for (const auto& [op, which, group, state] : entries) {
        const auto held = plan.op(op).parameters();
        if (which < 0 || which >= static_cast<int64_t>(held.size()))
            refuse("operation " + std::to_string(op) + " has no parameter " +
                   std::to_string(which) + ".");
        plan.optimiser().add(held[which], group, state);
    }
}

template <class T>
py::array_t<T> forward(Plan<T>& plan, py::array x, const Maybe& rows, bool training) {
    plan.load(std::move(x), rows);
    const int64_t classes = plan.classes();
    py::array_t<T> logits({plan.examples(), classes});
    T* to = logits.mutable_data();
    py::gil_scoped_release free;
    if (training) {
        plan.forward_all(true);
        batch_first(plan.run().batch, classes, plan.output(), plan.run().lanes, to);
    } else {
        plan.in_chunks([=](int64_t at, const Run& run, const T* z) {
            batch_first(run.batch, classes, z, run.lanes, to + at * classes);
        });
    }
    return logits;
}

// The labels of the examples that are loaded; checked.
template <class T>
std::vector<int64_t> labels_of(Plan<T>& plan, const py::array& y, bool by_row) {
    const int64_t* label = memory_of<int64_t>(y, by_row ? plan.loaded() : plan.examples(), "y");
    std::vector<int64_t> out(plan.examples());
    for (int64_t i = 0; i < plan.examples(); ++i) {
        out[i] = label[by_row ? plan.row(i) : i];
        if (out[i] < 0 || out[i] >= plan.classes())
            refuse("labels must lie in [0, " + std::to_string(plan.classes()) + "), found " +
                   std::to_string(out[i]) + ".");
    }
    return out;
}

template <class T>
double backward(Plan<T>& plan, const py::array& y, bool step) {
    plan.check_ready();
    if (step) plan.optimiser().check();
    const std::vector<int64_t> labels = labels_of(plan, y, false);
    py::gil_scoped_release free;
    return plan.backward_all(labels.data(), step);
}

template <class T>
double train_step(Plan<T>& plan, py::array x, const py::array& y, const Maybe& rows, bool step) {
    if (step) plan.optimiser().check();
    plan.load(std::move(x), rows);
    const std::vector<int64_t> labels = labels_of(plan, y, true);
    py::gil_scoped_release free;
    plan.forward_all(true);
    return plan.backward_all(labels.data(), step);
}

// Mean cross-entropy, and how many are classified right: the first class wins among equals.
template <class T>
py::tuple evaluate(Plan<T>& plan, py::array x, const py::array& y, const Maybe& rows) {
    plan.load(std::move(x), rows);
    const std::vector<int64_t> labels = labels_of(plan, y, true);
    const int64_t classes = plan.classes(), examples = plan.examples();
    double loss = 0;
    int64_t right = 0;
    {
        py::gil_scoped_release free;
        plan.in_chunks([&](int64_t at, const Run& run, const T* z) {
            loss += cross_entropy<T>(classes, run, z, labels.data() + at, T(1), nullptr);
            for (int64_t i = 0; i < run.batch; ++i) {
                int64_t top = 0;
                for (int64_t c = 1; c < classes; ++c)
                    if (z[c * run.lanes + i] > z[top * run.lanes + i]) top = c;
                right += top == labels[at + i];
            }
        });
    }
    return py::make_tuple(loss / static_cast<double>(examples), right);
}

// -- gradients at absent synapses -------------------------------------------------------------------

template <class T>
py::array_t<T> gradient_at(Plan<T>& plan, int64_t op, const py::array& rows,
                           const py::array& columns) {
    Edges<T>& edges = plan.kept_edges(op);
    const int64_t n = rows.size();
    const int64_t* r = memory_of<int64_t>(rows, n, "rows");
    const int64_t* c = memory_of<int64_t>(columns, n, "columns");
    for (int64_t i = 0; i < n; ++i)
        if (r[i] < 0 || r[i] >= edges.csr.rows || c[i] < 0 || c[i] >= edges.csr.columns)
            refuse("there is no synapse (" + std::to_string(r[i]) + ", " + std::to_string(c[i]) +
                   ") in " + std::to_string(edges.csr.rows) + " x " +
                   std::to_string(edges.csr.columns) + ".");
    py::array_t<T> out(n);
    T* to = out.mutable_data();
    py::gil_scoped_release free;
    edges.gradient_at(plan.run(), n, r, c, to);
    return out;
}

// dL/dw of a sparse weight at every pair, (rows, columns).
template <class T>
py::array_t<T> dense_gradient(Plan<T>& plan, int64_t op) {
    constexpr int64_t ROWS = 256;  // at a time, so that what they read stays near
    Edges<T>& edges = plan.kept_edges(op);
    const int64_t rows = edges.csr.rows, columns = edges.csr.columns;
    py::array_t<T> out({rows, columns});
    T* to = out.mutable_data();
    py::gil_scoped_release free;
    for (int64_t r = 0; r < rows; r += ROWS)
        edges.gradient_tile(plan.run(), r, std::min(r + ROWS, rows), 0, columns, to + r * columns);
    return out;
}

template <class T>
py::tuple best_absent(Plan<T>& plan, int64_t op, int64_t k, const Maybe& leaving) {
    Edges<T>& edges = plan.kept_edges(op);
    if (k < 0) refuse("k must not be negative.");
    const uint8_t* gone = leaving ? memory_of<uint8_t>(*leaving, edges.csr.edges(), "leaving")
                                  : nullptr;
    Absent<T> absent;
    {
        py::gil_scoped_release free;
        absent = top_absent(edges, plan.run(), k, gone);
    }
    const auto n = static_cast<py::ssize_t>(absent.found.size());
    py::array_t<int64_t> keys(n);
    py::array_t<T> scores(n);
    for (py::ssize_t i = 0; i < n; ++i) {
        scores.mutable_data()[i] = absent.found[i].first;
        keys.mutable_data()[i] = absent.found[i].second;
    }
    return py::make_tuple(keys, scores, absent.absent, absent.nan);
}

// -- what Python sees -----------------------------------------------------------------------------

template <class T>
void bind(py::module_& m, const char* name) {
    m.def("linear_forward", &linear_forward_batch<T>, py::arg("indptr"), py::arg("index"),
          py::arg("value").noconvert(), py::arg("bias").noconvert().none(true),
          py::arg("x").noconvert());
    m.def("linear_backward", &linear_backward_batch<T>, py::arg("indptr"), py::arg("index"),
          py::arg("value").noconvert(), py::arg("kept").noconvert(), py::arg("dy").noconvert(),
          py::arg("want_bias"), py::arg("want_x"), py::arg("by_column") = py::none());

    py::class_<Sequence<T>>(m, sizeof(T) == 4 ? "SequenceFloat32" : "SequenceFloat64",
                            py::module_local());
    m.def("recurrent_forward", &recurrent_forward<T>, py::arg("mode"), py::arg("x").noconvert(),
          py::arg("input").none(true), py::arg("state"), py::arg("h").noconvert(),
          py::arg("c").noconvert().none(true), py::arg("backwards"), py::arg("keep"));
    m.def("recurrent_backward", &recurrent_backward<T>, py::arg("run"),
          py::arg("dout").noconvert(), py::arg("dh").noconvert().none(true),
          py::arg("dc").noconvert().none(true), py::arg("want_x"), py::arg("want_input_passes"),
          py::arg("want_state_passes"));

    const auto none = py::none();
    py::class_<Plan<T>> plan(m, name, py::module_local());
    plan.def(py::init<int64_t, int64_t, int64_t>(), py::arg("channels"), py::arg("height"),
             py::arg("width"))
        .def("add_buffer", &Plan<T>::add_buffer, py::arg("channels"), py::arg("height"),
             py::arg("width"))
        .def("add_linear", &add_linear<T>, py::arg("input"), py::arg("output"), py::arg("indptr"),
             py::arg("index"), py::arg("value"), py::arg("gradient"), py::arg("bias") = none,
             py::arg("bias_gradient") = none, py::arg("relu") = false)
        .def("add_dense_linear", &add_dense_linear<T>, py::arg("input"), py::arg("output"),
             py::arg("weight"), py::arg("gradient"), py::arg("bias") = none,
             py::arg("bias_gradient") = none, py::arg("relu") = false)
        .def("add_relu", &add_elementwise<T, ReLU>, py::arg("input"), py::arg("output"))
        .def("add_tanh", &add_elementwise<T, Tanh>, py::arg("input"), py::arg("output"))
        .def("set_scale", &Plan<T>::set_scale, py::arg("scale"), py::arg("offset"))
        .def("set_optimiser", &set_optimiser<T>, py::arg("method"), py::arg("numbers"),
             py::arg("entries"))
        .def(
            "rewire",
            [](Plan<T>& p, int64_t op, py::array indptr, py::array index, py::array value,
               py::array gradient, bool trusted) {
                p.edges(op).rewire(std::move(indptr), std::move(index), std::move(value),
                                   std::move(gradient), trusted);
            },
            py::arg("op"), py::arg("indptr"), py::arg("index"), py::arg("value"),
            py::arg("gradient"), py::arg("trusted") = false)
        .def("forward", &forward<T>, py::arg("x"), py::arg("rows") = none,
             py::arg("training") = false)
        .def("backward", &backward<T>, py::arg("y"), py::arg("step") = false)
        .def("step",
             [](Plan<T>& p) {
                 p.optimiser().check();
                 p.optimiser().step();
                 p.optimiser().count();
             })
        .def("train_step", &train_step<T>, py::arg("x"), py::arg("y"), py::arg("rows") = none,
             py::arg("step") = true)
        .def("evaluate", &evaluate<T>, py::arg("x"), py::arg("y"), py::arg("rows") = none)
        .def("gradient_at", &gradient_at<T>, py::arg("op"), py::arg("rows"), py::arg("columns"))
        .def("dense_gradient", &dense_gradient<T>, py::arg("op"))
        .def("top_absent", &best_absent<T>, py::arg("op"), py::arg("k"), py::arg("leaving") = none);
    bind_images(m, plan, sizeof(T) == 4 ? "Conv2dFloat32" : "Conv2dFloat64");
}

}  // namespace
}  // namespace rewire

PYBIND11_MODULE(REWIRE_MODULE, m) {
    m.attr("vector_bytes") = REWIRE_BYTES;
    py::class_<rewire::ByColumn>(m, "ByColumn", py::module_local())
        .def(py::init([](py::array indptr, py::array index, int64_t columns) {
                 auto made = std::make_unique<rewire::ByColumn>();
                 made->build(rewire::connectivity(std::move(indptr), std::move(index), columns));
                 return made;
             }),
             py::arg("indptr"), py::arg("index"), py::arg("columns"));
    rewire::bind<float>(m, "PlanFloat32");
    rewire::bind<double>(m, "PlanFloat64");
}
