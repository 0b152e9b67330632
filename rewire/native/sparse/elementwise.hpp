// ReLU and tanh of every unit by itself, and the loss: softmax cross-entropy.
#pragma once

#include <cmath>

#include "layout.hpp"
#include "op.hpp"

namespace rewire {

// -- functions of vectors -------------------------------------------------------------------------

// e^x to about one unit in the last place; e^-87 below -87, for float.
template <class T>
REWIRE_INLINE Vec<T> exponential(Vec<T> x) {
    if constexpr (std::is_same_v<T, double>) {
        Vec<T> out;
        for (int i = 0; i < WIDTH<T>; ++i) out[i] = std::exp(x[i]);
        return out;
    } else {
        typedef int32_t Bits __attribute__((vector_size(REWIRE_BYTES)));
        const Vec<T> low = splat<T>(-87.0f), high = splat<T>(88.0f);
        const Vec<T> given = x;
        x = x < low ? low : x;
        x = x > high ? high : x;
        // x = n ln 2 + r: adding 1.5 * 2^23 rounds to an integer, in the last bits of the sum
        const Vec<T> rounded = x * 1.44269504088896341f + 12582912.0f;
        const Vec<T> n = rounded - 12582912.0f;
        const Vec<T> r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
        Vec<T> p = r * 1.9875691500e-4f + 1.3981999507e-3f;
        p = p * r + 8.3334519073e-3f;
        p = p * r + 4.1665795894e-2f;
        p = p * r + 1.6666665459e-1f;
        p = p * r + 5.0000001201e-1f;
        p = p * (r * r) + r + 1.0f;
        const Vec<T> found = (Vec<T>)((Bits)p + ((Bits)rounded << 23));
        return given == given ? found : given;  // NaN stays NaN
    }
}

// tanh; by its series where (1 - t) / (1 + t) would cancel.
template <class T>
REWIRE_INLINE Vec<T> hyperbolic_tangent(Vec<T> x) {
    if constexpr (std::is_same_v<T, double>) {
        Vec<T> out;
        for (int i = 0; i < WIDTH<T>; ++i) out[i] = std::tanh(x[i]);
        return out;
    } else {
        const Vec<T> size = x < Vec<T>{} ? -x : x, s = x * x;
        const Vec<T> t = exponential<T>(size * -2.0f);
        const Vec<T> far = (1.0f - t) / (1.0f + t);
        Vec<T> near = s * (62.0f / 2835.0f) - 17.0f / 315.0f;
        near = near * s + 2.0f / 15.0f;
        near = near * s - 1.0f / 3.0f;
        near = near * s * x + x;
        return size < splat<T>(0.3f) ? near : (x < Vec<T>{} ? -far : far);
    }
}

// -- operations -----------------------------------------------------------------------------------

struct ReLU {
    template <class T>
    static REWIRE_INLINE Vec<T> value(Vec<T> x) {
        return rectified<T>(x);
    }
    template <class T>
    static REWIRE_INLINE Vec<T> gradient(Vec<T> y, Vec<T> dy) {
        return through_rectified<T>(y, dy);
    }
};

struct Tanh {
    template <class T>
    static REWIRE_INLINE Vec<T> value(Vec<T> x) {
        return hyperbolic_tangent<T>(x);
    }
    template <class T>
    static REWIRE_INLINE Vec<T> gradient(Vec<T> y, Vec<T> dy) {
        return dy - dy * y * y;
    }
};

// y = F(x) everywhere; F(0) = 0, so halos stay 0. In and out have the same layout.
template <class T, class F>
class Elementwise : public Op<T> {
public:
    Elementwise(Buffer<T>& in, Buffer<T>& out) : in_(in), out_(out) {
        if (in.channels != out.channels || in.height != out.height || in.width != out.width)
            refuse("an elementwise operation keeps the shape.");
    }
    void prepare(const Run&) override { same_ = in_.halo == out_.halo; }
    void forward(const Run& run) override {
        const T* x = in_.value();
        T* y = out_.value();
        rows(run, [&](int64_t from, int64_t to) {
            store(y + to, F::template value<T>(load(x + from)));
        });
    }
    void backward(const Run& run) override {
        if (!in_.wants_gradient) return;
        bool fresh;
        T* dx = in_.gradient(fresh);
        const T* y = out_.value();
        const T* dy = out_.gradient();
        rows(run, [&](int64_t from, int64_t to) {
            const Vec<T> d = F::template gradient<T>(load(y + to), load(dy + to));
            store(dx + from, fresh ? d : load(dx + from) + d);
        });
    }

private:
    Buffer<T>& in_;
    Buffer<T>& out_;
    bool same_ = true;

    // Calls f(place in `in`, place in `out`) for every vector inside.
    template <class G>
    void rows(const Run& run, G f) {
        constexpr int n = WIDTH<T>;
        if (same_ && in_.halo == 0) {
            for (int64_t i = 0; i < in_.places() * run.lanes; i += n) f(i, i);
            return;
        }
        const auto start = [&](const Buffer<T>& b, int64_t c, int64_t y) {
            return (c * b.plane() + (y + b.halo) * b.padded_width() + b.halo) * run.lanes;
        };
        for (int64_t c = 0; c < in_.channels; ++c)
            for (int64_t y = 0; y < in_.height; ++y) {
                const int64_t from = start(in_, c, y), to = start(out_, c, y);
                for (int64_t i = 0; i < in_.width * run.lanes; i += n) f(from + i, to + i);
            }
    }
};

// -- the loss -------------------------------------------------------------------------------------

// The sum over the batch of the cross-entropy of logits z (classes, lanes); dz, where not null,
// becomes its gradient times `scale`, 0 in the lanes beyond the batch. Labels lie in [0, classes).
template <class T>
double cross_entropy(int64_t classes, const Run& run, const T* z, const int64_t* labels, T scale,
                     T* dz) {
    constexpr int n = WIDTH<T>;
    const int64_t lanes = run.lanes;
    double loss = 0;
    for (int64_t at = 0; at < lanes; at += n) {
        Vec<T> top = load(z + at);
        for (int64_t c = 1; c < classes; ++c) {
            const Vec<T> v = load(z + c * lanes + at);
            top = v > top ? v : top;
        }
        Vec<T> total{};
        for (int64_t c = 0; c < classes; ++c) {
            const Vec<T> e = exponential<T>(load(z + c * lanes + at) - top);
            total += e;
            if (dz != nullptr) store(dz + c * lanes + at, e);
        }
        Vec<T> factor = scale / total;
        for (int i = 0; i < n; ++i)
            if (at + i >= run.batch) factor[i] = 0;
        if (dz != nullptr)
            for (int64_t c = 0; c < classes; ++c) {
                T* to = dz + c * lanes + at;
                store(to, load(to) * factor);
            }
        for (int64_t i = at; i < std::min<int64_t>(at + n, run.batch); ++i) {
            const int64_t own = labels[i] * lanes + i;
            loss += std::log(static_cast<double>(total[i - at])) + top[i - at] - z[own];
            if (dz != nullptr) dz[own] -= scale;
        }
    }
    if (dz != nullptr)
        for (int64_t c = 0; c < classes; ++c)  // also where a lane beyond the batch overflowed
            std::fill(dz + c * lanes + run.batch, dz + (c + 1) * lanes, T(0));
    return loss;
}

}  // namespace rewire
