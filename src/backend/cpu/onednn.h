// Matrix products of oneDNN; the only file pair that knows its version (2.6 and 3.x).
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/vocab.h"

namespace tidemark {

// out[m, n] (+)= scale * (x[m, k] * weight[n, k]^T + bias[n]); or, with blocks, BlockGemm: for each
// block g out[m, g * n + j] = x[m, g * k + i] * weight[g * k + i, j] + bias[g * n + j].
struct GemmShape {
  int64_t m, n, k, x_stride, weight_stride, out_stride;
  DType dtype, out_dtype;  // of x, weight, bias; of out: i32 where those are i8
  bool bias, accumulate;
  float scale;
  int64_t blocks = 0;
  bool own_layout = false;  // the weight in whatever order oneDNN likes best: bench's yardstick
  auto operator<=>(const GemmShape&) const = default;
};

// Primitives by shape, made before a run and only looked up in it.
class OneDnnGemms {
 public:
  OneDnnGemms();
  ~OneDnnGemms();
  // Name of oneDNN's implementation; empty when it has none that is optimised for this machine.
  const std::string& implementation(const GemmShape&);
  int64_t scratch_bytes(const GemmShape&);
  int64_t weight_bytes(const GemmShape&);
  void run(const GemmShape&, const void* x, const void* weight, const void* bias, void* out,
           void* scratch);
  static std::string version();

 private:
  struct Library;
  struct Entry;
  Entry& find(const GemmShape&);
  std::unique_ptr<Library> library_;
  std::map<GemmShape, std::unique_ptr<Entry>> entries_;
};

}  // namespace tidemark
