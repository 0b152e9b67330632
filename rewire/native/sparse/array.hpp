// Arrays as the engine sees them: no Python here, so that the kernels compile without its headers.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace rewire {

[[noreturn]] inline void refuse(const std::string& why) { throw std::invalid_argument(why); }

// An array of the caller's: where it lies, what lies there, and what keeps it alive.
struct Array {
    void* data = nullptr;
    int64_t size = 0;    // items
    int64_t length = 0;  // of the first dimension
    int dimensions = 0;
    char kind = 0;      // f, i, u, b, ... as numpy names them; 0 for another byte order
    int item_size = 0;  // bytes
    bool contiguous = false;
    std::shared_ptr<void> owner;
};

template <class T>
constexpr char KIND = std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';

inline std::string type_name(char kind, int item_size) {
    const std::string bits = std::to_string(8 * item_size);
    switch (kind) {
        case 'f': return "float" + bits;
        case 'i': return "int" + bits;
        case 'u': return "uint" + bits;
        case 'b': return "bool";
        default: return "another type";
    }
}

template <class T>
bool holds(const Array& a) {
    return a.kind == KIND<T> && a.item_size == static_cast<int>(sizeof(T));
}

// The memory of an array: contiguous, of this type, of `size` items (-1: any number).
template <class T>
T* memory_of(const Array& a, int64_t size, const std::string& what) {
    if (!holds<T>(a) || !a.contiguous)
        refuse(what + " must be contiguous and of type " +
               type_name(KIND<T>, sizeof(T)) + ", got " + type_name(a.kind, a.item_size) + ".");
    if (size >= 0 && a.size != size)
        refuse(what + " must have " + std::to_string(size) + " items, got " +
               std::to_string(a.size) + ".");
    return static_cast<T*>(a.data);
}

}  // namespace rewire
