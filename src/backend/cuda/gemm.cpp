#include "backend/cuda/gemm.h"

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "backend/arena.h"
#include "backend/cuda/cublaslt.h"

namespace tidemark::cuda {
namespace {

void check_lt(cublasStatus_t status, std::string_view what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const std::string text = fmt::format("cuBLASLt: {}: {}", what, cublaslt().status_string(status));
  if (status == CUBLAS_STATUS_ALLOC_FAILED) throw OutOfMemory(text);
  throw Error(text);
}

cudaDataType_t cuda_type(DType dtype) {
  return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

// The largest power of two up to 16 that divides the address: more makes no difference to a kernel.
int alignment(const void* pointer) {
  const auto bits = reinterpret_cast<uintptr_t>(pointer) | 16u;
  return static_cast<int>(bits & (~bits + 1));
}

template <class T, class Attribute, class Handle>
void set(cublasStatus_t (*setter)(Handle, Attribute, const void*, size_t), Handle handle,
         Attribute attribute, T value) {
  check_lt(setter(handle, attribute, &value, sizeof value), "attribute");
}

constexpr int candidates_wanted = 6;
constexpr int timing_runs = 3, products_per_run = 4;

}  // namespace

// cuBLASLt is column-major: out^T [n, m] = weight^T [n, k] x^T [k, m].
struct GemmLibrary::Kernel {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t weight = nullptr, x = nullptr, out = nullptr;
  std::array<cublasLtMatmulHeuristicResult_t, candidates_wanted> candidates{};  // best first
  int count = 0;                                                                // 0: refused
  cublasLtMatmulAlgo_t algorithm{};
  float microseconds = 0;  // 0: not timed

