// The sparse engine for one type of numbers, REWIRE_NUMBER, and one generation of processors: layers
// on lists of edges, O(edges) in time and memory. setup.py compiles it for each of both.

#include "layer_passes.hpp"
#include "plan_layers.hpp"
#include "plan_passes.hpp"
#include "recurrent_passes.hpp"
#include "spiking_passes.hpp"

namespace rewire {

template <class T>
int vector_bytes() {
    return REWIRE_BYTES;
}

using Number = REWIRE_NUMBER;

template int vector_bytes<Number>();
template class Optimiser<Number>;
template class Plan<Number>;
template class Sequence<Number>;
template class Spiking<Number>;
template class Conv2dPass<Number>;
template void linear_forward_batch<Number>(const Csr&, const Number*, const Number*, int64_t,
                                           const Number*, Number*, Number*);
template void linear_backward_batch<Number>(const Csr&, const Number*, const Number*, int64_t,
                                            const Number*, const ByColumn*, Number*, Number*,
                                            Number*);

}  // namespace rewire
