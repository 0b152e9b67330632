// The rules that are compiled into programs, by the names that Python writes into their settings.

#pragma once

#include <memory>
#include <string>

#include "deep_r.hpp"
#include "homeostatic_growth.hpp"
#include "set.hpp"
#include "structural_plasticity.hpp"

namespace rewire {

// The rule of that name; none where it is empty: nothing acts.
inline std::unique_ptr<Rule> rule_of(Settings& from) {
    const std::string name = from.text();
    if (name == "StructuralPlasticity")
        return std::unique_ptr<Rule>(new StructuralPlasticity(from));
    if (name == "SET") return std::unique_ptr<Rule>(new SET(from));
    if (name == "DeepR") return std::unique_ptr<Rule>(new DeepR(from));
    if (name == "HomeostaticGrowth") return std::unique_ptr<Rule>(new HomeostaticGrowth(from));
    if (!name.empty()) stop("there is no compiled rule " + name);
    return nullptr;
}

}  // namespace rewire