  explicit Kernel(const Shape& s) {
    check_lt(cublaslt().make_operation(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "operation");
    set(cublaslt().set_operation, operation, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    if (s.bias) {
      set(cublaslt().set_operation, operation, CUBLASLT_MATMUL_DESC_EPILOGUE,
          CUBLASLT_EPILOGUE_BIAS);
      set(cublaslt().set_operation, operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
          cuda_type(s.dtype));
    }
    const auto u = [](int64_t v) { return static_cast<uint64_t>(v); };
    const cudaDataType_t in = cuda_type(s.dtype), result = cuda_type(s.out_dtype);
    check_lt(cublaslt().make_layout(&weight, in, u(s.k), u(s.n), s.weight_stride), "layout");
    check_lt(cublaslt().make_layout(&x, in, u(s.k), u(s.m), s.x_stride), "layout");
    check_lt(cublaslt().make_layout(&out, result, u(s.n), u(s.m), s.out_stride), "layout");
  }
  ~Kernel() {
    cublaslt().unmake_layout(out);
    cublaslt().unmake_layout(x);
    cublaslt().unmake_layout(weight);
    cublaslt().unmake_operation(operation);
  }
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
};

GemmLibrary::GemmLibrary() {
  check_lt(cublaslt().create(&handle_), "create");
}

GemmLibrary::~GemmLibrary() {
  kernels_.clear();
  cublaslt().destroy(handle_);
}

std::string GemmLibrary::version() {
  const size_t v =
      cublaslt().get_version();  // 130002: 13.0.2 as major * 10000 + minor * 100 + patch
  return fmt::format("cuBLASLt {}.{}.{}", v / 10000, v / 100 % 100, v % 100);
}

GemmLibrary::Shape GemmLibrary::shape_of(const GemmArgs& a) {
  return {a.m,
          a.n,
          a.k,
          a.x_stride,
          a.weight_stride,
          a.out_stride,
          alignment(a.x),
          alignment(a.weight),
          alignment(a.out),
          a.bias ? alignment(a.bias) : 0,
          a.bias != nullptr,
          a.accumulate,
          a.dtype,
          a.out_dtype};
}

cublasStatus_t GemmLibrary::multiply(const GemmArgs& a, const Kernel& kernel,
                                     const cublasLtMatmulAlgo_t& algorithm, void* workspace,
                                     int64_t workspace_bytes, cudaStream_t stream) const {
  if (a.bias)
    set(cublaslt().set_operation, kernel.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, a.bias);
  const float beta = a.accumulate ? 1.0F : 0.0F;
  return cublaslt().matmul(handle_, kernel.operation, &a.scale, a.weight, kernel.weight, a.x,
                           kernel.x, &beta, a.out, kernel.out, a.out, kernel.out, &algorithm,
                           workspace, static_cast<size_t>(workspace_bytes), stream);
}

GemmLibrary::Kernel& GemmLibrary::find(const GemmArgs& a, int64_t workspace_bytes) {
  const Shape shape = shape_of(a);
  const auto [at, added] = kernels_.try_emplace(shape, shape);
  Kernel& kernel = at->second;
  if (!added) return kernel;
  if (a.bias && a.scale != 1.0F) return kernel;  // the epilogue adds the bias unscaled

  cublasLtMatmulPreference_t preference = nullptr;
  check_lt(cublaslt().make_preference(&preference), "preference");
  const std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, decltype(CublasLt::unmake_preference)>
      owner(preference, cublaslt().unmake_preference);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    set(cublaslt().set_preference, preference, attribute, value);
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(workspace_bytes));
  // Partial products of a split k are added in fp32, like all sums here.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(shape.weight_alignment));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(shape.x_alignment));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(shape.out_alignment));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(shape.out_alignment));
  if (a.bias)
    set(cublaslt().set_operation, kernel.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, a.bias);
  const cublasStatus_t status = cublaslt().find_algorithms(
      handle_, kernel.operation, kernel.weight, kernel.x, kernel.out, kernel.out, preference,
      candidates_wanted, kernel.candidates.data(), &kernel.count);
  if (status != CUBLAS_STATUS_SUCCESS) kernel.count = 0;
  kernel.algorithm = kernel.candidates[0].algo;
  return kernel;
}

void GemmLibrary::prepare(const GemmArgs& a, void* workspace, int64_t workspace_bytes,
                          const Queue& queue) {
  Kernel& kernel = find(a, workspace_bytes);
  if (kernel.count < 2 || kernel.microseconds > 0) return;
  cudaEvent_t start = nullptr, stop = nullptr;
  check(cudaEventCreate(&start), "event");
  check(cudaEventCreate(&stop), "event");
  for (int i = 0; i < kernel.count; ++i) {
    const auto& algorithm = kernel.candidates[static_cast<size_t>(i)].algo;
    const auto go = [&] {
      return multiply(a, kernel, algorithm, workspace, workspace_bytes, queue.stream);
    };
    const cublasStatus_t status = go();  // also loads the kernel
    if (status == CUBLAS_STATUS_ALLOC_FAILED) check_lt(status, "product");
    if (status != CUBLAS_STATUS_SUCCESS) continue;
    float best = 0;
    for (int run = 0; run < timing_runs; ++run) {
      check(cudaEventRecord(start, queue.stream), "event");
      for (int j = 0; j < products_per_run; ++j) check_lt(go(), "product");
      check(cudaEventRecord(stop, queue.stream), "event");
      check(cudaEventSynchronize(stop), "product");
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, start, stop), "event");
      if (run == 0 || milliseconds < best) best = milliseconds;
    }
    // A later candidate must be clearly faster, not luckier.
    const float microseconds = best * 1000 / products_per_run;
    if (kernel.microseconds == 0 || microseconds < 0.97F * kernel.microseconds) {
      kernel.microseconds = microseconds;
      kernel.algorithm = algorithm;
    }
  }
  check(cudaEventDestroy(start), "event");
  check(cudaEventDestroy(stop), "event");
}

bool GemmLibrary::supports(const GemmArgs& a, int64_t workspace_bytes) {
  return find(a, workspace_bytes).count > 0;
}

void GemmLibrary::run(const GemmArgs& a, void* workspace, int64_t workspace_bytes,
                      const Queue& queue) {
  const Kernel& kernel = find(a, workspace_bytes);
  check_lt(multiply(a, kernel, kernel.algorithm, workspace, workspace_bytes, queue.stream),
           "product");
}

std::string GemmLibrary::describe(const GemmArgs& a) const {
  const auto at = kernels_.find(shape_of(a));
  if (at == kernels_.end()) return "cublasLt";
  const auto get = [&](cublasLtMatmulAlgoConfigAttributes_t attribute) {
    int value = 0;
    size_t written = 0;
    cublaslt().algorithm_attribute(&at->second.algorithm, attribute, &value, sizeof value,
                                   &written);
    return value;
  };
  return fmt::format("cublasLt algo {} tile {} stages {} splitk {}", get(CUBLASLT_ALGO_CONFIG_ID),
                     get(CUBLASLT_ALGO_CONFIG_TILE_ID), get(CUBLASLT_ALGO_CONFIG_STAGES_ID),
                     get(CUBLASLT_ALGO_CONFIG_SPLITK_NUM));
}

}  // namespace tidemark::cuda
