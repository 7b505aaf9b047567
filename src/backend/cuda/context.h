// What a launch needs: where tensors live, the stream, the libraries, and the position on the
// device.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <set>

#include "backend/cuda/attention_cudnn.h"
#include "backend/cuda/gemm.h"
#include "backend/cuda/positions.h"
#include "backend/cuda/queue.h"
#include "plan/memory.h"
#include "plan/plan.h"

namespace tidemark::cuda {

struct CudaContext {
  Queue queue;
  int sm_count = 1;
  GemmLibrary gemms;
  CudnnAttention cudnn;

  // Of the attached plan. Before attach() there are no arenas: pointers then tell alignments, and
  // which operands there are, alone.
  const Plan* plan = nullptr;
  std::vector<int64_t> offset_bytes;  // by TensorId
  std::array<std::byte*, tag_count> arenas{};
  MemoryByTag high_water;
  int64_t scratch_bytes = 0;  // all that a node's scratch may be

  // The position of the launches being made, where they need not serve any other; else -1.
  int64_t position = -1;

  // A few bytes beside the arenas, on the device.
  int64_t* past = nullptr;
  int32_t* lengths = nullptr;  // StepPosition
  ArgmaxSlot* argmax_slots = nullptr;

  const Tensor& tensor(const Operand& o) const {
    return plan->tensors[static_cast<size_t>(o.tensor)];
  }
  DType dtype(const Operand& o) const { return tensor(o).dtype; }

  // The first element of an operand, or null for an absent one.
  void* at(const Operand& o) {
    if (!o) return nullptr;
    const auto index = static_cast<size_t>(o.tensor);
    const Tensor& t = plan->tensors[index];
    const int64_t offset = offset_bytes.empty() ? 0 : offset_bytes[index];
    int64_t& mark = high_water[t.tag];
    mark = std::max(mark, offset + size_bytes(t));
    std::byte* arena = arenas[static_cast<size_t>(t.tag)];
    if (!arena) arena = reinterpret_cast<std::byte*>(uintptr_t{4096});
    return arena + offset + o.offset * size_bytes(t.dtype);
  }
  template <class T>
  T* at(const Operand& o) {
    return static_cast<T*>(at(o));
  }
  // Scratch of the node being launched.
  void* workspace(int64_t bytes) {
    high_water[Tag::workspace] = std::max(high_water[Tag::workspace], bytes);
    return arenas[static_cast<size_t>(Tag::workspace)];
  }
};

// One overload of each per operator (launch.cpp). choose_form: sets the form that the kernel will
// compute, where the operator has a choice. workspace_bytes: the scratch a launch will use.
// prepare: what is chosen by trying, before the first launch. implementation: the kernel's name.
void choose_form(Op&, CudaContext&);
void launch(const Op&, CudaContext&);
int64_t workspace_bytes(const Op&, CudaContext&);
void prepare(const Op&, CudaContext&);
std::string implementation(const Op&, CudaContext&);
// Launches node `index` of the step and those after it that go with it into fewer kernels. How many
// nodes that were; 0: none, and nothing was launched. Those without a launch of their own are added
// to `taken_along`.
size_t launch_fused(const Step&, size_t index, CudaContext&, std::set<size_t>& taken_along);
// Whether a launch for one position alone is faster than one for all.
bool gains_by_position(const Op&, CudaContext&);
// Whether a launch of it at one position serves every other.
bool is_position_free(const Op&);

}  // namespace tidemark::cuda
