// Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167) of feature-major activations, with
// the addition and the ReLU that follow it in residual networks.
#pragma once

#include <cmath>
#include <optional>
#include <vector>

#include "image.hpp"

namespace rewire {

// y = (z - mean) / sqrt(variance + eps) * weight + bias, channel by channel; then `residual` is
// added where there is one, then ReLU with `relu`. In training mean and biased variance are
// those of the batch, and running statistics follow them as in torch: by `momentum`, or as a plain
// average over the batches so far where it is negative, the variance with n - 1. Without running
// statistics those of the batch are used at all times.
template <class T>
class BatchNorm : public Op<T> {
public:
    BatchNorm(Buffer<T>& input, Buffer<T>* residual, Buffer<T>& output, double eps,
              double momentum, bool relu)
        : input_(input), residual_(residual), output_(output), eps_(eps), momentum_(momentum),
          relu_(relu) {
        const auto same = [&](const Buffer<T>& b) {
            return b.channels == input.channels && b.height == input.height &&
                   b.width == input.width;
        };
        if (!same(output) || (residual != nullptr && !same(*residual)))
            refuse("batch norm, what is added to it and its output must have one shape.");
    }

    void set_affine(Array weight, Array weight_gradient, Array bias,
                    Array bias_gradient) {
        const int64_t n = input_.channels;
        weight_.set(std::move(weight), std::move(weight_gradient), n, "the weight of a batch norm");
        bias_.set(std::move(bias), std::move(bias_gradient), n, "the bias of a batch norm");
    }
    // batches: one int64, how many batches the running statistics saw.
    void set_running(Array mean, Array variance, const std::optional<Array>& batches) {
        running_mean_ = memory_of<T>(mean, input_.channels, "the running mean");
        running_variance_ = memory_of<T>(variance, input_.channels, "the running variance");
        if (batches) batches_ = memory_of<int64_t>(*batches, 1, "num_batches_tracked");
        kept_ = {std::move(mean), std::move(variance)};
        if (batches) kept_.push_back(*batches);
    }
    std::vector<Parameter<T>*> parameters() override {
        return weight_.value == nullptr ? std::vector<Parameter<T>*>{}
                                        : std::vector<Parameter<T>*>{&weight_, &bias_};
    }

    void forward(const Run& run) override {
        of_batch_ = run.training || running_mean_ == nullptr;
        const int64_t n = run.batch * input_.height * input_.width;
        if (of_batch_ && run.training && n < 2)
            refuse("batch norm needs more than one value a channel in training, got one.");
        mean_.resize(input_.channels), inverse_.resize(input_.channels);
        const bool follow = run.training && running_mean_ != nullptr;
        double rate = momentum_;
        if (follow && batches_ != nullptr) {
            ++*batches_;
            if (momentum_ < 0) rate = 1.0 / static_cast<double>(*batches_);
        }
        const Steps in = steps_of(input_, run.lanes);
        for (int64_t c = 0; c < input_.channels; ++c) {
            const T* z = inside(input_.value(), in, input_.halo) + c * in.channel;
            double mean, variance;
            if (of_batch_) {
                moments(run, z, in, mean, variance);
                if (follow) {
                    const double unbiased = variance * n / (n - 1.0);
                    follow_by(rate, mean, running_mean_[c]);
                    follow_by(rate, unbiased, running_variance_[c]);
                }
            } else {
                mean = running_mean_[c], variance = running_variance_[c];
            }
            mean_[c] = static_cast<T>(mean);
            inverse_[c] = static_cast<T>(1.0 / std::sqrt(variance + eps_));
            normalise(run, c, z, in);
        }
    }

    void backward(const Run& run) override {
        const Steps in = steps_of(input_, run.lanes), out = steps_of(output_, run.lanes);
        bool fresh = true, residual_fresh = true;
        Targets t;
        if (input_.wants_gradient) t.input = input_.gradient(fresh);
        t.input_fresh = fresh;
        if (residual_ != nullptr && residual_->wants_gradient)
            t.residual = residual_->gradient(residual_fresh);
        t.residual_fresh = residual_fresh;
        for (int64_t c = 0; c < input_.channels; ++c) {
            if (!relu_) differentiate<Mask::none>(run, c, in, out, t);
            else if (residual_ == nullptr) differentiate<Mask::from_input>(run, c, in, out, t);
            else differentiate<Mask::from_output>(run, c, in, out, t);
        }
    }

private:
    // Where ReLU let a value through is seen in its output; without a residual in z as well, which
    // is read in any case.
    enum class Mask { none, from_input, from_output };
    struct Targets {
        T* input = nullptr;
        T* residual = nullptr;
        bool input_fresh = true, residual_fresh = true;
    };

    static void follow_by(double rate, double now, T& running) {
        running = static_cast<T>(rate * now + (1 - rate) * static_cast<double>(running));
    }
    T scale(int64_t c) const {
        return weight_.value == nullptr ? inverse_[c] : inverse_[c] * weight_.value[c];
    }
    T shift(int64_t c) const {
        return (bias_.value == nullptr ? T(0) : bias_.value[c]) - mean_[c] * scale(c);
    }

