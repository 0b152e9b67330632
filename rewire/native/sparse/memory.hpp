// Memory for activations, and how many lanes a batch takes in it.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <mutex>
#include <new>
#include <utility>
#include <vector>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace rewire {

constexpr int64_t PAD = 16;  // a batch is padded to a multiple of this many lanes

inline int64_t padded(int64_t batch) { return (batch + PAD - 1) / PAD * PAD; }

// Large blocks that were let go, kept for the next who wants one of that size: a layer by itself
// takes and returns its activations at every step, and new pages from the system cost more than
// what it computes on them.
class Recycler {
public:
    static constexpr size_t LARGE = size_t{1} << 21;  // multiples of a large page

    static Recycler& all() {
        static Recycler* one = new Recycler;  // outlives every Memory
        return *one;
    }
    void* take(size_t bytes) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block)
                if (block->second == bytes) {
                    void* kept = block->first;
                    blocks_.erase(std::next(block).base());
                    kept_bytes_ -= bytes;
                    return kept;
                }
        }
        void* fresh = std::aligned_alloc(LARGE, bytes);
#if defined(__linux__)
        if (fresh != nullptr) madvise(fresh, bytes, MADV_HUGEPAGE);
#endif
        return fresh;
    }
    void give(void* block, size_t bytes) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (kept_bytes_ + bytes <= MOST) {
                blocks_.emplace_back(block, bytes);
                kept_bytes_ += bytes;
                return;
            }
        }
        std::free(block);
    }

private:
    static constexpr size_t MOST = size_t{1} << 28;  // bytes held at once
    std::mutex mutex_;
    std::vector<std::pair<void*, size_t>> blocks_;
    size_t kept_bytes_ = 0;
};

// An array that only grows, on a cache line's border; on large pages where it is large, since rows
// of activations are visited in any order. What it holds after `grow` is not defined.
template <class T>
class Memory {
public:
    Memory() = default;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() { release(); }

    T* data() const { return data_; }
    int64_t size() const { return size_; }

    T* grow(int64_t n) {
        if (n <= size_) return data_;
        release();
        const size_t bytes = static_cast<size_t>(n) * sizeof(T);
        const size_t border = bytes >= Recycler::LARGE ? Recycler::LARGE : 64;
        bytes_ = (bytes + border - 1) / border * border;
        data_ = static_cast<T*>(border == Recycler::LARGE ? Recycler::all().take(bytes_)
                                                          : std::aligned_alloc(border, bytes_));
        if (data_ == nullptr) throw std::bad_alloc();
        size_ = n;
        return data_;
    }

    T* zeros(int64_t n) {
        grow(n);
        std::memset(static_cast<void*>(data_), 0, static_cast<size_t>(n) * sizeof(T));
        return data_;
    }

private:
    T* data_ = nullptr;
    int64_t size_ = 0;
    size_t bytes_ = 0;

    void release() {
        if (data_ != nullptr && bytes_ >= Recycler::LARGE) Recycler::all().give(data_, bytes_);
        else std::free(data_);
        data_ = nullptr;
        size_ = 0;
    }
};

}  // namespace rewire
