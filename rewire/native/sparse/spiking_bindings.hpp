// What Python calls of spiking layers; a part of bindings.cpp.
#pragma once

struct AnySpiking {
    Either<Spiking> layer;
};

// (spikes (steps, batch, units), what a backward pass needs or None). currents: (steps, batch,
// units) from elsewhere; among: the edges among the units, or None; adaptation: (units,) or None.
py::tuple spiking_forward(const py::array& currents, const std::optional<GateEdges>& among,
                          const Maybe& adaptation, double leak, double threshold, bool subtracts,
                          double recovery, const std::string& surrogate, double steepness,
                          bool keep) {
    if (currents.ndim() != 3 || currents.shape(0) == 0)
        refuse("currents must be (steps, batch, units), with a step at least.");
    return by_type(currents, [&](auto number) {
        using T = decltype(number);
        auto run = std::make_unique<Spiking<T>>();
        run->steps = currents.shape(0), run->batch = currents.shape(1);
        run->lanes = padded(currents.shape(1)), run->units = currents.shape(2);
        run->how = {static_cast<T>(leak), static_cast<T>(threshold), static_cast<T>(recovery),
                    static_cast<T>(steepness), subtracts, adaptation.has_value(),
                    surrogate_of(surrogate)};
        if (adaptation) {
            run->adaptation = memory_of<T>(*adaptation, run->units, "adaptation");
            run->adaptation_array = array_of(*adaptation);
        }
        if (among) set_weights(run->among, *among, run->units, run->units);
        const T* from = memory_of<T>(currents, -1, "currents");
        py::array out = new_array<T>({run->steps, run->batch, run->units});
        py::object kept = py::none();
        T* to = begin<T>(out);
        {
            py::gil_scoped_release free;
            run->forward(from, to, keep);
        }
        if (keep) kept = py::cast(std::make_unique<AnySpiking>(AnySpiking{std::move(run)}));
        return py::make_tuple(out, kept);
    });
}

// (dcurrents, of the edges among the units (dvalue, dbias or None) or None) from the gradient of
// the spikes.
py::tuple spiking_backward(AnySpiking& run, const py::array& dout) {
    return std::visit(
        [&](auto& layer) {
            using T = std::remove_const_t<std::remove_pointer_t<decltype(layer->adaptation)>>;
            const T* from = memory_of<T>(dout, layer->steps * layer->batch * layer->units, "dout");
            py::array dx = new_array<T>({layer->steps, layer->batch, layer->units});
            py::object of_among = py::none();
            Slopes<T> slopes;
            if (layer->among.there()) {
                py::array value = new_array<T>({layer->among.csr.edges()});
                py::object bias = py::none();
                if (layer->among.bias != nullptr) bias = new_array<T>({layer->units});
                slopes.value = begin<T>(value), slopes.bias = begin<T>(bias);
                std::fill(slopes.value, slopes.value + value.size(), T(0));
                if (slopes.bias != nullptr) std::fill(slopes.bias, slopes.bias + layer->units, T(0));
                of_among = py::make_tuple(value, bias);
            }
            T* to = begin<T>(dx);
            {
                py::gil_scoped_release free;
                layer->backward(from, to, slopes);
            }
            return py::make_tuple(dx, of_among);
        },
        run.layer);
}

void bind_spiking(py::module_& m) {
    py::class_<AnySpiking>(m, "Spiking", py::module_local());
    m.def("spiking_forward", &spiking_forward, py::arg("currents"), py::arg("among"),
          py::arg("adaptation"), py::arg("leak"), py::arg("threshold"), py::arg("subtracts"),
          py::arg("recovery"), py::arg("surrogate"), py::arg("steepness"), py::arg("keep"));
    m.def("spiking_backward", &spiking_backward, py::arg("run"), py::arg("dout"));
}
