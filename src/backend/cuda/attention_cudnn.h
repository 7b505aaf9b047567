// Full causal attention in bf16 through cuDNN's fused kernels (its graph API). The library is
// loaded at run time; where it, or a kernel for the shape, is missing, supports() says no and
// attention_tiled.cu does the work.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "backend/cuda/attention.h"

namespace tidemark::cuda {

class CudnnAttention {
 public:
  CudnnAttention();
  ~CudnnAttention();
  CudnnAttention(const CudnnAttention&) = delete;
  CudnnAttention& operator=(const CudnnAttention&) = delete;

  // Builds the execution plan of this shape on first use and keeps it. A plan spans the whole
  // cache: how much of it is filled is read on the device, so one serves every position. Pointers
  // are not looked at.
  bool supports(const AttentionArgs&);
  // Of a supported shape.
  int64_t workspace_bytes(const AttentionArgs&);
  // lengths: device, [2][batch] int32: queries of this step, then keys with it, per sequence.
  void run(const AttentionArgs&, const int32_t* lengths, void* workspace, const Queue&);

  // "cuDNN 9.19.0", or empty where it is absent; why_not: what the last refusal was.
  std::string version() const;
  const std::string& why_not() const { return why_not_; }

 private:
  struct Library;
  struct ExecutionPlan;
  std::unique_ptr<Library> library_;
  std::string why_not_;
  ExecutionPlan* find(const AttentionArgs&);
};

}  // namespace tidemark::cuda
