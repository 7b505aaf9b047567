// A framework's memory against what was measured on other people's machines, column by column:
// tests/data/published/memory.csv.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/csv.h"
#include "cost/eager.h"
#include "model/load.h"

namespace tidemark {
namespace {

constexpr double mib = 1024.0 * 1024.0;

struct Published {
  std::string device, model;
  int64_t context = 0;
  double weights_mib = 0, kv_mib = 0, total_mib = 0;
};

std::vector<Published> published_memory() {
  const Csv csv = read_csv(std::string(TIDEMARK_TEST_DATA) + "/published/memory.csv");
  std::vector<Published> rows;
  for (const CsvRow& row : csv.rows)
    rows.push_back({text_at(csv, row, "device"), text_at(csv, row, "model"),
                    integer_at(csv, row, "context_tokens"), number_at(csv, row, "weights_mib"),
                    number_at(csv, row, "kv_mib"), number_at(csv, row, "total_mib")});
  return rows;
}

TEST(PublishedMemory, TotalsOfAWholePassFrom16KTokensUp) {
  std::map<std::string, ModelSpec> specs;
  std::vector<double> errors;
  for (const Published& row : published_memory()) {
    if (row.context < 16384) continue;
    auto [at, fresh] = specs.try_emplace(row.model);
    if (fresh) at->second = load_spec(row.model);
    const MemoryByTag peak = eager_memory(
        build_plan(at->second, eager_workload({.context = row.context, .dtype = DType::bf16})),
        eager_options(at->second), load_profile(row.device));
    const double error = std::abs(static_cast<double>(peak.total()) / mib / row.total_mib - 1);
    EXPECT_LE(error, 0.005) << row.model << " at " << row.context << ": "
                            << static_cast<double>(peak.total()) / mib << " MiB, published "
                            << row.total_mib;
    EXPECT_NEAR(static_cast<double>(peak[Tag::weights]) / mib, row.weights_mib, 0.15);
    // No key is cached while a mask is made, where that is the worst moment.
    if (peak[Tag::logits] > 0) {
      EXPECT_NEAR(static_cast<double>(peak[Tag::kv_cache]) / mib, row.kv_mib, 1.1);
    }
    errors.push_back(error);
  }
  ASSERT_GE(errors.size(), 50U);
  std::sort(errors.begin(), errors.end());
  RecordProperty("median", std::to_string(errors[errors.size() / 2]));
  RecordProperty("worst", std::to_string(errors.back()));
  EXPECT_LE(errors[errors.size() / 2], 0.001);
}

}  // namespace
}  // namespace tidemark
