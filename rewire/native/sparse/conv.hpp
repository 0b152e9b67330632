// Sparse two-dimensional convolution on images with the batch innermost (see Buffer in op.hpp).
//
// All three products of a convolution are sums over taps: Y[r] is a sum of shifted planes of X, dX
// of shifted planes of dY (by the transposed edges, one list for each residue of the stride), and
// dw of one edge is the inner product of two shifted planes. So two kernels do all: `gather_row`
// and `correlate_row`. Both hold a tile of a few neighbouring pixels times a block of lanes in
// registers while they run through the edges of a row.
#pragma once

#include <vector>

#include "image.hpp"
#include "shapes.hpp"

namespace rewire {

// Rows of taps: tap i of row r, start[r] <= i < start[r + 1], lies `offset[i]` items from the
// origin of the row's sum and has the weight of edge[i] (of edge i where `edge` is empty).
struct Taps {
    std::vector<int64_t> start, offset, edge;
};

// -- tiles --------------------------------------------------------------------------------------

#if defined(__AVX512F__)
constexpr int TILE = 16;  // vectors of sums held in registers: half of them
#else
constexpr int TILE = 8;
#endif

// Calls f(first pixel, Count<pixels>) for runs of n, then n / 4, ... neighbours that cover `width`.
template <int n, class F>
REWIRE_INLINE void over_pixels(int64_t at, int64_t width, F&& f) {
    for (; at + n <= width; at += n) f(at, Count<n>{});
    if constexpr (n > 1) {
        if (at < width) over_pixels<std::max(1, n / 4)>(at, width, f);
    }
}

// Calls f(pixel, lane, Count<pixels>, Count<vectors>) for tiles that cover a row of pixels: blocks
// of n, n / 2, ... vectors of lanes, which are a multiple of PAD.
template <class T, int n = 8, class F>
REWIRE_INLINE void over_tiles(int64_t width, int64_t lanes, F&& f, int64_t lane = 0) {
    constexpr int pixels = std::max(1, TILE / n);
    for (; lane + n * WIDTH<T> <= lanes; lane += n * WIDTH<T>)
        over_pixels<pixels>(0, width, [&](int64_t x, auto p) { f(x, lane, p, Count<n>{}); });
    if constexpr (n * WIDTH<T> > PAD) {
        if (lane < lanes) over_tiles<T, n / 2>(width, lanes, f, lane);
    }
}

// What becomes of a row's sums.
template <class T>
struct Finish {
    const T* bias = nullptr;  // one for each row, or none
    bool add = false;         // to what is there
    bool relu = false;
};

// sums[row][x] = sum of value * from[offset + x] for a row of `width` pixels and all rows of taps.
template <class T>
void gather_row(const Taps& taps, const T* values, const T* from, int64_t from_pixel, T* to,
                int64_t to_pixel, int64_t to_channel, int64_t width, int64_t lanes,
                const Finish<T>& finish) {
    const int64_t rows = static_cast<int64_t>(taps.start.size()) - 1;
    const int64_t* offset = taps.offset.data();
    over_tiles<T>(width, lanes, [&](int64_t x, int64_t lane, auto pixels, auto vectors) {
        constexpr int p = pixels.value, v = vectors.value, n = p * v;
        const T* source = from + x * from_pixel + lane;
        for (int64_t r = 0; r < rows; ++r) {
            T* out = to + r * to_channel + x * to_pixel + lane;
            const auto at = [&](int j) { return out + (j / v) * to_pixel + (j % v) * WIDTH<T>; };
            Vec<T> sums[n];
            if (finish.add) {
                REWIRE_UNROLL for (int j = 0; j < n; ++j) sums[j] = load(at(j));
            } else {
                const Vec<T> first = splat(finish.bias == nullptr ? T(0) : finish.bias[r]);
                REWIRE_UNROLL for (int j = 0; j < n; ++j) sums[j] = first;
            }
            for (int64_t i = taps.start[r]; i < taps.start[r + 1]; ++i) {
                const Vec<T> w = splat(values[i]);
                const T* q = source + offset[i];
                REWIRE_UNROLL for (int j = 0; j < n; ++j)
                    sums[j] += w * load(q + (j / v) * from_pixel + (j % v) * WIDTH<T>);
            }
            if (finish.relu) {
                REWIRE_UNROLL for (int j = 0; j < n; ++j) sums[j] = rectified<T>(sums[j]);
            }
            REWIRE_UNROLL for (int j = 0; j < n; ++j) store(at(j), sums[j]);
        }
    });
}

// parts[tap] += sum over a row of `width` pixels of slope[row][x] * from[offset + x], lane by lane
// of one vector; rows row0 <= row < row1.
template <class T>
void correlate_row(const int64_t* start, const int64_t* offset, int64_t row0, int64_t row1,
                   const T* from, int64_t from_pixel, const T* slope, int64_t slope_channel,
                   int64_t width, int64_t lanes, Vec<T>* parts) {
    over_tiles<T>(width, lanes, [&](int64_t x, int64_t lane, auto pixels, auto vectors) {
        constexpr int p = pixels.value, v = vectors.value, n = p * v;
        const T* source = from + x * from_pixel + lane;
        for (int64_t r = row0; r < row1; ++r) {
            if (start[r] == start[r + 1]) continue;
            const T* d = slope + r * slope_channel + x * lanes + lane;
            Vec<T> slopes[n];
            REWIRE_UNROLL for (int j = 0; j < n; ++j)
                slopes[j] = load(d + (j / v) * lanes + (j % v) * WIDTH<T>);
            for (int64_t i = start[r]; i < start[r + 1]; ++i) {
                const T* q = source + offset[i];
                Vec<T> sums[4] = {parts[i], Vec<T>{}, Vec<T>{}, Vec<T>{}};
                REWIRE_UNROLL for (int j = 0; j < n; ++j)
                    sums[j % 4] += slopes[j] * load(q + (j / v) * from_pixel + (j % v) * WIDTH<T>);
                parts[i] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
            }
        }
    });
}

// -- the operation ------------------------------------------------------------------------------

// Convolution with zero padding, strides and groups, no dilation; with a bias where `bias` has one.
// With `relu` its output goes through a ReLU.
template <class T>
class Conv2d : public Op<T>, public Edges<T> {
public:
    Conv2d(Buffer<T>& input, Buffer<T>& output, const Geometry& geometry, bool relu)
        : input_(input), output_(output), g_(geometry), relu_(relu) {
        if (g_.groups < 1 || input.channels % g_.groups || output.channels % g_.groups)
            refuse("groups must divide the channels: " + std::to_string(g_.groups) + " groups of " +
                   std::to_string(input.channels) + " and " + std::to_string(output.channels) +
                   ".");
        const int64_t h = g_.size_after(input.height, g_.kernel_h, g_.stride_h, g_.padding_h);
        const int64_t w = g_.size_after(input.width, g_.kernel_w, g_.stride_w, g_.padding_w);
        if (h < 1 || w < 1 || h != output.height || w != output.width)
            refuse("this convolution makes pictures of " + std::to_string(h) + " x " +
                   std::to_string(w) + ", not " + std::to_string(output.height) + " x " +
                   std::to_string(output.width) + ".");
        this->csr.rows = output.channels;
        this->csr.columns = input.channels / g_.groups * g_.taps();
        input.want_halo(std::max(g_.padding_h, g_.padding_w));
        output.want_halo(std::max(
            g_.reach(input.height, h, g_.kernel_h, g_.stride_h, g_.padding_h),
            g_.reach(input.width, w, g_.kernel_w, g_.stride_w, g_.padding_w)));
    }

