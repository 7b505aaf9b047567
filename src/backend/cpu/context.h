// What a CPU kernel sees: the plan's tensors as typed pointers, its scratch, and the threads.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "backend/arena.h"
#include "base/bf16.h"
#include "base/error.h"
#include "plan/memory.h"
#include "plan/plan.h"

namespace tidemark {

class OneDnnGemms;
namespace cpu {
struct Bf16Unit;
}

using Arenas = std::array<Arena, tag_count>;

template <class T>
inline constexpr DType dtype_of = DType::f32;
template <>
inline constexpr DType dtype_of<Bf16> = DType::bf16;
template <>
inline constexpr DType dtype_of<int32_t> = DType::i32;
template <>
inline constexpr DType dtype_of<int8_t> = DType::i8;

// Scratch rows are padded to this many floats, the longest vector's.
inline constexpr int64_t vector_floats = 16;
constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
constexpr int64_t divide_up(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

// Slots of a cache [heads, capacity] up to the last one in use, each head having `filled`: what
// marks the memory that was really needed.
constexpr int64_t slots_in_use(int64_t heads, int64_t capacity, int64_t filled) {
  return (heads - 1) * capacity + (filled < capacity ? filled : capacity);
}

struct CpuContext {
  const Plan* plan = nullptr;
  const MemoryLayout* layout = nullptr;  // null until memory is attached
  Arenas* arenas = nullptr;
  OneDnnGemms* gemms = nullptr;
  const cpu::Bf16Unit* bf16 = nullptr;  // what multiplies bf16 faster than fp32, if anything does
  // By tensor: weights that are kept packed (packed_weight.h). Null until memory is attached.
  const std::vector<bool>* packed = nullptr;
  int threads = 1;

  const Tensor& tensor(const Operand& operand) const {
    return plan->tensors[static_cast<size_t>(operand.tensor)];
  }

  // Activations, weights and caches are f32 or bf16.
  bool is_f32(const Operand& operand) const {
    const Tensor& t = tensor(operand);
    if (t.dtype != DType::f32 && t.dtype != DType::bf16)
      fail("tensor '{}': the cpu backend computes f32 and bf16, found {}", t.name, name(t.dtype));
    return t.dtype == DType::f32;
  }

  // The first element of a [rows, cols] view with the operand's stride.
  template <class T>
  T* pointer(const Operand& operand, int64_t rows, int64_t cols) const {
    return block<T>(operand, (rows - 1) * operand.stride + cols);
  }

  // The first of `count` elements in a row.
  template <class T>
  T* block(const Operand& operand, int64_t count) const {
    const Tensor& t = tensor(operand);
    if (t.dtype != dtype_of<T>)
      fail("tensor '{}': expected {}, found {}", t.name, name(dtype_of<T>), name(t.dtype));
    if (operand.offset < 0 || operand.offset + count > t.rows * t.cols)
      fail("tensor '{}' [{}, {}]: elements [{}, {}) wanted", t.name, t.rows, t.cols, operand.offset,
           operand.offset + count);
    constexpr auto item = static_cast<int64_t>(sizeof(T));
    const int64_t offset = layout->offset_bytes[static_cast<size_t>(operand.tensor)];
    Arena& arena = (*arenas)[static_cast<size_t>(t.tag)];
    return reinterpret_cast<T*>(arena.at(offset + operand.offset * item, count * item));
  }

  // The scratch of the running operator; what workspace_bytes() asked for, aligned to 64 bytes.
  template <class T>
  T* workspace(int64_t bytes) const {
    return reinterpret_cast<T*>((*arenas)[static_cast<size_t>(Tag::workspace)].at(0, bytes));
  }
};

}  // namespace tidemark
