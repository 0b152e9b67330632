// Pooling, addition, and the shortcut without parameters of residual networks for CIFAR.
#pragma once

#include <limits>

#include "image.hpp"
#include "shapes.hpp"

namespace rewire {

// What pooling operations share: the windows that they look through.
template <class T>
class Pool : public Op<T> {
protected:
    Pool(Buffer<T>& input, Buffer<T>& output, const Window& window)
        : input_(input), output_(output), w_(window) {
        if (input.channels != output.channels) refuse("pooling keeps the number of channels.");
    }

    // Calls f(output pixel, row0, row1, column0, column1) with the part of each window that lies
    // within the picture.
    template <class F>
    void over_windows(F&& f) const {
        for (int64_t y = 0; y < output_.height; ++y) {
            const int64_t top = y * w_.stride_h - w_.padding_h;
            const int64_t y0 = std::max<int64_t>(0, top);
            const int64_t y1 = std::min(input_.height, top + w_.kernel_h);
            for (int64_t x = 0; x < output_.width; ++x) {
                const int64_t left = x * w_.stride_w - w_.padding_w;
                f(y, x, y0, y1, std::max<int64_t>(0, left),
                  std::min(input_.width, left + w_.kernel_w));
            }
        }
    }

    Buffer<T>& input_;
    Buffer<T>& output_;
    Window w_;
};

// The largest of each window. Its gradient goes to the first largest, row by row, as in torch.
template <class T>
class MaxPool2d : public Pool<T> {
public:
    MaxPool2d(Buffer<T>& input, Buffer<T>& output, const Window& window)
        : Pool<T>(input, output, window) {}

    void forward(const Run& run) override {
        const Steps in = steps_of(this->input_, run.lanes);
        const Steps out = steps_of(this->output_, run.lanes);
        for (int64_t c = 0; c < this->input_.channels; ++c) {
            const T* from = inside(this->input_.value(), in, this->input_.halo) + c * in.channel;
            T* to = inside(this->output_.value(), out, this->output_.halo) + c * out.channel;
            this->over_windows([&](int64_t y, int64_t x, int64_t y0, int64_t y1, int64_t x0,
                                   int64_t x1) {
                T* best = to + y * out.row + x * out.pixel;
                over_vectors<T>(run.lanes, [&](int64_t i) {
                    Vec<T> most = splat(-std::numeric_limits<T>::infinity());
                    for (int64_t v = y0; v < y1; ++v)
                        for (int64_t u = x0; u < x1; ++u) {
                            const Vec<T> a = load(from + v * in.row + u * in.pixel + i);
                            most = ((a > most) | (a != a)) ? a : most;  // NaN wins
                        }
                    store(best + i, most);
                });
            });
        }
    }

    void backward(const Run& run) override {
        if (!this->input_.wants_gradient) return;
        const Steps in = steps_of(this->input_, run.lanes);
        const Steps out = steps_of(this->output_, run.lanes);
        bool fresh = false;
        T* gradient = inside(this->input_.gradient(fresh), in, this->input_.halo);
        const T* values = inside(this->input_.value(), in, this->input_.halo);
        for (int64_t c = 0; c < this->input_.channels; ++c) {
            const T* from = values + c * in.channel;
            T* to = gradient + c * in.channel;
            const int64_t first = this->output_.halo * (out.row + out.pixel) + c * out.channel;
            const T* best = this->output_.value() + first;
            const T* slope = this->output_.gradient() + first;
            if (fresh) clear_channel(this->input_, in, to);
            this->over_windows([&](int64_t y, int64_t x, int64_t y0, int64_t y1, int64_t x0,
                                   int64_t x1) {
                const int64_t o = y * out.row + x * out.pixel;
                over_vectors<T>(run.lanes, [&](int64_t i) {
                    const Vec<T> most = load(best + o + i);
                    Vec<T> left = load(slope + o + i);  // what no pixel of the window took yet
                    for (int64_t v = y0; v < y1; ++v)
                        for (int64_t u = x0; u < x1; ++u) {
                            const int64_t at = v * in.row + u * in.pixel + i;
                            const auto less = load(from + at) < most;
                            store(to + at, load(to + at) + (less ? Vec<T>{} : left));
                            left = less ? left : Vec<T>{};
                        }
                });
            });
        }
    }
};

// The mean of each window, zero padding counted (torch: count_include_pad=True).
template <class T>
class AvgPool2d : public Pool<T> {
public:
    AvgPool2d(Buffer<T>& input, Buffer<T>& output, const Window& window)
        : Pool<T>(input, output, window), share_(T(1) / T(window.kernel_h * window.kernel_w)) {}

