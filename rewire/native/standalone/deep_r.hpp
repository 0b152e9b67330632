// Deep Rewiring (rewire/rules/deep_r.py) where all signs are +1, from the C++ of its kernels.

#pragma once

#include "../walk.hpp"
#include "room.hpp"

namespace rewire {

class DeepR : public Rule {
  public:
    explicit DeepR(Settings& from) : global_(from.next<int64_t>()[0] != 0) {
        const std::vector<double> numbers = from.next<double>();
        drift_ = numbers[0];
        spread_ = static_cast<float>(numbers[1]);
        birth_ = from.next<double>();
        streams_.reset(new Streams(from));
        normals_.reset(new Normals(from));
    }

    void tick(size_t number, Graph& graph, const Signals&, Edit& edit) override {
        Stream stream = streams_->of(number);
        // for all active k: theta_k <- theta_k - eta alpha + sqrt(2 eta T) nu_k
        //     if theta_k < 0 then set k dormant
        uint64_t counter = stream.normals();
        std::vector<int64_t> dormant(graph.projections(), 0);
        n_ = 0;
        for (size_t p = 0; p < graph.projections(); ++p)
            for (size_t cell = graph.first_cell(p); cell < graph.end_cell(p); ++cell) {
                const int64_t* synapses = graph.synapses(p, cell);
                int64_t number = 0;
                for (const Edge& one : graph.held[cell]) {
                    of_[n_] = p;
                    at_[n_] = Place{cell, number++};
                    weight_[n_] = &graph.weight(synapses, one);
                    w_[n_] = *weight_[n_];
                    if (++n_ == BLOCK) move(graph, counter, dormant, edit);
                }
            }
        move(graph, counter, dormant, edit);
        if (edit.gone.empty()) return;
        // while the number of active k is below K:
        //     select a dormant k' with uniform probability and activate it
        std::vector<size_t> ends(1, 0);
        if (global_) {
            ends.push_back(graph.projections());
            dormant.assign(1, static_cast<int64_t>(edit.gone.size()));
        } else {
            for (size_t p = 0; p < graph.projections(); ++p) ends.push_back(p + 1);
        }
        edit.grown = sample_absent(graph, ends, dormant, stream, edit.gone, true);
        edit.births = birth_;
    }

  private:
    // The edges of a block, which is empty afterwards.
    void move(Graph& graph, uint64_t& counter, std::vector<int64_t>& dormant, Edit& edit) {
        double theta[BLOCK];
        int8_t sign[BLOCK];
        std::fill(sign, sign + BLOCK, static_cast<int8_t>(1));
        const float* noise = n_ ? normals_->block(counter) : nullptr;
        counter += static_cast<uint64_t>(BLOCK / 2) * GOLDEN;
        move_block(w_, sign, noise, drift_, spread_, n_, theta);
        for (int64_t i = 0; i < n_; ++i) {
            *weight_[i] = graph.clipped(theta[i]);
            if (theta[i] >= 0) continue;
            edit.gone.push_back(at_[i]);
            ++dormant[of_[i]];
        }
        n_ = 0;
    }

    bool global_;
    double drift_;
    float spread_;
    std::vector<double> birth_;
    std::unique_ptr<Streams> streams_;
    std::unique_ptr<Normals> normals_;
    int64_t n_ = 0;
    size_t of_[BLOCK];
    Place at_[BLOCK];
    double* weight_[BLOCK];  // in the arrays of the program
    double w_[BLOCK];
};

}  // namespace rewire
