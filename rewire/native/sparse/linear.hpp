// Linear layers on edges: forward y[r] = bias[r] + sum_e w[e] x[index[e]], backward
// dw[e] = <dy[r], x[index[e]]> and dx[index[e]] += w[e] dy[r] in one pass over the edges.
#pragma once

#include "layout.hpp"
#include "op.hpp"

namespace rewire {

// -- kernels ------------------------------------------------------------------------------------

template <class T, int NV>
void linear_forward_lanes(const Connectivity& csr, const T* weight, const T* bias, const T* x,
                          T* y, int64_t stride, bool relu) {
    constexpr int n = WIDTH<T>;
    const int64_t* indptr = csr.indptr;
    const int32_t* index = csr.index;
    for (int64_t r = 0; r < csr.rows; ++r) {
        Vec<T> total[NV];
        const Vec<T> start = splat(bias != nullptr ? bias[r] : T(0));
        REWIRE_UNROLL
        for (int j = 0; j < NV; ++j) total[j] = start;
        for (int64_t e = indptr[r]; e < indptr[r + 1]; ++e) {
            const Vec<T> w = splat(weight[e]);
            const T* from = x + static_cast<int64_t>(index[e]) * stride;
            REWIRE_UNROLL
            for (int j = 0; j < NV; ++j) total[j] += w * load(from + n * j);
        }
        T* to = y + r * stride;
        REWIRE_UNROLL
        for (int j = 0; j < NV; ++j) {
            const Vec<T> v = total[j];
            store(to + n * j, relu ? (v > Vec<T>{} ? v : Vec<T>{}) : v);
        }
    }
}

// y = W x + bias, through a ReLU where asked; bias may be null.
template <class T>
void linear_forward(const Connectivity& csr, const T* weight, const T* bias, const T* x, T* y,
                    int64_t lanes, bool relu) {
    over_lanes<T>(lanes, [&](int64_t at, auto count) {
        linear_forward_lanes<T, count.value>(csr, weight, bias, x + at, y + at, lanes, relu);
    });
}

// The sums of four vectors, into out[0..3].
template <class T>
REWIRE_INLINE void sums_of_four(Vec<T> a, Vec<T> b, Vec<T> c, Vec<T> d, T* out) {
    out[0] = sum<T>(a), out[1] = sum<T>(b), out[2] = sum<T>(c), out[3] = sum<T>(d);
}

template <class T, int NV, bool DX>
void linear_backward_lanes(const Connectivity& csr, const T* weight, const T* x, const T* dy,
                           T* dw, T* dx, int64_t stride, bool add) {
    constexpr int n = WIDTH<T>;
    const int64_t* indptr = csr.indptr;
    const int32_t* index = csr.index;
    for (int64_t r = 0; r < csr.rows; ++r) {
        Vec<T> d[NV];
        REWIRE_UNROLL
        for (int j = 0; j < NV; ++j) d[j] = load(dy + r * stride + n * j);
        for (int64_t e = indptr[r]; e < indptr[r + 1]; ++e) {
            const int64_t at = static_cast<int64_t>(index[e]) * stride;
            Vec<T> p = d[0] * load(x + at);
            REWIRE_UNROLL
            for (int j = 1; j < NV; ++j) p += d[j] * load(x + at + n * j);
            const T total = sum<T>(p);
            dw[e] = add ? dw[e] + total : total;
            if constexpr (DX) {
                const Vec<T> w = splat(weight[e]);
                T* to = dx + at;
                REWIRE_UNROLL
                for (int j = 0; j < NV; ++j) store(to + n * j, load(to + n * j) + w * d[j]);
            }
        }
    }
}

// dw, and dx (added to; none where it is null), from dy.
template <class T>
void linear_backward(const Connectivity& csr, const T* weight, const T* x, const T* dy, T* dw,
                     T* dx, int64_t lanes) {
    over_lanes<T>(lanes, [&](int64_t at, auto count) {
        constexpr int NV = count.value;
        if (dx != nullptr)
            linear_backward_lanes<T, NV, true>(csr, weight, x + at, dy + at, dw, dx + at, lanes,
                                               at > 0);
        else
            linear_backward_lanes<T, NV, false>(csr, weight, x + at, dy + at, dw, nullptr, lanes,
                                                at > 0);
    });
}

// Where a ReLU's output y is 0, so is its gradient dy, in place; db, where it is not null, becomes
// the sum over lanes.
template <class T>
void close_rows(int64_t rows, int64_t lanes, const T* y, T* dy, T* db, bool relu) {
    constexpr int n = WIDTH<T>;
    for (int64_t r = 0; r < rows; ++r) {
        Vec<T> total{};
        for (int64_t at = r * lanes; at < (r + 1) * lanes; at += n) {
            Vec<T> d = load(dy + at);
            if (relu) {
                d = load(y + at) > Vec<T>{} ? d : Vec<T>{};
                store(dy + at, d);
            }
            total += d;
        }
        if (db != nullptr) db[r] = sum<T>(total);
    }
}

// -- the layer in a plan ------------------------------------------------------------------------

template <class T>
class Linear : public Op<T>, public Edges<T> {
public:
    Linear(Buffer<T>& in, Buffer<T>& out, bool relu) : in_(in), out_(out), relu_(relu) {
        this->csr.rows = out.features();
        this->csr.columns = in.features();
    }
    void set_bias(py::array value, py::array gradient) {
        bias_.set(std::move(value), std::move(gradient), this->csr.rows, "the bias");
    }
    void forward(const Run& run) override {
        linear_forward(this->csr, this->weight.value, bias_.value, in_.value(), out_.value(),
                       run.lanes, relu_);
    }
    void backward(const Run& run) override {
        T* dy = out_.gradient();
        if (relu_ || bias_.gradient != nullptr)
            close_rows(this->csr.rows, run.lanes, out_.value(), dy, bias_.gradient, relu_);
        T* dx = in_.wants_gradient ? in_.add_gradient(run) : nullptr;
        linear_backward(this->csr, this->weight.value, in_.value(), dy, this->weight.gradient, dx,
                        run.lanes);
    }
    std::vector<Parameter<T>*> parameters() override { return {&this->weight, &bias_}; }
    Edges<T>* edges() override { return this; }

    void gradient_at(const Run& run, int64_t n, const int64_t* rows, const int64_t* columns,
                     T* out) override {
        for (int64_t i = 0; i < n; ++i) {
            const T* d = out_.gradient() + rows[i] * run.lanes;
            const T* x = in_.value() + columns[i] * run.lanes;
            Vec<T> total{};
            for (int64_t at = 0; at < run.lanes; at += WIDTH<T>)
                total += load(d + at) * load(x + at);
            out[i] = sum<T>(total);
        }
    }
    void gradient_tile(const Run& run, int64_t row0, int64_t row1, int64_t column0,
                       int64_t column1, T* out) override {
        for (int64_t r = row0; r < row1; ++r)
            for (int64_t c = column0; c < column1; ++c) gradient_at(run, 1, &r, &c, out++);
    }

private:
    Buffer<T>& in_;
    Buffer<T>& out_;
    bool relu_;
    Parameter<T> bias_;
};

}  // namespace rewire
