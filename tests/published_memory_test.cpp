// The plan against what was measured on other people's machines: tests/data/published/memory.csv.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/csv.h"
#include "model/load.h"
#include "plan/live_memory.h"

namespace tidemark {
namespace {

constexpr double mib = 1024.0 * 1024.0;

struct Published {
  std::string model;
  int64_t context = 0;
  double weights_mib = 0, kv_mib = 0, total_mib = 0;
};

std::vector<Published> published_memory() {
  const Csv csv = read_csv(std::string(TIDEMARK_TEST_DATA) + "/published/memory.csv");
  std::vector<Published> rows;
  for (const CsvRow& row : csv.rows)
    rows.push_back({text_at(csv, row, "model"), integer_at(csv, row, "context_tokens"),
                    number_at(csv, row, "weights_mib"), number_at(csv, row, "kv_mib"),
                    number_at(csv, row, "total_mib")});
  return rows;
}

int64_t no_workspace(const Node&) {
  return 0;
}

// One pass as the study ran it: the whole sequence in one step, 16 bits, all logits kept.
Plan whole_pass(const ModelSpec& spec, int64_t context) {
  return build_plan(spec, {.context = context,
                           .chunk = context,
                           .dtype = DType::bf16,
                           .logits = LogitsPolicy::all,
                           .logits_dtype = DType::bf16});
}

TEST(PublishedMemory, TotalsOfAWholePassFrom16KTokensUp) {
  std::map<std::string, ModelSpec> specs;
  std::vector<double> errors;
  for (const Published& row : published_memory()) {
    if (row.context < 16384) continue;
    auto [at, fresh] = specs.try_emplace(row.model);
    if (fresh) at->second = load_spec(row.model);
    const MemoryByTag peak = peak_live_memory(whole_pass(at->second, row.context), no_workspace);
    const double error = std::abs(static_cast<double>(peak.total()) / mib / row.total_mib - 1);
    EXPECT_LE(error, 0.10) << row.model << " at " << row.context << ": "
                           << static_cast<double>(peak.total()) / mib << " MiB, published "
                           << row.total_mib;
    EXPECT_NEAR(static_cast<double>(peak[Tag::weights]) / mib, row.weights_mib, 0.15);
    EXPECT_NEAR(static_cast<double>(peak[Tag::kv_cache]) / mib, row.kv_mib, 1.1);
    errors.push_back(error);
  }
  ASSERT_GE(errors.size(), 50U);
  std::sort(errors.begin(), errors.end());
  RecordProperty("median", std::to_string(errors[errors.size() / 2]));
  RecordProperty("worst", std::to_string(errors.back()));
  EXPECT_LE(errors[errors.size() / 2], 0.05);
}

}  // namespace
}  // namespace tidemark
