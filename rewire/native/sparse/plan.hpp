// A whole net as a list of operations between buffers, run in one call.
#pragma once

#include <memory>

#include "layout.hpp"
#include "op.hpp"

namespace rewire {

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
        for (const int64_t i : inputs) wants = wants || buffer(i).wants_gradient;
        buffer(output).wants_gradient = wants;
        ops_.push_back(std::move(op));
        output_ = output;
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

private:
    std::vector<std::unique_ptr<Buffer<T>>> buffers_;
    std::vector<std::unique_ptr<Op<T>>> ops_;
    int64_t output_ = 0;
};

}  // namespace rewire
