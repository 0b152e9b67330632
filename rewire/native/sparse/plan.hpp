// A whole net as a list of operations between buffers, run in one call.
#pragma once

#include <memory>

#include "grow.hpp"
#include "layout.hpp"
#include "op.hpp"
#include "optimiser.hpp"

namespace rewire {

template <class T>
double cross_entropy(int64_t classes, const Run& run, const T* z, const int64_t* labels, T scale,
                     T* dz);

// Examples in memory: (examples, channels * height * width) of float, double or uint8, and which
// of them to take (all, in order, where rows is null).
struct Examples {
    py::array x, rows_array;
    char type = 'f';  // f, d or B
    const void* data = nullptr;
    const int64_t* rows = nullptr;
    int64_t count = 0;

    void set(py::array from, const std::optional<py::array>& which, int64_t features) {
        if (!(from.flags() & py::array::c_style) || from.ndim() < 1)
            refuse("examples must be contiguous.");
        const int64_t held = from.shape(0);
        if (from.size() != held * features)
            refuse("an example must have " + std::to_string(features) + " numbers; there are " +
                   std::to_string(from.size()) + " in " + std::to_string(held) + " examples.");
        type = from.dtype().char_();
        if (type != 'f' && type != 'd' && type != 'B')
            refuse("examples must be float32, float64 or uint8.");
        count = held;
        rows = nullptr;
        if (which) {
            rows = memory_of<int64_t>(*which, -1, "rows");
            count = which->size();
            for (int64_t i = 0; i < count; ++i)
                if (rows[i] < 0 || rows[i] >= held)
                    refuse("rows must lie in [0, " + std::to_string(held) + "), found " +
                           std::to_string(rows[i]) + ".");
            rows_array = *which;
        }
        data = from.data();
        x = std::move(from);
    }
    int64_t row(int64_t i) const { return rows != nullptr ? rows[i] : i; }
};

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
    Buffer<T>& buffer(int64_t i) {
        if (i < 0 || i >= static_cast<int64_t>(buffers_.size()))
            refuse("there is no buffer " + std::to_string(i) + ".");
        return *buffers_[i];
    }
    // Takes an operation over, to run after those before it: its number. `output` wants a gradient
    // where the operation has parameters, or one of its inputs wants one.
    int64_t add(std::unique_ptr<Op<T>> op, const std::vector<int64_t>& inputs, int64_t output) {
        bool wants = !op->parameters().empty();
        for (const int64_t i : inputs) {
            wants = wants || buffer(i).wants_gradient;
            if (i == 0) readers_.push_back(op.get());
        }
        buffer(output).wants_gradient = wants;
        ops_.push_back(std::move(op));
        output_ = output;
        run_ = Run{};
        return static_cast<int64_t>(ops_.size()) - 1;
    }
    Op<T>& op(int64_t i) {
        if (i < 0 || i >= static_cast<int64_t>(ops_.size()))
            refuse("there is no operation " + std::to_string(i) + ".");
        return *ops_[i];
    }
    Edges<T>& edges(int64_t i) {
        Edges<T>* found = op(i).edges();
        if (found == nullptr) refuse("operation " + std::to_string(i) + " has no edges.");
        return *found;
    }
    // The edges of an operation whose activations and output gradients are those of the last
    // backward pass.
    Edges<T>& kept_edges(int64_t i) {
        Edges<T>& found = edges(i);
        if (!kept_)
            refuse("the gradient at absent synapses is known after a backward pass, until the "
                   "next forward pass: ask before it.");
        if (partial_) gather(examples_, 0, false);
        return found;
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

    // -- running; the GIL is not held in `forward`, `backward`, `evaluate`
    void load(py::array x, const std::optional<py::array>& rows) {
        kept_ = ready_ = false;
        examples_.set(std::move(x), rows, buffer(0).features());
    }
    int64_t examples() const { return examples_.count; }
    int64_t loaded() const { return examples_.x.shape(0); }  // rows or not
    int64_t row(int64_t i) const { return examples_.row(i); }
    const T* output() const { return buffers_[output_]->value(); }
    int64_t classes() const { return buffers_[output_]->features(); }

    void forward_all(bool training) {
        start(examples_.count, training);
        gather(examples_, 0, true);
        for (auto& op : ops_) op->forward(run_);
        ready_ = training;
    }
    void check_ready() const {
        if (!ready_) refuse("there is no forward pass in training mode to go back through.");
    }
    // Mean cross-entropy of the last forward pass; gradients, and steps behind them where asked.
    double backward_all(const int64_t* labels, bool step) {
        for (auto& b : buffers_) b->begin_backward();
        bool fresh;
        Buffer<T>& out = *buffers_[output_];
        const double loss = cross_entropy<T>(classes(), run_, out.value(), labels,
                                             T(1) / static_cast<T>(run_.batch),
                                             out.gradient(fresh));
        for (auto op = ops_.rbegin(); op != ops_.rend(); ++op) {
            (*op)->backward(run_);
            if (step) optimiser_.step((*op)->parameters());  // while they are in the cache
        }
        if (step) optimiser_.count();
        kept_ = true;
        ready_ = false;
        return loss / static_cast<double>(run_.batch);
    }
    // Calls each(first example, run, logits (classes, lanes)) for chunks of the examples.
    template <class F>
    void in_chunks(F each) {
        const int64_t chunk = chunk_size();
        for (int64_t at = 0; at < examples_.count; at += chunk) {
            start(std::min(chunk, examples_.count - at), false);
            gather(examples_, at, true);
            for (auto& op : ops_) op->forward(run_);
            each(at, run_, buffers_[output_]->value());
        }
    }

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

    int64_t chunk_size() const {
        int64_t places = 0, chunk = CHUNK;
        for (const auto& b : buffers_) places += b->places();
        while (chunk > SMALLEST && chunk * places * static_cast<int64_t>(sizeof(T)) > ROOM)
            chunk /= 2;
        return chunk;
    }
    void start(int64_t batch, bool training) {
        if (batch < 1) refuse("a batch must have an example.");
        if (ops_.empty()) refuse("the plan has no operation.");
        const bool same = run_.lanes == padded(batch) && (run_.training || !training);
        run_.batch = batch;
        run_.training = training;
        kept_ = ready_ = false;
        if (same) {
            run_.training = training;
            return;
        }
        run_.lanes = padded(batch);
        for (auto& b : buffers_) b->resize(run_, training);
        for (auto& op : ops_) op->prepare(run_);
        place_features();
    }
    void place_features() {
        const Buffer<T>& in = *buffers_[0];
        places_.clear();
        for (int64_t c = 0; c < in.channels; ++c)
            for (int64_t y = 0; y < in.height; ++y)
                for (int64_t x = 0; x < in.width; ++x)
                    places_.push_back(c * in.plane() + (y + in.halo) * in.padded_width() + x +
                                      in.halo);
    }
    // Puts examples [at, at + batch) into the input buffer; those features only that somebody
    // reads, where `thrifty`.
    void gather(const Examples& from, int64_t at, bool thrifty) {
        const uint8_t* wanted =
            thrifty && readers_.size() == 1 ? readers_[0]->wanted_inputs() : nullptr;
        partial_ = wanted != nullptr;
        switch (from.type) {
            case 'f': return gather_from<float>(from, at, wanted);
            case 'd': return gather_from<double>(from, at, wanted);
            default: return gather_from<uint8_t>(from, at, wanted);
        }
    }
    template <class S>
    void gather_from(const Examples& from, int64_t at, const uint8_t* wanted) {
        Buffer<T>& in = *buffers_[0];
        const int64_t features = in.features(), lanes = run_.lanes;
        const S* data = static_cast<const S*>(from.data);
        T* to = in.value();
        const int64_t* places = places_.data();
        transpose<T, S>(
            run_.batch, features, [&](int64_t i) { return data + from.row(at + i) * features; },
            [=](int64_t f) { return to + places[f] * lanes; }, true,
            [=](int64_t f) {
                if (wanted == nullptr) return true;
                uint8_t any = 0;
                for (int i = 0; i < WIDTH<T>; ++i) any |= wanted[f + i];
                return any != 0;
            });
        if constexpr (std::is_same_v<S, uint8_t>) scale(to, lanes, wanted);
    }
    void scale(T* to, int64_t lanes, const uint8_t* wanted) {
        const Buffer<T>& in = *buffers_[0];
        const int64_t picture = in.height * in.width;
        for (int64_t f = 0; f < in.features(); ++f) {
            if (wanted != nullptr && !wanted[f]) continue;
            const size_t c = scale_.size() == 1 ? 0 : static_cast<size_t>(f / picture);
            const Vec<T> by = splat(static_cast<T>(scale_[c])),
                         add = splat(static_cast<T>(offset_[c]));
            T* row = to + places_[f] * lanes;
            for (int64_t i = 0; i < lanes; i += WIDTH<T>)
                rewire::store(row + i, rewire::load(row + i) * by + add);
        }
    }
};

}  // namespace rewire
