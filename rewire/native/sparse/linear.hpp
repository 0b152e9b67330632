// Linear layers on edges: forward y[r] = bias[r] + sum_e w[e] x[index[e]], backward
// dw[e] = <dy[r], x[index[e]]> and dx[index[e]] += w[e] dy[r] in one pass over the edges.
#pragma once

#include "dense.hpp"
#include "layout.hpp"
#include "op.hpp"
#include "pairs.hpp"

namespace rewire {

// -- kernels ------------------------------------------------------------------------------------

template <class T, int NV>
void linear_forward_lanes(const Csr& csr, const T* weight, const T* bias, const T* x,
                          T* y, int64_t stride, bool relu, bool add) {
    constexpr int n = WIDTH<T>;
    const int64_t* indptr = csr.indptr;
    const int32_t* index = csr.index;
    for (int64_t r = 0; r < csr.rows; ++r) {
        Vec<T> total[NV];
        const Vec<T> start = splat(bias != nullptr ? bias[r] : T(0));
        REWIRE_UNROLL
        for (int j = 0; j < NV; ++j) total[j] = start;
        T* to = y + r * stride;
        if (add) {
            REWIRE_UNROLL
            for (int j = 0; j < NV; ++j) total[j] += load(to + n * j);
        }
        for (int64_t e = indptr[r]; e < indptr[r + 1]; ++e) {
            const Vec<T> w = splat(weight[e]);
            const T* from = x + static_cast<int64_t>(index[e]) * stride;
            REWIRE_UNROLL
            for (int j = 0; j < NV; ++j) total[j] += w * load(from + n * j);
        }
        REWIRE_UNROLL
        for (int j = 0; j < NV; ++j) {
            const Vec<T> v = total[j];
            store(to + n * j, relu ? rectified<T>(v) : v);
        }
    }
}

// y = W x + bias, through a ReLU where asked; bias may be null. Where `add`, to what y holds.
template <class T>
void linear_forward(const Csr& csr, const RowRuns& rows, const T* weight, const T* bias, const T* x,
                    T* y, int64_t lanes, bool relu, bool add = false) {
    for (const RowRun& run : rows.runs) {
        const Csr part = csr.part(run.first, run.end);
        const T* b = bias == nullptr ? nullptr : bias + run.first;
        T* to = y + run.first * lanes;
        if (run.paired) {
            forward_pairs<T>(part, weight, b, x, to, lanes, relu, add);
            continue;
        }
        over_lanes<T>(lanes, [&](int64_t at, auto count) {
            linear_forward_lanes<T, count.value>(part, weight, b, x + at, to + at, lanes, relu,
                                                 add);
        });
    }
}

// Edges [e, end) of one row whose output gradient is d.
template <class T, int NV, bool DX>
REWIRE_INLINE void backward_edges(int64_t e, int64_t end, const int32_t* index, const T* weight,
                                  const T* x, const Vec<T> (&d)[NV], T* dw, T* dx, int64_t stride,
                                  bool add) {
    constexpr int n = WIDTH<T>;
    const auto one = [&](int64_t edge) {
        const int64_t at = static_cast<int64_t>(index[edge]) * stride;
        Vec<T> p = d[0] * load(x + at);
        REWIRE_UNROLL
        for (int j = 1; j < NV; ++j) p += d[j] * load(x + at + n * j);
        if constexpr (DX) {
            const Vec<T> w = splat(weight[edge]);
            T* to = dx + at;
            REWIRE_UNROLL
            for (int j = 0; j < NV; ++j) store(to + n * j, load(to + n * j) + w * d[j]);
        }
        return p;
    };
    for (; e + 4 <= end; e += 4) {
        const Vec<T> a = one(e), b = one(e + 1), c = one(e + 2), f = one(e + 3);
        sums_of_four<T>(a, b, c, f, dw + e, add);
    }
    for (; e < end; ++e) {
        const T total = sum<T>(one(e));
        dw[e] = add ? dw[e] + total : total;
    }
}

template <class T, int NV, bool DX>
void linear_backward_lanes(const Csr& csr, const T* weight, const T* x, const T* dy,
                           T* dw, T* dx, int64_t stride, bool add, int64_t block,
                           int64_t* cursor) {
    constexpr int n = WIDTH<T>;
    over_rows<1>(csr, block, cursor, [&](int64_t r, int64_t e, int64_t end) {
        Vec<T> d[NV];
        REWIRE_UNROLL
        for (int j = 0; j < NV; ++j) d[j] = load(dy + r * stride + n * j);
        backward_edges<T, NV, DX>(e, end, csr.index, weight, x, d, dw, dx, stride, add);
    });
}

// How many columns a block has where dx is scattered into: as many as leave x and dx in half of a
// cache of the second level, or more, for a row to have 32 edges in a block; 0 for one block.
template <class T>
int64_t column_block(const Csr& csr, int64_t lanes) {
    constexpr int64_t CACHE = int64_t{1} << 19, EDGES = 32;
    const int64_t bytes = 2 * sizeof(T) * std::min<int64_t>(lanes, 8 * WIDTH<T>) * csr.columns;
    const int64_t per_row = csr.edges() / std::max<int64_t>(csr.rows, 1);
    const int64_t blocks = std::min(bytes / CACHE, per_row / EDGES);
    return blocks < 2 ? 0 : (csr.columns + blocks - 1) / blocks;
}

template <class T, int NV>
void gather_dx_lanes(const ByColumn& edges, const T* weight, const T* dy, T* dx, int64_t stride,
                     bool add) {
    constexpr int n = WIDTH<T>;
    const int64_t columns = static_cast<int64_t>(edges.begin.size()) - 1;
    const int32_t* order = edges.order.data();
    for (int64_t c = 0; c < columns; ++c) {
        Vec<T> total[NV];
        T* to = dx + c * stride;
        REWIRE_UNROLL
        for (int j = 0; j < NV; ++j) total[j] = add ? load(to + n * j) : Vec<T>{};
        for (int64_t i = edges.begin[c]; i < edges.begin[c + 1]; ++i) {
            __builtin_prefetch(weight + order[i + ByColumn::AHEAD]);
            const Vec<T> w = splat(weight[order[i]]);
            const T* from = dy + static_cast<int64_t>(edges.row[i]) * stride;
            REWIRE_UNROLL
            for (int j = 0; j < NV; ++j) total[j] += w * load(from + n * j);
        }
        REWIRE_UNROLL
        for (int j = 0; j < NV; ++j) store(to + n * j, total[j]);
    }
}

// dx, set or added to, from dy.
template <class T>
void gather_dx(const ByColumn& edges, const T* weight, const T* dy, T* dx, int64_t lanes,
               bool add) {
    over_lanes<T>(lanes, [&](int64_t at, auto count) {
        gather_dx_lanes<T, count.value>(edges, weight, dy + at, dx + at, lanes, add);
    });
}

// dw (added to where `add`), and dx (added to; none where it is null), from dy.
template <class T>
void linear_backward(const Csr& csr, const RowRuns& rows, const T* weight, const T* x, const T* dy,
                     T* dw, T* dx, int64_t lanes, Memory<int64_t>& scratch, bool add = false) {
    const int64_t block = dx == nullptr ? 0 : column_block<T>(csr, lanes);
    int64_t* cursor = block == 0 ? nullptr : scratch.grow(csr.rows);
    for (const RowRun& run : rows.runs) {
        const Csr part = csr.part(run.first, run.end);
        const T* d = dy + run.first * lanes;
        if (run.paired) {
            backward_pairs<T>(part, weight, x, d, dw, dx, lanes, add, block, cursor);
            continue;
        }
        over_lanes<T>(lanes, [&](int64_t at, auto count) {
            constexpr int NV = count.value;
            if (dx != nullptr)
                linear_backward_lanes<T, NV, true>(part, weight, x + at, d + at, dw, dx + at,
                                                   lanes, add || at > 0, block, cursor);
            else
                linear_backward_lanes<T, NV, false>(part, weight, x + at, d + at, dw, nullptr,
                                                    lanes, add || at > 0, block, cursor);
        });
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
    Parameter<T> bias;

    void prepare(const Run&) override { in_.check_flat(); }
    void forward(const Run& run) override {
        linear_forward(this->csr, rows_, this->weight.value, bias.value, in_.value(),
                       out_.value(), run.lanes, relu_);
    }
    void backward(const Run& run) override {
        T* dy = out_.gradient();
        if (relu_ || bias.gradient != nullptr)
            close_rows(this->csr.rows, run.lanes, out_.value(), dy, bias.gradient, relu_);
        const bool scatters = in_.wants_gradient && (passes_++ < SCATTERED || rows_.mostly_paired());
        linear_backward(this->csr, rows_, this->weight.value, in_.value(), dy,
                        this->weight.gradient, scatters ? in_.add_gradient(run) : nullptr,
                        run.lanes, cursor_);
        if (!in_.wants_gradient || scatters) return;
        if (by_column_.empty()) by_column_.build(this->csr);
        bool fresh;
        T* dx = in_.gradient(fresh);
        gather_dx(by_column_, this->weight.value, dy, dx, run.lanes, !fresh);
    }
    std::vector<Parameter<T>*> parameters() override {
        if (bias.value == nullptr) return {&this->weight};
        return {&this->weight, &bias};
    }
    Edges<T>* edges() override { return this; }
    const uint8_t* wanted_inputs() override { return wanted_.empty() ? nullptr : wanted_.data(); }

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
        product_over_lanes(row1 - row0, column1 - column0, run.batch, run.lanes,
                           out_.gradient() + row0 * run.lanes, in_.value() + column0 * run.lanes,
                           out, column1 - column0, panel_);
    }

protected:
    void rewired() override {
        passes_ = 0;
        by_column_.clear();
        rows_.build(this->csr);
        if (in_.wants_gradient) return;
        wanted_.assign(this->csr.columns, 0);
        int64_t others = this->csr.columns;  // not yet found
        for (int64_t e = 0; e < this->csr.edges() && others; ++e) {
            uint8_t& wanted = wanted_[this->csr.index[e]];
            others -= 1 - wanted;
            wanted = 1;
        }
    }

private:
    Buffer<T>& in_;
    Buffer<T>& out_;
    bool relu_;
    RowRuns rows_;
    // Making by_column_ takes as long as it spares in a few passes.
    static constexpr int64_t SCATTERED = 3;
    int64_t passes_ = 0;  // backward passes since the edges changed
    ByColumn by_column_;  // after SCATTERED of them
    std::vector<uint8_t> wanted_;
    Memory<int64_t> cursor_;
    Memory<T> panel_;
};

}  // namespace rewire
