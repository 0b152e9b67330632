// Products of dense matrices in registers: layers that stay dense, and dense tiles of gradients.
#pragma once

#include "layout.hpp"
#include "op.hpp"

namespace rewire {

// total[r][j] += sum over k < depth of a[r * a_row + k * a_k] * (vector j of b[k * b_k ...]).
template <class T, int R, int NV>
REWIRE_INLINE void multiply(int64_t depth, const T* a, int64_t a_row, int64_t a_k, const T* b,
                            int64_t b_k, Vec<T> (&total)[R][NV]) {
    for (int64_t k = 0; k < depth; ++k) {
        Vec<T> v[NV];
        REWIRE_UNROLL
        for (int j = 0; j < NV; ++j) v[j] = load(b + k * b_k + j * WIDTH<T>);
        REWIRE_UNROLL
        for (int r = 0; r < R; ++r) {
            const Vec<T> w = splat(a[r * a_row + k * a_k]);
            REWIRE_UNROLL
            for (int j = 0; j < NV; ++j) total[r][j] += w * v[j];
        }
    }
}

// Calls f(first, Count<n>) for groups of `most` and then of one of `n` things.
template <int most, class F>
REWIRE_INLINE void in_groups(int64_t n, F&& f) {
    int64_t i = 0;
    for (; i + most <= n; i += most) f(i, Count<most>{});
    for (; i < n; ++i) f(i, Count<1>{});
}

// out[r, lanes] = start(r) + sum over k of a(r, k) b[k, lanes], for rows and lanes in registers;
// `finish` makes what is stored from (where, sum).
template <class T, class Start, class Finish>
void product_lanes(int64_t rows, int64_t depth, int64_t lanes, const T* a, int64_t a_row,
                   int64_t a_k, const T* b, T* out, Start start, Finish finish) {
    constexpr int n = WIDTH<T>;
    const auto columns = [&](int64_t at, auto vectors) {
        constexpr int NV = vectors.value;
        in_groups<4>(rows, [&](int64_t r, auto count) {
            constexpr int R = count.value;
            Vec<T> total[R][NV];
            for (int i = 0; i < R; ++i)
                for (int j = 0; j < NV; ++j) total[i][j] = splat(start(r + i));
            multiply<T, R, NV>(depth, a + r * a_row, a_row, a_k, b + at, lanes, total);
            for (int i = 0; i < R; ++i)
                for (int j = 0; j < NV; ++j) {
                    T* to = out + (r + i) * lanes + at + j * n;
                    store(to, finish(to, total[i][j]));
                }
        });
    };
    int64_t at = 0;
    for (; at + 4 * n <= lanes; at += 4 * n) columns(at, Count<4>{});
    for (; at + n <= lanes; at += n) columns(at, Count<1>{});
}

// out[r, c] = sum over lanes of d[r] x[c], for `rows` rows of d and `columns` rows of x; out has
// `columns` numbers a row.
template <class T>
void product_over_lanes(int64_t rows, int64_t columns, int64_t batch, int64_t lanes, const T* d,
                        const T* x, T* out, int64_t out_row, Memory<T>& scratch) {
    constexpr int n = WIDTH<T>, P = 2 * n;
    T* panel = scratch.grow(lanes * P);
    for (int64_t c = 0; c < columns; c += P) {  // x[c .. c + P] as (lanes, P)
        const int64_t held = std::min<int64_t>(P, columns - c);
        if (held < P) std::fill(panel, panel + lanes * P, T(0));
        transpose<T, T>(held, lanes, {x + c * lanes, lanes}, {panel, P}, false);
        in_groups<8>(rows, [&](int64_t r, auto count) {
            constexpr int R = count.value;
            Vec<T> total[R][2] = {};
            multiply<T, R, 2>(batch, d + r * lanes, lanes, 1, panel, P, total);
            for (int i = 0; i < R; ++i) {
                T* to = out + (r + i) * out_row + c;
                if (held == P) {
                    store(to, total[i][0]);
                    store(to + n, total[i][1]);
                } else {
                    std::memcpy(to, &total[i], sizeof(T) * held);
                }
            }
        });
    }
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
                d = through_rectified<T>(load(y + at), d);
                store(dy + at, d);
            }
            total += d;
        }
        if (db != nullptr) db[r] = sum<T>(total);
    }
}

// -- a layer that stays dense -------------------------------------------------------------------

template <class T>
class DenseLinear : public Op<T> {
public:
    DenseLinear(Buffer<T>& in, Buffer<T>& out, bool relu)
        : in_(in), out_(out), rows_(out.features()), columns_(in.features()), relu_(relu) {}
    Parameter<T> weight, bias;

    void prepare(const Run&) override { in_.check_flat(); }
    void forward(const Run& run) override {
        const T* b = bias.value;
        product_lanes<T>(
            rows_, columns_, run.lanes, weight.value, columns_, 1, in_.value(), out_.value(),
            [=](int64_t r) { return b != nullptr ? b[r] : T(0); },
            [relu = relu_](T*, Vec<T> v) { return relu ? rectified<T>(v) : v; });
    }
    void backward(const Run& run) override {
        T* dy = out_.gradient();
        close_rows(rows_, run.lanes, out_.value(), dy, bias.gradient, relu_);
        product_over_lanes(rows_, columns_, run.batch, run.lanes, dy, in_.value(),
                           weight.gradient, columns_, scratch_);
        if (!in_.wants_gradient) return;
        bool fresh;
        T* dx = in_.gradient(fresh);
        product_lanes<T>(
            columns_, rows_, run.lanes, weight.value, 1, columns_, dy, dx,
            [](int64_t) { return T(0); },
            [fresh](T* to, Vec<T> v) { return fresh ? v : load(to) + v; });
    }
    std::vector<Parameter<T>*> parameters() override {
        if (bias.value == nullptr) return {&weight};
        return {&weight, &bias};
    }

private:
    Buffer<T>& in_;
    Buffer<T>& out_;
    int64_t rows_, columns_;
    bool relu_;
    Memory<T> scratch_;
};

}  // namespace rewire
