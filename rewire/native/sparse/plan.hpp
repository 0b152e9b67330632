// A whole net as a list of operations between buffers, run in one call. What runs is in
// plan_passes.hpp, what operations there are in plan_layers.hpp.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "grow.hpp"
#include "op.hpp"
#include "optimiser.hpp"
#include "shapes.hpp"

namespace rewire {

// Examples in memory: (examples, channels * height * width) of float, double or uint8, and which
// of them to take (all, in order, where rows is null).
struct Examples {
    Array x, rows_array;
    char type = 'f';  // f, d or B
    const void* data = nullptr;
    const int64_t* rows = nullptr;
    int64_t count = 0;

    void set(Array from, const std::optional<Array>& which, int64_t features) {
        if (!(from.contiguous) || from.dimensions < 1)
            refuse("examples must be contiguous.");
        const int64_t examples = from.length;
        if (from.size != examples * features)
            refuse("an example must have " + std::to_string(features) + " numbers; there are " +
                   std::to_string(from.size) + " in " + std::to_string(examples) + " examples.");
        type = holds<float>(from) ? 'f' : holds<double>(from) ? 'd' : 'B';
        if (type == 'B' && !holds<uint8_t>(from))
            refuse("examples must be float32, float64 or uint8.");
        count = examples;
        rows = nullptr;
        if (which) {
            rows = memory_of<int64_t>(*which, -1, "rows");
            count = which->size;
            for (int64_t i = 0; i < count; ++i)
                if (rows[i] < 0 || rows[i] >= examples)
                    refuse("rows must lie in [0, " + std::to_string(examples) + "), found " +
                           std::to_string(rows[i]) + ".");
            rows_array = *which;
        }
        data = from.data;
        x = std::move(from);
    }
    int64_t row(int64_t i) const { return rows != nullptr ? rows[i] : i; }
};

// The memory of a bias, where there is one.
using Bias = std::optional<std::pair<Array, Array>>;  // value and gradient

template <class T>
class Plan {
public:
    // The input: pictures [channels][height][width], or vectors (features, 1, 1). Buffer 0.
    Plan(int64_t channels, int64_t height, int64_t width) { add_buffer(channels, height, width); }

    // -- building
    int64_t add_buffer(int64_t channels, int64_t height, int64_t width) {
        if (channels < 1 || height < 1 || width < 1) refuse("a buffer of no size.");
        buffers_.push_back(std::make_unique<Buffer<T>>());
        Buffer<T>& b = *buffers_.back();
        b.channels = channels, b.height = height, b.width = width;
        return static_cast<int64_t>(buffers_.size()) - 1;
    }
    // Operations from buffers to a buffer, to run after those before them: the number of each.
    int64_t add_linear(int64_t in, int64_t out, EdgeArrays edges, Bias bias, bool relu);
    int64_t add_dense_linear(int64_t in, int64_t out, Array weight, Array gradient, Bias bias,
                             bool relu);
    int64_t add_relu(int64_t in, int64_t out);
    int64_t add_tanh(int64_t in, int64_t out);
    int64_t add_conv2d(int64_t in, int64_t out, const Geometry& geometry, bool relu,
                       EdgeArrays edges, Bias bias);
    // affine: weight, its gradient, bias, its gradient, or nothing; running: mean and variance.
    int64_t add_batch_norm(int64_t in, std::optional<int64_t> residual, int64_t out, double eps,
                           double momentum, bool relu, const std::vector<Array>& affine,
                           const std::vector<Array>& running, const std::optional<Array>& batches);
    int64_t add_max_pool2d(int64_t in, int64_t out, const Window& window);
    int64_t add_avg_pool2d(int64_t in, int64_t out, const Window& window);
    int64_t add_sum(int64_t a, int64_t b, int64_t out, bool relu);
    int64_t add_flatten(int64_t in, int64_t out);
    int64_t add_subsample(int64_t in, int64_t out, int64_t stride_h, int64_t stride_w,
                          int64_t before);

