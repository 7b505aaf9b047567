// The Mamba-2 mixer that Bamba, Granite 4.0 and Falcon-H1 configure with the same keys.
#pragma once

#include <string_view>

#include "model/families/builder.h"

namespace tidemark {

// The keys all three share; `inner` is the mixer's width, `inner_name` what errors call it.
Mamba2Shape read_mamba2_mixer(const Json& config, int64_t hidden, int64_t inner,
                              std::string_view inner_name);
// Of Bamba and Granite, whose width is mamba_expand * hidden_size.
Mamba2Shape read_bamba_mixer(const Json& config, int64_t hidden, double eps);

}  // namespace tidemark
