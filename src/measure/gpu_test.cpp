#include "measure/gpu.h"

#include <gtest/gtest.h>

namespace tidemark {
namespace {

// A card whose counters a test moves.
struct FakeCard {
  std::optional<GpuState> state = GpuState{.energy_j = 1000,
                                           .power_w = 120,
                                           .power_cap_w = 700,
                                           .sm_clock_mhz = 1755,
                                           .memory_clock_mhz = 3201,
                                           .max_sm_clock_mhz = 1980,
                                           .temperature_c = 46};
  double now_s = 10;
  std::unique_ptr<PowerSensor> sensor() {
    return gpu_power_sensor([this] { return state; }, [this] { return now_s; });
  }
};

TEST(Gpu, EnergyIsTheDifferenceOfTheCardsCounter) {
  FakeCard card;
  const auto sensor = card.sensor();
  ASSERT_TRUE(sensor);
  EXPECT_EQ(sensor->name(), "NVML energy");
  sensor->start();
  card.state->energy_j += 250.125;
  card.now_s += 2.5;
  const auto window = sensor->stop();
  ASSERT_TRUE(window);
  EXPECT_NEAR(window->energy_j, 250.125, 1e-6);
  EXPECT_DOUBLE_EQ(window->length_s, 2.5);
}

TEST(Gpu, WithoutACounterPowerIsIntegrated) {
  FakeCard card;
  card.state->energy_j = 0;
  const auto sensor = card.sensor();
  ASSERT_TRUE(sensor);
  EXPECT_EQ(sensor->name(), "NVML power");
  sensor->start();
  card.now_s += 2;
  const auto window = sensor->stop();
  ASSERT_TRUE(window);
  EXPECT_NEAR(window->energy_j, 240, 1e-6);
}

TEST(Gpu, ACardThatSaysNothingHasNoSensor) {
  FakeCard card;
  card.state->energy_j = card.state->power_w = 0;
  EXPECT_FALSE(card.sensor());
  card.state.reset();
  EXPECT_FALSE(card.sensor());
}

TEST(Gpu, AReadingThatFailsIsNoMeasurement) {
  FakeCard card;
  const auto sensor = card.sensor();
  sensor->start();
  card.state.reset();
  EXPECT_FALSE(sensor->stop());
}

TEST(Gpu, FlagsSayTheStateAndWhatHeldTheClocksBack) {
  FakeCard card;
  const GpuState before = *card.state;
  EXPECT_EQ(gpu_flags(before, before),
            (std::vector<std::string>{"SM clock 1755 of 1980 MHz", "memory clock 3201 MHz",
                                      "temperature 46 C", "power cap 700 W"}));
  GpuState after = before;
  after.held_by_power_s += 1.5;
  after.throttle_bits = 0x4 | 0x1;  // 0x1 is idleness, which is no throttling
  const auto flags = gpu_flags(before, after);
  ASSERT_EQ(flags.size(), 6U);
  EXPECT_EQ(flags[4], "throttled by power for 1.50 s");
  EXPECT_EQ(flags[5], "throttled at the end: sw_power_cap");
}

}  // namespace
}  // namespace tidemark
