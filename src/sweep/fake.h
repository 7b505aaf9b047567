// Hidden models "fake:..." that take no time, or misbehave on demand: what sweeps are tested with.
// Their records say so in `weights` and `flags`.
#pragma once

#include <string_view>

#include "record/record.h"

namespace tidemark {

bool is_fake(std::string_view model);

// fake:ok | fake:sleep:SECONDS | fake:oom (takes memory until there is none) | fake:unsupported |
// fake:crash (SIGSEGV) | fake:abort | fake:exit:STATUS | fake:error. Times are a function of the
// cell, multiplied by the environment's TIDEMARK_FAKE_SCALE. Fills in what a measurement would.
void run_fake(Record&);

}  // namespace tidemark