    Buffer<T>& buffer(int64_t i) {
        if (i < 0 || i >= static_cast<int64_t>(buffers_.size()))
            refuse("there is no buffer " + std::to_string(i) + ".");
        return *buffers_[i];
    }
    Op<T>& op(int64_t i) {
        if (i < 0 || i >= static_cast<int64_t>(ops_.size()))
            refuse("there is no operation " + std::to_string(i) + ".");
        return *ops_[i];
    }
    Edges<T>& edges(int64_t i) {
        Edges<T>* edges = op(i).edges();
        if (edges == nullptr) refuse("operation " + std::to_string(i) + " has no edges.");
        return *edges;
    }
    // The edges of an operation whose activations and output gradients are those of the last
    // backward pass.
    Edges<T>& kept_edges(int64_t i) {
        Edges<T>& kept = edges(i);
        if (!kept_)
            refuse("the gradient at absent synapses is known after a backward pass, until the "
                   "next forward pass: ask before it.");
        if (partial_) gather(examples_, 0, false);
        return kept;
    }
    const Run& run() const { return run_; }
    Optimiser<T>& optimiser() { return optimiser_; }
    // How inputs of uint8 become numbers: x * scale + offset, one of each for all channels, or one
    // for each channel.
    void set_scale(std::vector<double> scale, std::vector<double> offset) {
        const size_t channels = static_cast<size_t>(buffer(0).channels);
        if (scale.size() != offset.size() || (scale.size() != 1 && scale.size() != channels))
            refuse("scale and offset must have one number, or one for each channel.");
        scale_ = std::move(scale);
        offset_ = std::move(offset);
    }

    // -- running; Python's lock is needed in `load` and in `labels_of` only
    void load(Array x, const std::optional<Array>& rows) {
        kept_ = ready_ = false;
        examples_.set(std::move(x), rows, buffer(0).features());
    }
    int64_t examples() const { return examples_.count; }
    int64_t classes() const { return buffers_[output_]->features(); }
    // The labels of the examples that are loaded, checked; by_row: y has those of all rows.
    std::vector<int64_t> labels_of(const Array& y, bool by_row) const {
        const int64_t* label = memory_of<int64_t>(y, by_row ? examples_.x.length : examples(), "y");
        std::vector<int64_t> labels(examples());
        for (int64_t i = 0; i < examples(); ++i) {
            labels[i] = label[by_row ? examples_.row(i) : i];
            if (labels[i] < 0 || labels[i] >= classes())
                refuse("labels must lie in [0, " + std::to_string(classes()) + "), found " +
                       std::to_string(labels[i]) + ".");
        }
        return labels;
    }
    void check_ready() const {
        if (!ready_) refuse("there is no forward pass in training mode to go back through.");
    }
    void forward_all(bool training);
    // Mean cross-entropy of the last forward pass; gradients, and steps behind them where asked.
    double backward_all(const int64_t* labels, bool step);
    // What comes out for the examples that are loaded, (examples, classes).
    void logits(bool training, T* to);
    // Mean cross-entropy, and how many are classified right: the first class wins among equals.
    std::pair<double, int64_t> evaluate(const int64_t* labels);

    // -- gradients at absent synapses, after a backward pass
    void gradient_at(int64_t op, const Array& rows, const Array& columns, T* to);
    // dL/dw of a sparse weight at every pair, (rows, columns).
    void dense_gradient(int64_t op, T* to);
    Absent<T> top_absent(int64_t op, int64_t k, const uint8_t* leaving);

private:
    // Examples at once in an evaluation: as many as keep its activations, of which most are read
    // again at once, below ROOM bytes.
    static constexpr int64_t CHUNK = 128, SMALLEST = 2 * PAD, ROOM = int64_t{1} << 25;
    std::vector<std::unique_ptr<Buffer<T>>> buffers_;
    std::vector<std::unique_ptr<Op<T>>> ops_;
    std::vector<Op<T>*> readers_;  // of the input
    int64_t output_ = 0;
    Run run_;
    Optimiser<T> optimiser_;
    Examples examples_;
    std::vector<double> scale_{1.0}, offset_{0.0};
    std::vector<int64_t> places_;  // of the input's features, in lanes
    bool ready_ = false;    // a forward pass in training mode waits for its backward pass
    bool kept_ = false;     // activations and gradients are those of one backward pass
    bool partial_ = false;  // the input holds only the features that have edges

    int64_t add(std::unique_ptr<Op<T>> op, const std::vector<int64_t>& inputs, int64_t output);
    template <class L>
    int64_t add_layer(int64_t in, int64_t out, std::unique_ptr<L> layer, Bias bias);
    int64_t chunk_size() const;
    void start(int64_t batch, bool training);
    void place_features();
    void gather(const Examples& from, int64_t at, bool thrifty);
    template <class S>
    void gather_from(const Examples& from, int64_t at, const uint8_t* wanted);
    void scale(T* to, int64_t lanes, const uint8_t* wanted);
    template <class F>
    void in_chunks(F each);
};

}  // namespace rewire
