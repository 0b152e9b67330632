// The files of a program that is rewired: settings that Python wrote, and what it reads afterwards.

#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

namespace rewire {

[[noreturn]] inline void stop(const std::string& why) {
    std::cerr << "rewire: " << why << std::endl;
    std::exit(1);
}

// What Python wrote for a run: arrays of 8-byte numbers, one after the other, each after its length.
class Settings {
  public:
    explicit Settings(const std::string& path) : file_(std::fopen(path.c_str(), "rb")) {
        if (file_ == nullptr) stop("cannot read " + path);
    }
    ~Settings() { std::fclose(file_); }
    Settings(const Settings&) = delete;

    template <class T>
    std::vector<T> next() {
        static_assert(sizeof(T) == 8, "all numbers have 8 bytes");
        int64_t n = 0;
        if (std::fread(&n, sizeof n, 1, file_) != 1) stop("the settings end too early");
        std::vector<T> out(static_cast<size_t>(n));
        if (n && std::fread(out.data(), sizeof(T), out.size(), file_) != out.size())
            stop("the settings end too early");
        return out;
    }

    std::string text() {  // a letter in each number
        std::string out;
        for (const int64_t letter : next<int64_t>()) out += static_cast<char>(letter);
        return out;
    }

  private:
    std::FILE* file_;
};

// Arrays of numbers for Python, in the form of Settings.
class Results {
  public:
    explicit Results(const std::string& path) : file_(std::fopen(path.c_str(), "wb")) {}

    void add(const std::vector<double>& numbers) {
        const auto n = static_cast<int64_t>(numbers.size());
        write(&n, sizeof n, 1);
        write(numbers.data(), sizeof(double), numbers.size());
    }

    void write(const void* data, size_t size, size_t n) {
        if (file_ == nullptr || (n && std::fwrite(data, size, n, file_) != n)) full();
    }

    void close() {
        if (file_ == nullptr || std::fclose(file_) != 0) full();
    }

  private:
    [[noreturn]] static void full() { stop("cannot write what rules know: is the disk full?"); }

    std::FILE* file_;
};

// The records of a history: see rewire.edit_log.Record.
class Log {
  public:
    explicit Log(const std::string& path) : file_(std::fopen(path.c_str(), "wb")) {
        if (file_ == nullptr) stop("cannot write " + path);
        for (uint32_t i = 0; i < 256; ++i) {
            uint32_t c = i;
            for (int bit = 0; bit < 8; ++bit) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
            table_[i] = c;
        }
    }

    void add(int64_t tick, int16_t rule, const std::vector<int32_t>& drop,
             const std::vector<int64_t>& grow) {
        record_.clear();
        put(tick);
        put(static_cast<int32_t>(tick));
        put(static_cast<int32_t>(0));
        put(rule);
        put(static_cast<int32_t>(drop.size()));
        put(static_cast<int32_t>(grow.size()));
        for (const int32_t row : drop) put(row);
        for (const int64_t key : grow) put(key);
        uint32_t sum = 0xFFFFFFFFu;  // CRC-32
        for (const unsigned char byte : record_) sum = table_[(sum ^ byte) & 0xFF] ^ (sum >> 8);
        put(sum ^ 0xFFFFFFFFu);
        if (std::fwrite(record_.data(), 1, record_.size(), file_) != record_.size())
            stop("cannot write to the log of edits: is the disk full?");
    }

    void close() {
        if (std::fclose(file_) != 0) stop("cannot write to the log of edits: is the disk full?");
    }

  private:
    template <class T>
    void put(T value) {
        const auto* bytes = reinterpret_cast<const unsigned char*>(&value);
        record_.insert(record_.end(), bytes, bytes + sizeof value);
    }

    std::FILE* file_;
    uint32_t table_[256];
    std::vector<unsigned char> record_;
};

}  // namespace rewire
