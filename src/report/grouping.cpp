#include "report/grouping.h"

namespace tidemark {

Group group(Category category, Role role) {
  switch (category) {
    case Category::gemm:
      return Group::gemm;
    case Category::attention:
      return Group::attention;
    case Category::ssm_scan:
    case Category::conv:
      return Group::ssm;
    case Category::norm:
      return Group::norm;
    case Category::elementwise:
      // Choosing experts is work around the layers, not arithmetic in them.
      return role == Role::router ? Group::other : Group::elementwise;
    case Category::rope:
      return Group::elementwise;
    case Category::embedding:
    case Category::memory:
      return Group::memory;
    case Category::sampling:
      return Group::other;
  }
  return Group::other;
}

std::string_view name(Group group) {
  switch (group) {
    case Group::attention:
      return "attention";
    case Group::ssm:
      return "ssm";
    case Group::gemm:
      return "gemm";
    case Group::norm:
      return "norm";
    case Group::elementwise:
      return "elementwise";
    case Group::memory:
      return "memory";
    case Group::other:
      return "other";
  }
  return "other";
}

}  // namespace tidemark
