// How a plan runs: examples into the input, forward, backward, and steps.
#pragma once

#include "elementwise.hpp"
#include "layout.hpp"
#include "plan.hpp"
#include "steps.hpp"

namespace rewire {

template <class T>
void Plan<T>::forward_all(bool training) {
    start(examples_.count, training);
    gather(examples_, 0, true);
    for (auto& op : ops_) op->forward(run_);
    ready_ = training;
}

template <class T>
double Plan<T>::backward_all(const int64_t* labels, bool step) {
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
template <class T>
template <class F>
void Plan<T>::in_chunks(F each) {
    const int64_t chunk = chunk_size();
    for (int64_t at = 0; at < examples_.count; at += chunk) {
        start(std::min(chunk, examples_.count - at), false);
        gather(examples_, at, true);
        for (auto& op : ops_) op->forward(run_);
        each(at, run_, buffers_[output_]->value());
    }
}

template <class T>
void Plan<T>::logits(bool training, T* to) {
    const int64_t classes = this->classes();
    if (training) {
        forward_all(true);
        batch_first(run_.batch, classes, buffers_[output_]->value(), run_.lanes, to);
    } else {
        in_chunks([=](int64_t at, const Run& run, const T* z) {
            batch_first(run.batch, classes, z, run.lanes, to + at * classes);
        });
    }
}

template <class T>
std::pair<double, int64_t> Plan<T>::evaluate(const int64_t* labels) {
    const int64_t classes = this->classes();
    double loss = 0;
    int64_t right = 0;
    in_chunks([&](int64_t at, const Run& run, const T* z) {
        loss += cross_entropy<T>(classes, run, z, labels + at, T(1), nullptr);
        for (int64_t i = 0; i < run.batch; ++i) {
            int64_t top = 0;
            for (int64_t c = 1; c < classes; ++c)
                if (z[c * run.lanes + i] > z[top * run.lanes + i]) top = c;
            right += top == labels[at + i];
        }
    });
    return {loss / static_cast<double>(examples()), right};
}

// -- gradients at absent synapses -----------------------------------------------------------------

template <class T>
void Plan<T>::gradient_at(int64_t op, const Array& rows, const Array& columns, T* to) {
    Edges<T>& edges = kept_edges(op);
    const int64_t n = rows.size;
    const int64_t* r = memory_of<int64_t>(rows, n, "rows");
    const int64_t* c = memory_of<int64_t>(columns, n, "columns");
    for (int64_t i = 0; i < n; ++i)
        if (r[i] < 0 || r[i] >= edges.csr.rows || c[i] < 0 || c[i] >= edges.csr.columns)
            refuse("there is no synapse (" + std::to_string(r[i]) + ", " + std::to_string(c[i]) +
                   ") in " + std::to_string(edges.csr.rows) + " x " +
                   std::to_string(edges.csr.columns) + ".");
    edges.gradient_at(run_, n, r, c, to);
}

template <class T>
void Plan<T>::dense_gradient(int64_t op, T* to) {
    constexpr int64_t ROWS = 256;  // at a time, so that what they read stays near
    Edges<T>& edges = kept_edges(op);
    const int64_t rows = edges.csr.rows, columns = edges.csr.columns;
    for (int64_t r = 0; r < rows; r += ROWS)
        edges.gradient_tile(run_, r, std::min(r + ROWS, rows), 0, columns, to + r * columns);
}

template <class T>
Absent<T> Plan<T>::top_absent(int64_t op, int64_t k, const uint8_t* leaving) {
    return rewire::top_absent(kept_edges(op), run_, k, leaving);
}

// -- how it runs ----------------------------------------------------------------------------------

template <class T>
int64_t Plan<T>::chunk_size() const {
    int64_t places = 0, chunk = CHUNK;
    for (const auto& b : buffers_) places += b->places();
    while (chunk > SMALLEST && chunk * places * static_cast<int64_t>(sizeof(T)) > ROOM)
        chunk /= 2;
    return chunk;
}

template <class T>
void Plan<T>::start(int64_t batch, bool training) {
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

template <class T>
void Plan<T>::place_features() {
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
template <class T>
void Plan<T>::gather(const Examples& from, int64_t at, bool thrifty) {
    const uint8_t* wanted =
        thrifty && readers_.size() == 1 ? readers_[0]->wanted_inputs() : nullptr;
    partial_ = wanted != nullptr;
    switch (from.type) {
        case 'f': return gather_from<float>(from, at, wanted);
        case 'd': return gather_from<double>(from, at, wanted);
        default: return gather_from<uint8_t>(from, at, wanted);
    }
}

template <class T>
template <class S>
void Plan<T>::gather_from(const Examples& from, int64_t at, const uint8_t* wanted) {
    Buffer<T>& in = *buffers_[0];
    const int64_t features = in.features(), lanes = run_.lanes;
    const S* data = static_cast<const S*>(from.data);
    const Rows<const S> rows = from.rows == nullptr
                                   ? Rows<const S>{data + at * features, features}
                                   : Rows<const S>{data, features, from.rows + at};
    T* to = in.value();
    transpose<T, S>(run_.batch, features, rows, {to, lanes, places_.data()}, true, wanted);
    if constexpr (std::is_same_v<S, uint8_t>) scale(to, lanes, wanted);
}

template <class T>
void Plan<T>::scale(T* to, int64_t lanes, const uint8_t* wanted) {
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

}  // namespace rewire
