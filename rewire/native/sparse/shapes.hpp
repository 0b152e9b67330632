// Kernels, strides and paddings of convolutions and of pooling.
#pragma once

#include <algorithm>
#include <cstdint>

namespace rewire {

// Of a picture.
struct Shape {
    int64_t channels, height, width;
};

struct Geometry {
    int64_t kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, groups;

    int64_t taps() const { return kernel_h * kernel_w; }
    static int64_t size_after(int64_t n, int64_t kernel, int64_t stride, int64_t padding) {
        return n + 2 * padding < kernel ? 0 : (n + 2 * padding - kernel) / stride + 1;
    }
    // How far beyond its border the gradient of the output is read.
    static int64_t reach(int64_t n, int64_t after, int64_t kernel, int64_t stride,
                         int64_t padding) {
        const int64_t below = kernel - 1 > padding ? (kernel - 1 - padding) / stride : 0;
        return std::max(below, (n - 1 + padding) / stride - (after - 1));
    }
};

struct Window {
    int64_t kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w;
};

}  // namespace rewire
