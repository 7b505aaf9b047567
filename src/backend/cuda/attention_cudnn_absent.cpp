// Built where cuDNN's headers are missing: attention_tiled.cu takes over.
#include "backend/cuda/attention_cudnn.h"
#include "base/error.h"

namespace tidemark::cuda {

struct CudnnAttention::Library {};
struct CudnnAttention::ExecutionPlan {};

CudnnAttention::CudnnAttention() : why_not_("built without cuDNN") {}
CudnnAttention::~CudnnAttention() = default;
bool CudnnAttention::supports(const AttentionArgs&) {
  return false;
}
int64_t CudnnAttention::workspace_bytes(const AttentionArgs&) {
  return 0;
}
void CudnnAttention::run(const AttentionArgs&, const int32_t*, void*, const Queue&) {
  fail("attention: {}", why_not_);
}
std::string CudnnAttention::version() const {
  return {};
}
CudnnAttention::ExecutionPlan* CudnnAttention::find(const AttentionArgs&) {
  return nullptr;
}

}  // namespace tidemark::cuda
