// The Mamba-2 mixer that Bamba and Granite 4.0 configure with the same keys.
#pragma once

#include "model/families/builder.h"

namespace tidemark {

Mamba2Shape read_bamba_mixer(const Json& config, int64_t hidden, double eps);

}  // namespace tidemark
