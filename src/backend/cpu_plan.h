// What the CPU backend makes of a plan, told without one: predictions price what would run.
#pragma once

#include "plan/plan.h"

namespace tidemark {

// Sets how many tokens SSD turns into matrix products at a time: at most 128, whatever the model's
// own chunk. What a block costs grows with its length, what lies between blocks does not shrink
// beyond that (docs/kernels.md).
void choose_cpu_forms(Plan&);

}  // namespace tidemark