    Parameter<T> bias;  // (out channels), or nothing

    void set_bias(Array value, Array gradient) {
        bias.set(std::move(value), std::move(gradient), this->csr.rows, "the bias");
    }
    std::vector<Parameter<T>*> parameters() override {
        if (bias.value == nullptr) return {&this->weight};
        return {&this->weight, &bias};
    }
    Edges<T>* edges() override { return this; }

    void prepare(const Run& run) override { place(run.lanes); }

    void forward(const Run& run) override {
        place(run.lanes);
        const Steps in = steps_of(input_, run.lanes), out = steps_of(output_, run.lanes);
        const T* from = origin(input_.value(), in);
        T* to = inside(output_.value(), out, output_.halo);
        const Finish<T> finish{bias.value, false, relu_};
        for (int64_t y = 0; y < output_.height; ++y)
            gather_row(forward_, this->weight.value, from + y * g_.stride_h * in.row,
                       g_.stride_w * in.pixel, to + y * out.row, out.pixel, out.channel,
                       output_.width, run.lanes, finish);
    }

    void backward(const Run& run) override {
        place(run.lanes);
        const Steps out = steps_of(output_, run.lanes);
        if (relu_ || bias.value != nullptr) finish_slopes(run, out);
        weight_gradient(run);
        if (input_.wants_gradient) input_gradient(run);
    }