    void forward(const Run& run) override {
        const Steps in = steps_of(this->input_, run.lanes);
        const Steps out = steps_of(this->output_, run.lanes);
        for (int64_t c = 0; c < this->input_.channels; ++c) {
            const T* from = inside(this->input_.value(), in, this->input_.halo) + c * in.channel;
            T* to = inside(this->output_.value(), out, this->output_.halo) + c * out.channel;
            this->over_windows([&](int64_t y, int64_t x, int64_t y0, int64_t y1, int64_t x0,
                                   int64_t x1) {
                T* mean = to + y * out.row + x * out.pixel;
                over_vectors<T>(run.lanes, [&](int64_t i) {
                    Vec<T> sums{};
                    for (int64_t v = y0; v < y1; ++v)
                        for (int64_t u = x0; u < x1; ++u)
                            sums += load(from + v * in.row + u * in.pixel + i);
                    store(mean + i, sums * share_);
                });
            });
        }
    }

    void backward(const Run& run) override {
        if (!this->input_.wants_gradient) return;
        const Steps in = steps_of(this->input_, run.lanes);
        const Steps out = steps_of(this->output_, run.lanes);
        bool fresh = false;
        T* gradient = inside(this->input_.gradient(fresh), in, this->input_.halo);
        for (int64_t c = 0; c < this->input_.channels; ++c) {
            T* to = gradient + c * in.channel;
            const T* slope =
                inside(this->output_.gradient(), out, this->output_.halo) + c * out.channel;
            if (fresh) clear_channel(this->input_, in, to);
            this->over_windows([&](int64_t y, int64_t x, int64_t y0, int64_t y1, int64_t x0,
                                   int64_t x1) {
                const T* d = slope + y * out.row + x * out.pixel;
                for (int64_t v = y0; v < y1; ++v)
                    for (int64_t u = x0; u < x1; ++u) {
                        T* at = to + v * in.row + u * in.pixel;
                        over_vectors<T>(run.lanes, [&](int64_t i) {
                            store(at + i, load(at + i) + load(d + i) * share_);
                        });
                    }
            });
        }
    }

private:
    T share_;
};

// y = a + b, then ReLU with `relu`.
template <class T>
class Add : public Op<T> {
public:
    Add(Buffer<T>& a, Buffer<T>& b, Buffer<T>& output, bool relu)
        : a_(a), b_(b), output_(output), relu_(relu) {
        if (a.channels != b.channels || a.height != b.height || a.width != b.width ||
            a.channels != output.channels || a.height != output.height || a.width != output.width)
            refuse("an addition needs two arrays of one shape.");
    }

    void forward(const Run& run) override {
        over_rows(run, [&](const Row& r) {
            over_vectors<T>(output_.width * run.lanes, [&](int64_t i) {
                const Vec<T> v = load(a_.value() + r.a + i) + load(b_.value() + r.b + i);
                store(output_.value() + r.out + i, relu_ ? rectified<T>(v) : v);
            });
        });
    }

    void backward(const Run& run) override {
        for (Buffer<T>* to : {&a_, &b_}) {
            if (!to->wants_gradient) continue;
            bool fresh = false;
            T* gradient = to->gradient(fresh);
            over_rows(run, [&](const Row& r) {
                T* here = gradient + (to == &a_ ? r.a : r.b);
                over_vectors<T>(output_.width * run.lanes, [&](int64_t i) {
                    Vec<T> d = load(output_.gradient() + r.out + i);
                    if (relu_) d = through_rectified<T>(load(output_.value() + r.out + i), d);
                    store(here + i, fresh ? d : load(here + i) + d);
                });
            });
        }
    }

private:
    struct Row {
        int64_t a, b, out;  // first items
    };

    template <class F>
    void over_rows(const Run& run, F&& f) const {
        const Steps a = steps_of(a_, run.lanes), b = steps_of(b_, run.lanes);
        const Steps out = steps_of(output_, run.lanes);
        const auto at = [](const Steps& s, int64_t halo, int64_t c, int64_t y) {
            return halo * (s.row + s.pixel) + c * s.channel + y * s.row;
        };
        for (int64_t c = 0; c < output_.channels; ++c)
            for (int64_t y = 0; y < output_.height; ++y)
                f(Row{at(a, a_.halo, c, y), at(b, b_.halo, c, y), at(out, output_.halo, c, y)});
    }

