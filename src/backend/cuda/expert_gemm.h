// Products of rows with the weights of the expert that each was routed to.
#pragma once

#include <cstdint>
#include <string_view>

#include "backend/cuda/queue.h"
#include "base/vocab.h"

namespace tidemark::cuda {

// Of every slot i of expert e, first[e] <= i < first[e + 1]:
// out[i, :] = weight_e x[token[i], :], or x[i, :] without `token`. Which slots an expert has is
// read on the device. Pointers are to device memory; strides are of rows, in elements.
struct ExpertGemmArgs {
  const void* x = nullptr;
  const void* weight = nullptr;    // [experts * n, k]
  const int32_t* token = nullptr;  // [slots, 1], or null
  const int32_t* first = nullptr;  // [experts + 1, 1]
  void* out = nullptr;             // [slots, n]
  int64_t x_stride = 0, weight_stride = 0, token_stride = 0, first_stride = 0, out_stride = 0;
  int64_t slots = 0;
  int32_t experts = 0, n = 0, k = 0;
  DType dtype = DType::f32;
};

enum class ExpertGemmKernel { few, few_unaligned, plain, tensor64, tensor128 };
// few: every slot reads its expert's weights by itself; the tensor kernels need bf16 and rows
// aligned to 16 bytes; plain takes the rest.
ExpertGemmKernel choose_expert_gemm(const ExpertGemmArgs&);
std::string_view name(ExpertGemmKernel);
void launch_expert_gemm(const ExpertGemmArgs&, ExpertGemmKernel, const Queue&);

}  // namespace tidemark::cuda