    void gradient_at(const Run& run, int64_t n, const int64_t* rows, const int64_t* columns,
                     T* result) override {
        place(run.lanes);
        std::vector<int64_t> start{0, 0}, offset;
        for (int64_t k = 0, next; k < n; k = next) {  // runs of one output channel
            offset.clear();
            for (next = k; next < n && next < k + PARTS && rows[next] == rows[k]; ++next)
                offset.push_back(input_offset(rows[k], columns[next]) * run.lanes);
            start[1] = next - k;
            correlate(run, start.data(), offset.data(), rows[k], 1, result + k);
        }
    }

    void gradient_tile(const Run& run, int64_t row0, int64_t row1, int64_t column0,
                       int64_t column1, T* result) override {
        const int64_t columns = column1 - column0;
        std::vector<int64_t> start{0}, offset;
        for (int64_t r = row0; r < row1; ++r) {
            for (int64_t c = column0; c < column1; ++c)
                offset.push_back(input_offset(r, c) * run.lanes);
            start.push_back((r - row0 + 1) * columns);
        }
        correlate(run, start.data(), offset.data(), row0, row1 - row0, result);
    }

protected:
    void rewired() override { lanes_ = 0; }

private:
    const T* origin(const T* input, const Steps& in) const {
        return inside(input, in, input_.halo) - g_.padding_h * in.row - g_.padding_w * in.pixel;
    }

    // Places from the origin of an output pixel's sum to where an edge of row r reads.
    int64_t input_offset(int64_t r, int64_t column) const {
        const int64_t group = r / (output_.channels / g_.groups);
        const int64_t channel = group * (input_.channels / g_.groups) + column / g_.taps();
        const int64_t tap = column % g_.taps();
        return channel * input_.plane() + tap / g_.kernel_w * input_.padded_width() +
               tap % g_.kernel_w;
    }

    // The lists of taps for this many lanes.
    void place(int64_t lanes) {
        if (lanes == lanes_) return;
        const Connectivity& csr = this->csr;
        forward_.start.assign(csr.indptr, csr.indptr + csr.rows + 1);
        forward_.offset.resize(csr.edges());
        for (int64_t r = 0; r < csr.rows; ++r)
            for (int64_t e = csr.indptr[r]; e < csr.indptr[r + 1]; ++e)
                forward_.offset[e] = input_offset(r, csr.index[e]) * lanes;
        if (input_.wants_gradient) transpose(lanes);
        lanes_ = lanes;
    }

    // Edges by (residue of the input pixel, input channel): an input pixel (cy + stride_h i, cx +
    // stride_w j) hears from tap (ky, kx) only where cy + padding - ky divides by the stride.
    void transpose(int64_t lanes) {
        const Connectivity& csr = this->csr;
        const int64_t classes = g_.stride_h * g_.stride_w, channels = input_.channels;
        const int64_t edges = csr.edges();
        const auto modulo = [](int64_t a, int64_t b) { return (a % b + b) % b; };
        std::vector<int64_t> row_of(edges), count(classes * channels + 1, 0);
        backward_.assign(classes, Taps{});
        for (int64_t r = 0; r < csr.rows; ++r) {
            const int64_t first = r / (csr.rows / g_.groups) * (channels / g_.groups);
            for (int64_t e = csr.indptr[r]; e < csr.indptr[r + 1]; ++e) {
                const int64_t tap = csr.index[e] % g_.taps();
                const int64_t cy = modulo(tap / g_.kernel_w - g_.padding_h, g_.stride_h);
                const int64_t cx = modulo(tap % g_.kernel_w - g_.padding_w, g_.stride_w);
                row_of[e] = (cy * g_.stride_w + cx) * channels + first + csr.index[e] / g_.taps();
                ++count[row_of[e] + 1];
            }
        }
        for (size_t i = 1; i < count.size(); ++i) count[i] += count[i - 1];
        for (int64_t c = 0; c < classes; ++c) {
            const int64_t begin = count[c * channels];
            for (int64_t i = 0; i <= channels; ++i)
                backward_[c].start.push_back(count[c * channels + i] - begin);
            backward_[c].offset.resize(backward_[c].start.back());
            backward_[c].edge.resize(backward_[c].start.back());
        }
        std::vector<int64_t> next(count.begin(), count.end() - 1);
        for (int64_t r = 0; r < csr.rows; ++r)
            for (int64_t e = csr.indptr[r]; e < csr.indptr[r + 1]; ++e) {
                const int64_t c = row_of[e] / channels, cy = c / g_.stride_w, cx = c % g_.stride_w;
                const int64_t tap = csr.index[e] % g_.taps();
                const int64_t dy = (cy + g_.padding_h - tap / g_.kernel_w) / g_.stride_h;
                const int64_t dx = (cx + g_.padding_w - tap % g_.kernel_w) / g_.stride_w;
                const int64_t i = next[row_of[e]]++ - count[c * channels];
                backward_[c].offset[i] =
                    (r * output_.plane() + dy * output_.padded_width() + dx) * lanes;
                backward_[c].edge[i] = e;
            }
    }

