// Matrix products through cuBLASLt: out[m, n] = scale * x[m, k] weight[n, k]^T (+ bias) (+ out).
// bf16 with fp32 accumulation, or fp32 without TF32. One algorithm per shape, chosen once.
#pragma once

#include <cublasLt.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "backend/cuda/queue.h"
#include "backend/cuda_plan.h"
#include "base/vocab.h"

namespace tidemark::cuda {

struct GemmArgs {
  const void* x = nullptr;
  const void* weight = nullptr;
  const void* bias = nullptr;
  void* out = nullptr;
  int64_t x_stride = 0, weight_stride = 0, out_stride = 0;
  int64_t m = 0, n = 0, k = 0;
  float scale = 1;
  bool accumulate = false;
  DType dtype = DType::f32, out_dtype = DType::f32;
};

class GemmLibrary {
 public:
  GemmLibrary();
  ~GemmLibrary();
  GemmLibrary(const GemmLibrary&) = delete;
  GemmLibrary& operator=(const GemmLibrary&) = delete;

  // Finds the algorithm for this shape and alignment and keeps it. The heuristic's best candidates
  // are timed on the operands themselves, which takes the product a few times over; `out` is
  // overwritten.
  void prepare(const GemmArgs&, void* workspace, int64_t workspace_bytes, const Queue&);
  // Whether cuBLASLt has an algorithm for it; found without timing where prepare() was not called.
  bool supports(const GemmArgs&, int64_t workspace_bytes);
  void run(const GemmArgs&, void* workspace, int64_t workspace_bytes, const Queue&);
  // "cublasLt algo 66 tile 128x256 ..." once prepared.
  std::string describe(const GemmArgs&) const;
  static std::string version();

 private:
  struct Shape {
    int64_t m, n, k, x_stride, weight_stride, out_stride;
    int x_alignment, weight_alignment, out_alignment, bias_alignment;
    bool bias, accumulate;
    DType dtype, out_dtype;
    auto operator<=>(const Shape&) const = default;
  };
  struct Kernel;
  static Shape shape_of(const GemmArgs&);
  Kernel& find(const GemmArgs&, int64_t workspace_bytes);
  cublasStatus_t multiply(const GemmArgs&, const Kernel&, const cublasLtMatmulAlgo_t&,
                          void* workspace, int64_t workspace_bytes, cudaStream_t) const;

  cublasLtHandle_t handle_ = nullptr;
  std::map<Shape, Kernel> kernels_;
};

}  // namespace tidemark::cuda
