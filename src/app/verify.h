// Computes what a reference checkpoint's golden.safetensors records and says how far off it is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/vocab.h"

namespace tidemark {

struct VerifyOptions {
  DType dtype = DType::f32;
  int64_t chunk = 0;     // 0: the whole sequence in one step
  double tolerance = 0;  // 0: default_tolerance()
};

struct TensorError {
  std::string tensor;
  double relative = 0;   // |out - ref|_2 / |ref|_2; infinite when anything is not finite
  double tolerance = 0;  // 0: reported, not judged
  bool ok() const { return tolerance == 0 || relative <= tolerance; }
};

struct VerifyResult {
  std::filesystem::path folder;
  std::string model_type;
  std::vector<TensorError> tensors;
  int64_t decode_ids = 0, decode_ids_equal = 0;
  bool decode_judged = true;  // ids need to be equal in fp32; bf16 may break a near tie
  bool ok() const;
};

// A folder with config.json, weights and golden.safetensors.
VerifyResult verify_folder(const std::filesystem::path& folder, Backend& backend,
                           const VerifyOptions& options);

}  // namespace tidemark
