#include "app/trace_pass.h"

#include <gtest/gtest.h>

#include "clockwork_backend.h"

namespace tidemark {
namespace {

// Nodes of a body take 0.01 and 0.02 s on this device, of the tail 0.03, 0.04, 0.05, of a step of
// decode 0.0025; the first of each kind that is watched takes 100 s more.
TEST(TracePass, SlicesAreOfAWarmPassOnTheDevicesClock) {
  ClockedBackend backend;
  backend.cold_s = 100;
  Executor executor(small_plan(2), backend);
  const std::vector<Trace> traces = trace_pass(executor);
  ASSERT_EQ(traces.size(), 2U);
  const std::vector<double> expected = {0.01, 0.02, 0.01, 0.02, 0.03, 0.04, 0.05};
  ASSERT_EQ(traces[0].slices.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(traces[0].slices[i].duration_s, expected[i], 1e-9) << i;
  ASSERT_EQ(traces[1].slices.size(), 2U);
  EXPECT_NEAR(traces[1].slices[0].duration_s, 0.0025, 1e-9);
  EXPECT_NEAR(traces[1].slices[1].start_s, 1, 1e-9) << "where the device says";
}

}  // namespace
}  // namespace tidemark