    // Mean and biased variance of a channel, in one pass around the mean of its first row.
    void moments(const Run& run, const T* z, const Steps& in, double& mean, double& variance) {
        double first = 0, unused = 0, sums = 0, squares = 0;
        sum_row<T>(run, input_.width, first, unused, [&](int64_t i, Vec<T>& a, Vec<T>& b) {
            a = load(z + i);
            b = Vec<T>{};
        });
        const T centre = static_cast<T>(first / (input_.width * run.batch));
        for (int64_t y = 0; y < input_.height; ++y) {
            const T* row = z + y * in.row;
            sum_row<T>(run, input_.width, sums, squares, [&](int64_t i, Vec<T>& a, Vec<T>& b) {
                a = load(row + i) - centre;
                b = a * a;
            });
        }
        const double n = static_cast<double>(run.batch * input_.height * input_.width);
        mean = centre + sums / n;
        variance = std::max(0.0, (squares - sums * sums / n) / n);
    }

    void normalise(const Run& run, int64_t c, const T* z, const Steps& in) {
        const Steps out = steps_of(output_, run.lanes);
        T* y = inside(output_.value(), out, output_.halo) + c * out.channel;
        const T* added = nullptr;
        Steps other{};
        if (residual_ != nullptr) {
            other = steps_of(*residual_, run.lanes);
            added = inside(residual_->value(), other, residual_->halo) + c * other.channel;
        }
        const T a = scale(c), b = shift(c);
        for (int64_t row = 0; row < input_.height; ++row) {
            const T* from = z + row * in.row;
            const T* plus = added + row * other.row;
            T* to = y + row * out.row;
            over_vectors<T>(input_.width * run.lanes, [&](int64_t i) {
                Vec<T> v = load(from + i) * a + b;
                if (added != nullptr) v += load(plus + i);
                if (relu_) v = rectified<T>(v);
                store(to + i, v);
            });
        }
    }

    template <Mask mask>
    void differentiate(const Run& run, int64_t c, const Steps& in, const Steps& out,
                       const Targets& to) {
        const T* z = inside(input_.value(), in, input_.halo) + c * in.channel;
        const T* value = inside(output_.value(), out, output_.halo) + c * out.channel;
        const T* slope = inside(output_.gradient(), out, output_.halo) + c * out.channel;
        const T mean = mean_[c], a = scale(c), b = shift(c);
        const auto through = [&](int64_t row, int64_t i, Vec<T> zi) {
            const Vec<T> d = load(slope + row * out.row + i);
            if constexpr (mask == Mask::none) return d;
            if constexpr (mask == Mask::from_input) return through_rectified<T>(zi * a + b, d);
            return through_rectified<T>(load(value + row * out.row + i), d);
        };
        double sums = 0, products = 0;
        for (int64_t row = 0; row < input_.height; ++row)
            sum_row<T>(run, input_.width, sums, products,
                       [&](int64_t i, Vec<T>& p, Vec<T>& q) {
                           const Vec<T> zi = load(z + row * in.row + i);
                           p = through(row, i, zi);
                           q = p * (zi - mean);
                       });
        if (weight_.value != nullptr) {
            weight_.gradient[c] = static_cast<T>(products * inverse_[c]);
            bias_.gradient[c] = static_cast<T>(sums);
        }
        if (to.input == nullptr && to.residual == nullptr) return;
        const double n = static_cast<double>(run.batch * input_.height * input_.width);
        const double inverse = inverse_[c];
        const T level = of_batch_ ? static_cast<T>(sums / n) : T(0);
        const T lean = of_batch_ ? static_cast<T>(products / n * inverse * inverse) : T(0);
        T* d_input = to.input == nullptr
                         ? nullptr
                         : inside(to.input, in, input_.halo) + c * in.channel;
        T* d_residual = nullptr;
        Steps other{};
        if (to.residual != nullptr) {
            other = steps_of(*residual_, run.lanes);
            d_residual = inside(to.residual, other, residual_->halo) + c * other.channel;
        }
        for (int64_t row = 0; row < input_.height; ++row) {
            T* here = d_input + row * in.row;
            T* beside = d_residual + row * other.row;
            over_vectors<T>(input_.width * run.lanes, [&](int64_t i) {
                const Vec<T> zi = load(z + row * in.row + i);
                const Vec<T> d = through(row, i, zi);
                if (d_residual != nullptr)
                    store(beside + i, to.residual_fresh ? d : load(beside + i) + d);
                if (d_input == nullptr) return;
                const Vec<T> dz = (d - level - (zi - mean) * lean) * a;
                store(here + i, to.input_fresh ? dz : load(here + i) + dz);
            });
            if (d_input != nullptr) clear_padding(run, input_.width, here);
        }
    }

    Buffer<T>& input_;
    Buffer<T>* residual_;
    Buffer<T>& output_;
    double eps_, momentum_;
    bool relu_, of_batch_ = true;
    Parameter<T> weight_, bias_;  // (channels), or neither
    T* running_mean_ = nullptr;   // (channels), or neither
    T* running_variance_ = nullptr;
    int64_t* batches_ = nullptr;
    std::vector<Array> kept_;  // what the running statistics lie in
    std::vector<T> mean_, inverse_;  // of the last forward pass: mean, 1 / sqrt(variance + eps)
};

}  // namespace rewire