    Buffer<T>& a_;
    Buffer<T>& b_;
    Buffer<T>& output_;
    bool relu_;
};

// Every stride-th pixel of every channel, with channels of zeros before and after them: the
// shortcut A of residual networks (He et al. 2016, arXiv:1512.03385, section 4.2).
template <class T>
class Subsample : public Op<T> {
public:
    Subsample(Buffer<T>& input, Buffer<T>& output, int64_t stride_h, int64_t stride_w,
              int64_t before)
        : input_(input), output_(output), stride_h_(stride_h), stride_w_(stride_w),
          before_(before) {
        if (output.height != (input.height + stride_h - 1) / stride_h ||
            output.width != (input.width + stride_w - 1) / stride_w ||
            before < 0 || before + input.channels > output.channels)
            refuse("the subsampled picture has another shape than its output.");
    }

    void forward(const Run& run) override {
        const Steps in = steps_of(input_, run.lanes), out = steps_of(output_, run.lanes);
        const T* from = inside(input_.value(), in, input_.halo);
        T* to = inside(output_.value(), out, output_.halo);
        for (int64_t c = 0; c < output_.channels; ++c) {
            const int64_t source = c - before_;
            if (source < 0 || source >= input_.channels) {
                clear_channel(output_, out, to + c * out.channel);
                continue;
            }
            for (int64_t y = 0; y < output_.height; ++y)
                for (int64_t x = 0; x < output_.width; ++x)
                    std::memcpy(to + c * out.channel + y * out.row + x * out.pixel,
                                from + source * in.channel + y * stride_h_ * in.row +
                                    x * stride_w_ * in.pixel,
                                sizeof(T) * run.lanes);
        }
    }

    void backward(const Run& run) override {
        if (!input_.wants_gradient) return;
        const Steps in = steps_of(input_, run.lanes), out = steps_of(output_, run.lanes);
        bool fresh = false;
        T* to = inside(input_.gradient(fresh), in, input_.halo);
        const T* from = inside(output_.gradient(), out, output_.halo);
        for (int64_t c = 0; c < input_.channels; ++c) {
            if (fresh) clear_channel(input_, in, to + c * in.channel);
            for (int64_t y = 0; y < output_.height; ++y)
                for (int64_t x = 0; x < output_.width; ++x) {
                    T* here = to + c * in.channel + y * stride_h_ * in.row +
                              x * stride_w_ * in.pixel;
                    const T* slope = from + (c + before_) * out.channel + y * out.row +
                                     x * out.pixel;
                    over_vectors<T>(run.lanes, [&](int64_t i) {
                        store(here + i, load(here + i) + load(slope + i));
                    });
                }
        }
    }

private:
    Buffer<T>& input_;
    Buffer<T>& output_;
    int64_t stride_h_, stride_w_, before_;
};

// Pictures as vectors: without the halo between their features.
template <class T>
class Flatten : public Op<T> {
public:
    Flatten(Buffer<T>& input, Buffer<T>& output) : input_(input), output_(output) {
        if (input.features() != output.features() || output.height * output.width != 1)
            refuse("flattening makes a vector of all features.");
    }

    void forward(const Run& run) override {
        over_rows(run, [&](int64_t from, int64_t to, int64_t n) {
            std::memcpy(output_.value() + to, input_.value() + from, sizeof(T) * n);
        });
    }

    void backward(const Run& run) override {
        if (!input_.wants_gradient) return;
        bool fresh = false;
        T* gradient = input_.gradient(fresh);
        over_rows(run, [&](int64_t from, int64_t to, int64_t n) {
            const T* slope = output_.gradient() + to;
            over_vectors<T>(n, [&](int64_t i) {
                T* here = gradient + from + i;
                store(here, fresh ? load(slope + i) : load(here) + load(slope + i));
            });
        });
    }

private:
    // Calls f(first item in the pictures, first item in the vectors, items) for each row of pixels.
    template <class F>
    void over_rows(const Run& run, F&& f) const {
        const Steps in = steps_of(input_, run.lanes);
        const int64_t n = input_.width * run.lanes, halo = input_.halo * (in.row + in.pixel);
        for (int64_t c = 0, to = 0; c < input_.channels; ++c)
            for (int64_t y = 0; y < input_.height; ++y, to += n)
                f(halo + c * in.channel + y * in.row, to, n);
    }

    Buffer<T>& input_;
    Buffer<T>& output_;
};

}  // namespace rewire
