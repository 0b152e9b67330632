// The sparse engine: layers on lists of edges, O(edges) in time and memory. Compiled once for each
// generation of processors (setup.py); rewire.native chooses one of them.

#include "linear.hpp"
#include "plan.hpp"

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
template <class T>
py::tuple linear_backward_batch(py::array indptr, py::array index, py::array_t<T> value,
                                py::array_t<T> kept, py::array_t<T> dy, bool want_bias,
                                bool want_x) {
    const int64_t batch = dy.shape(0), columns = kept.shape(0), lanes = kept.shape(1);
    const Connectivity csr = connectivity(std::move(indptr), std::move(index), columns);
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
        features_first(batch, csr.rows, from, dyt.grow(csr.rows * lanes), lanes);
        if (db != nullptr)
            close_rows<T>(csr.rows, lanes, nullptr, dyt.data(), db, false);
        if (dxb != nullptr) dxt.zeros(columns * lanes);
        linear_backward(csr, w, x, dyt.data(), dw, dxt.data(), lanes);
        if (dxb != nullptr) batch_first(batch, columns, dxt.data(), lanes, dxb);
    }
    return py::make_tuple(dvalue, dbias, dx);
}

// -- what Python sees -----------------------------------------------------------------------------

template <class T>
void bind(py::module_& m, const char* name) {
    m.def("linear_forward", &linear_forward_batch<T>, py::arg("indptr"), py::arg("index"),
          py::arg("value").noconvert(), py::arg("bias").noconvert().none(true),
          py::arg("x").noconvert());
    m.def("linear_backward", &linear_backward_batch<T>, py::arg("indptr"), py::arg("index"),
          py::arg("value").noconvert(), py::arg("kept").noconvert(), py::arg("dy").noconvert(),
          py::arg("want_bias"), py::arg("want_x"));

    py::class_<Plan<T>> plan(m, name, py::module_local());
    plan.def(py::init<int64_t, int64_t, int64_t>(), py::arg("channels"), py::arg("height"),
             py::arg("width"));
    plan.def("add_buffer", &Plan<T>::add_buffer);
}

}  // namespace
}  // namespace rewire

PYBIND11_MODULE(REWIRE_MODULE, m) {
    m.attr("vector_bytes") = REWIRE_BYTES;
    rewire::bind<float>(m, "PlanFloat32");
    rewire::bind<double>(m, "PlanFloat64");
}