    // The gradient of the sums before ReLU, in place, and that of the bias.
    void finish_slopes(const Run& run, const Steps& out) {
        const int64_t first = output_.halo * (out.row + out.pixel);
        for (int64_t c = 0; c < output_.channels; ++c) {
            double total = 0, unused = 0;
            for (int64_t y = 0; y < output_.height; ++y) {
                const int64_t at = first + c * out.channel + y * out.row;
                T* slope = output_.gradient() + at;
                const T* value = output_.value() + at;
                sum_row<T>(run, output_.width, total, unused,
                           [&](int64_t i, Vec<T>& d, Vec<T>& none) {
                               d = load(slope + i);
                               none = Vec<T>{};
                               if (!relu_) return;
                               d = through_rectified<T>(load(value + i), d);
                               store(slope + i, d);
                           });
            }
            if (bias.value != nullptr) bias.gradient[c] = static_cast<T>(total);
        }
    }

    void weight_gradient(const Run& run) {
        correlate(run, forward_.start.data(), forward_.offset.data(), 0, output_.channels,
                  this->weight.gradient);
    }

    // result[tap] of the `rows` rows of taps whose first is output channel `channel`.
    void correlate(const Run& run, const int64_t* start, const int64_t* offset, int64_t channel,
                   int64_t rows, T* result) {
        const Steps in = steps_of(input_, run.lanes), out = steps_of(output_, run.lanes);
        const T* from = origin(input_.value(), in);
        const T* slope = inside(output_.gradient(), out, output_.halo) + channel * out.channel;
        for (int64_t r0 = 0, r1; r0 < rows; r0 = r1) {
            for (r1 = r0 + 1; r1 < rows && start[r1 + 1] - start[r0] <= PARTS;) ++r1;
            const int64_t first = start[r0], n = start[r1] - first;
            double* totals = totals_.zeros(n);
            for (int64_t y0 = 0; y0 < output_.height; y0 += ROWS) {
                auto* parts = reinterpret_cast<Vec<T>*>(parts_.zeros(n * WIDTH<T>));
                for (int64_t y = y0; y < std::min(output_.height, y0 + ROWS); ++y)
                    correlate_row(start, offset, r0, r1, from + y * g_.stride_h * in.row,
                                  g_.stride_w * in.pixel, slope + y * out.row, out.channel,
                                  output_.width, run.lanes, parts - first);
                for (int64_t i = 0; i < n; ++i) totals[i] += sum<T>(parts[i]);
            }
            for (int64_t i = 0; i < n; ++i) result[first + i] = static_cast<T>(totals[i]);
        }
    }

    void input_gradient(const Run& run) {
        const Steps in = steps_of(input_, run.lanes), out = steps_of(output_, run.lanes);
        bool fresh = false;
        T* to = inside(input_.gradient(fresh), in, input_.halo);
        const T* from = inside(output_.gradient(), out, output_.halo);
        Finish<T> finish;
        finish.add = !fresh;
        for (int64_t c = 0; c < static_cast<int64_t>(backward_.size()); ++c) {
            const Taps& taps = backward_[c];
            if (taps.edge.empty() && !fresh) continue;
            T* values = values_.grow(std::max<int64_t>(1, taps.edge.size()));
            for (size_t i = 0; i < taps.edge.size(); ++i)
                values[i] = this->weight.value[taps.edge[i]];
            const int64_t cy = c / g_.stride_w, cx = c % g_.stride_w;
            const int64_t width = (input_.width - cx + g_.stride_w - 1) / g_.stride_w;
            for (int64_t y = cy, j = 0; y < input_.height; y += g_.stride_h, ++j)
                gather_row<T>(taps, values, from + j * out.row, out.pixel,
                              to + y * in.row + cx * in.pixel, g_.stride_w * in.pixel, in.channel,
                              width, run.lanes, finish);
        }
    }

    static constexpr int64_t PARTS = 2048;  // vectors of sums that stay in a cache of level 2
    static constexpr int64_t ROWS = 8;      // of pixels whose products are summed in T

    Buffer<T>& input_;
    Buffer<T>& output_;
    Geometry g_;
    bool relu_;
    int64_t lanes_ = 0;  // of the lists below; 0: none yet
    Taps forward_;
    std::vector<Taps> backward_;  // by residue of the stride
    Memory<T> parts_, values_;
    Memory<double> totals_;
};

}  // namespace rewire
