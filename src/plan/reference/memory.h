// Tensors of a plan as plain vectors of a number type, for the scalar references.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/plan.h"

namespace tidemark::reference {

template <class T>
struct Memory {
  explicit Memory(const Plan& plan) {
    for (const Tensor& tensor : plan.tensors) {
      const auto elements = static_cast<size_t>(tensor.rows * tensor.cols);
      tensors.emplace_back(elements);
      integers.emplace_back(tensor.dtype == DType::i32 ? elements : 0);
    }
    if (plan.ids != no_tensor) ids.resize(tensors[static_cast<size_t>(plan.ids)].size());
  }
  // Element (row, col) of an operand.
  T& at(const Operand& o, int64_t row, int64_t col) {
    return tensors[static_cast<size_t>(o.tensor)]
                  [static_cast<size_t>(o.offset + row * o.stride + col)];
  }
  int32_t& integer(const Operand& o, int64_t row, int64_t col = 0) {
    return integers[static_cast<size_t>(o.tensor)]
                   [static_cast<size_t>(o.offset + row * o.stride + col)];
  }
  std::vector<std::vector<T>> tensors;         // by TensorId
  std::vector<std::vector<int32_t>> integers;  // by TensorId, of i32 tensors but for plan.ids
  std::vector<int32_t> ids;                    // of plan.ids
};

}  // namespace tidemark::reference
