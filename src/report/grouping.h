// How figures group operators: a pure function of what an operator is (Category) and what it is for
// (Role). The one place where this is decided.
#pragma once

#include <array>
#include <string_view>

#include "base/vocab.h"

namespace tidemark {

// attention: softmax(q k^T) v itself. ssm: what a state-space block does beside projections, the
// scan and its short convolution. gemm: every projection, those inside an SSM block included.
// elementwise: activations, gates, rotary positions. memory: gathers and copies.
enum class Group { attention, ssm, gemm, norm, elementwise, memory, other };
inline constexpr std::array all_groups = {Group::gemm, Group::attention,   Group::ssm,
                                          Group::norm, Group::elementwise, Group::memory,
                                          Group::other};  // in the order figures show them

Group group(Category, Role);
std::string_view name(Group);

}  // namespace tidemark
