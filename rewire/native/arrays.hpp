// Arrays that kernels take and make. Large ones are made in memory that earlier ones left: a page
// that is touched for the first time costs more than what a tick does with it.

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

// Compiled for several generations of processors, chosen as the module is loaded.
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif

#if defined(__SSE2__)
#include <immintrin.h>
#endif

// And by hand where the compiler does not find the way: to be called where has_avx512().
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define AVX512 __attribute__((target("avx512f,avx512dq")))
inline bool has_avx512() {
    static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
    return has;
}
#endif

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;
using Keys = Array<int64_t>;

namespace {

// Memory of arrays that are gone, for the next ones. Python's lock is held wherever it is used.
class Spare {
  public:
    struct Block {
        void* at;
        size_t size;
    };

    // The block that fits most closely, without much waste, or a new one; nullptr for no memory.
    Block take(size_t bytes) {
        size_t best = kept.size();
        for (size_t i = 0; i < kept.size(); ++i)
            if (kept[i].size >= bytes && kept[i].size <= bytes + bytes / 4 + PAGE &&
                (best == kept.size() || kept[i].size < kept[best].size))
                best = i;
        if (best < kept.size()) {
            const Block found = kept[best];
            kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(best));
            return found;
        }
        const size_t size = (bytes + bytes / 16 + PAGE) / PAGE * PAGE;  // an array may grow a little
        void* at = std::aligned_alloc(PAGE, size);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
        if (at != nullptr) madvise(at, size, MADV_HUGEPAGE);
#endif
        return {at, size};
    }

    void give(const Block& block) {
        if (kept.size() == MOST) {
            std::free(kept.front().at);
            kept.erase(kept.begin());
        }
        kept.push_back(block);
    }

  private:
    static constexpr size_t PAGE = size_t{1} << 21;
    static constexpr size_t MOST = 7;  // a tick's: keys, two columns, places, moved, and two more
    std::vector<Block> kept;
};

Spare& spare() {
    static Spare* all = new Spare;  // outlives every array
    return *all;
}

constexpr size_t LARGE = size_t{1} << 21;  // bytes from which an array is worth keeping

// An array of n numbers of this type, not yet filled.
py::array make(const py::dtype& type, int64_t n) {
    const size_t bytes = static_cast<size_t>(n) * static_cast<size_t>(type.itemsize());
    if (bytes < LARGE) return py::array(type, std::vector<py::ssize_t>{n});
    const auto block = new Spare::Block(spare().take(bytes));
    if (block->at == nullptr) {
        delete block;
        throw std::bad_alloc();
    }
    const py::capsule owner(block, [](void* p) {
        const auto held = static_cast<Spare::Block*>(p);
        spare().give(*held);
        delete held;
    });
    return py::array(type, std::vector<py::ssize_t>{n}, block->at, owner);
}

template <class T>
Array<T> make(int64_t n) {
    return py::reinterpret_steal<Array<T>>(make(py::dtype::of<T>(), n).release());
}

// memcpy into memory that nobody reads soon: not by way of the caches.
inline void copy_past_caches(char* to, const char* from, size_t bytes) {
#if defined(__SSE2__)
    const size_t head = std::min(bytes, -reinterpret_cast<uintptr_t>(to) % 16);
    std::memcpy(to, from, head);
    size_t i = head;
    for (; i + 64 <= bytes; i += 64)
        for (size_t j = i; j < i + 64; j += 16)
            _mm_stream_si128(reinterpret_cast<__m128i*>(to + j),
                             _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + j)));
    to += i, from += i, bytes -= i;
#endif
    std::memcpy(to, from, bytes);
}

template <class T>
Array<T> array_of(const std::vector<T>& values) {
    Array<T> out = make<T>(static_cast<int64_t>(values.size()));
    if (!values.empty()) std::memcpy(out.mutable_data(), values.data(), values.size() * sizeof(T));
    return out;
}

}  // namespace
