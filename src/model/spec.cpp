#include "model/spec.h"

namespace tidemark {

int64_t parameter_count(const ModelSpec& spec) {
  int64_t count = 0;
  for (const Weight& weight : spec.weights) count += weight.rows * weight.cols;
  return count;
}

}  // namespace tidemark
