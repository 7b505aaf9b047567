#include "app/cell_text.h"

#include <gtest/gtest.h>

namespace tidemark {
namespace {

TEST(CellText, SaysWhatIsNotAsUsual) {
  Cell cell{.model = "m", .device = "cpu", .dtype = DType::bf16, .context = 2048, .chunk = 2048};
  EXPECT_EQ(cell_text(cell), "m bf16 2048 tokens");
  EXPECT_EQ(cell_text(cell, false), "m bf16");
  cell.device = "cuda:0";
  cell.batch = 2;
  cell.chunk = 512;
  cell.logits = LogitsPolicy::all;
  cell.threads = 4;
  cell.memory_limit_bytes = int64_t{24} << 30;
  EXPECT_EQ(cell_text(cell, false),
            "m bf16, chunk 512, batch 2, all logits, cuda:0, 4 threads, within 24.00 GiB");
}

}  // namespace
}  // namespace tidemark
