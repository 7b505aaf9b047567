#include "backend/cuda/cublaslt.h"

#include <string>

#include "backend/resolve.h"
#include "base/error.h"

namespace tidemark::cuda {
namespace {

bool resolve_all(void* file, CublasLt& f) {
  return resolve(file, "cublasLtCreate", f.create) && resolve(file, "cublasLtDestroy", f.destroy) &&
         resolve(file, "cublasLtGetVersion", f.get_version) &&
         resolve(file, "cublasLtGetStatusString", f.status_string) &&
         resolve(file, "cublasLtMatmul", f.matmul) &&
         resolve(file, "cublasLtMatmulDescCreate", f.make_operation) &&
         resolve(file, "cublasLtMatmulDescDestroy", f.unmake_operation) &&
         resolve(file, "cublasLtMatmulDescSetAttribute", f.set_operation) &&
         resolve(file, "cublasLtMatrixLayoutCreate", f.make_layout) &&
         resolve(file, "cublasLtMatrixLayoutDestroy", f.unmake_layout) &&
         resolve(file, "cublasLtMatmulPreferenceCreate", f.make_preference) &&
         resolve(file, "cublasLtMatmulPreferenceDestroy", f.unmake_preference) &&
         resolve(file, "cublasLtMatmulPreferenceSetAttribute", f.set_preference) &&
         resolve(file, "cublasLtMatmulAlgoGetHeuristic", f.find_algorithms) &&
         resolve(file, "cublasLtMatmulAlgoConfigGetAttribute", f.algorithm_attribute);
}

// The library stays loaded: others of CUDA may use it, too.
CublasLt load() {
  const std::string name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
  void* file = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!file) {
    const char* reason = dlerror();
    fail("cuBLASLt: {}", reason ? reason : name + " not found");
  }
  CublasLt functions;
  if (!resolve_all(file, functions)) fail("cuBLASLt: {} lacks a function", name);
  return functions;
}

}  // namespace

const CublasLt& cublaslt() {
  static const CublasLt functions = load();
  return functions;
}

}  // namespace tidemark::cuda
