#include "app/calibrate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "app/prediction.h"
#include "base/error.h"

namespace tidemark {
namespace {

// What a device that is exactly as its profile says would have measured.
std::vector<Record> records_of(const DeviceProfile& profile) {
  const bool cpu = profile.kind == DeviceKind::cpu;
  std::vector<Record> records;
  for (const auto& [spec, cell] : calibration_grid(cpu ? "cpu" : "cuda:0", cpu ? 2 : 0)) {
    Record r = predict_record(spec, profile,
                              {.context = cell.context,
                               .new_tokens = cell.new_tokens,
                               .chunk = cell.chunk,
                               .dtype = cell.dtype},
                              {});
    r.cell = cell;
    r.provenance.device_name = profile.title;
    r.provenance.threads = cpu ? 2 : 132;  // of a GPU its multiprocessors
    records.push_back(std::move(r));
  }
  return records;
}

// Its forms of recurrences included: a GPU runs Mamba-2 in blocks of 64, whatever the model says.
TEST(Calibrate, FindsTheDeviceThatWasMeasured) {
  for (const char* name : {"h200", "epyc-9654"}) {
    SCOPED_TRACE(name);
    const Calibration c = fit_records(records_of(load_profile(name)));
    for (const std::vector<double>* ratios : {&c.prefill_ratios, &c.decode_ratios}) {
      double sum = 0;
      for (const double r : *ratios) sum += std::abs(std::log(r));
      EXPECT_LT(sum / static_cast<double>(ratios->size()), 0.08);
    }
  }
}

TEST(Calibrate, RefusesWhatAnotherVersionMeasured) {
  const auto expect_refused = [](const auto& change, const std::string& why) {
    std::vector<Record> records = records_of(load_profile("epyc-9654"));
    for (Record& r : records)
      if (r.cell.model == "mamba2-1280") change(r);
    try {
      fit_records(records);
      FAIL() << "fitted";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
    }
  };
  const auto other_blocks = [](Record& r) {
    for (OperatorRow& row : r.prefill->rows)
      if (row.op == "ssd") row.ops += row.ops / 8;
  };
  expect_refused(other_blocks, "mamba2-1280, prefill, ssd: expected ");
  const auto cut = [](Record& r) { r.decode->rows.pop_back(); };
  expect_refused(cut, "mamba2-1280, decode: expected ");
}

}  // namespace
}  // namespace tidemark
