#include "measure/power.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <fstream>

#include "measure/clocks.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;

// A tree of tests/data/sysfs whose files a test may change, and a clock that it moves.
class PowerTest : public ::testing::Test {
 protected:
  void use(const std::string& tree) {
    sysfs_ = fs::path(::testing::TempDir()) / fmt::format("tidemark_sysfs_{}", getpid());
    fs::remove_all(sysfs_);
    fs::copy(fs::path(TIDEMARK_TEST_DATA) / "sysfs" / tree, sysfs_, fs::copy_options::recursive);
  }
  ~PowerTest() override { fs::remove_all(sysfs_); }
  // At once: a sampler may be reading.
  void set(const std::string& file, int64_t value) {
    const fs::path part = sysfs_ / "part";
    std::ofstream(part) << value;
    fs::rename(part, sysfs_ / file);
  }
  FoundSensor find() {
    return find_power_sensor(sysfs_, [this] { return now_s_.load(); });
  }

  fs::path sysfs_;
  std::atomic<double> now_s_ = 100;
};

TEST_F(PowerTest, RaplAddsPackagesAndMemoryThroughAWrap) {
  use("server-rapl");
  const FoundSensor found = find();
  ASSERT_TRUE(found.sensor) << found.reason;
  // Not the cores, which are within the package; not psys, not the other way to package-0.
  EXPECT_EQ(found.sensor->name(), "package-0 + dram-0 + package-1 + dram-1");
  found.sensor->start();
  now_s_ = 110;
  set("class/powercap/intel-rapl:0/energy_uj",
      2000000 - 328850);                                    // from 262143.0 J past 262143.32885 J
  set("class/powercap/intel-rapl:0:0/energy_uj", 1500000);  // + 0.5 J
  set("class/powercap/intel-rapl:1/energy_uj", 8000000);    // + 3 J
  const auto window = found.sensor->stop();
  ASSERT_TRUE(window);
  EXPECT_NEAR(window->energy_j, 2.0 + 0.5 + 3.0, 1e-9);
  EXPECT_DOUBLE_EQ(window->length_s, 10);
}

TEST_F(PowerTest, ACounterThatGoesBackWithoutARangeIsNoMeasurement) {
  use("server-rapl");
  fs::remove(sysfs_ / "class/powercap/intel-rapl:0/max_energy_range_uj");
  const FoundSensor found = find();
  found.sensor->start();
  set("class/powercap/intel-rapl:0/energy_uj", 1);
  EXPECT_FALSE(found.sensor->stop());
}

TEST_F(PowerTest, AVanishedFileIsNoMeasurement) {
  use("server-rapl");
  const FoundSensor found = find();
  found.sensor->start();
  fs::remove(sysfs_ / "class/powercap/intel-rapl:0/energy_uj");
  EXPECT_FALSE(found.sensor->stop());
}

TEST_F(PowerTest, UnreadableCountersSaySo) {
  use("server-rapl");
  fs::remove(sysfs_ / "class/powercap/intel-rapl:0/energy_uj");
  fs::create_directory(sysfs_ / "class/powercap/intel-rapl:0/energy_uj");
  const FoundSensor found = find();
  EXPECT_FALSE(found.sensor);
  EXPECT_NE(found.reason.find("intel-rapl:0/energy_uj: Is a directory"), std::string::npos)
      << found.reason;
}

TEST_F(PowerTest, TheBoardsInputIsItsTotal) {
  use("orin-nano");
  const FoundSensor found = find();
  ASSERT_TRUE(found.sensor) << found.reason;
  EXPECT_EQ(found.sensor->name(), "VDD_IN");
  EXPECT_DOUBLE_EQ(found.sensor->update_interval_s(), 0.035);
  EXPECT_DOUBLE_EQ(found.sensor->min_window_s(), 0.7);
  found.sensor->start();  // 5 V x 1.2 A = 6 W
  now_s_ = 104;
  set("class/hwmon/hwmon1/curr1_input", 2000);  // 10 W; in between the mean of both
  const auto window = found.sensor->stop();
  ASSERT_TRUE(window);
  // The sampler may see the new time before the new power: 6 W x 4 s; or both: 8 W x 4 s.
  EXPECT_TRUE(std::abs(window->energy_j - 32) < 1e-9 || std::abs(window->energy_j - 24) < 1e-9)
      << window->energy_j;
}

TEST_F(PowerTest, RailsWithoutAnInputAddUp) {
  use("agx-orin");
  const FoundSensor found = find();
  ASSERT_TRUE(found.sensor) << found.reason;
  EXPECT_EQ(found.sensor->name(), "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0 + VDDQ_VDD2_1V8AO");
  found.sensor->start();
  now_s_ = 102;
  EXPECT_NEAR(found.sensor->stop()->energy_j, 2 * (6.0 + 2.0 + 4.0 + 0.5), 1e-9);
}

TEST_F(PowerTest, AcpiMeter) {
  use("acpi-meter");
  const FoundSensor found = find();
  ASSERT_TRUE(found.sensor) << found.reason;
  EXPECT_DOUBLE_EQ(found.sensor->min_window_s(), 20);
  found.sensor->start();
  now_s_ = 101;
  EXPECT_NEAR(found.sensor->stop()->energy_j, 245, 1e-9);
}

TEST_F(PowerTest, NothingIsSaidPlainly) {
  use("nothing");
  EXPECT_EQ(find().reason,
            fmt::format("not available: no RAPL counters in {}; no power monitor in {}",
                        (sysfs_ / "class/powercap").string(), (sysfs_ / "class/hwmon").string()));
}

TEST_F(PowerTest, EnergyPerPassFillsTheWindowAndTellsTheIdlePartApart) {
  use("agx-orin");  // 12.5 W, updated every 100 ms: at least 2 s
  const FoundSensor found = find();
  int passes = 0;
  const auto energy = energy_per_pass(
      *found.sensor, 5.0, 1.0,
      [&] {
        now_s_ = now_s_ + 0.5;
        ++passes;
      },
      0.5, [this] { return now_s_.load(); });
  ASSERT_TRUE(energy);
  EXPECT_EQ(passes, 5);  // the first uncounted, to get the sensor going
  EXPECT_NEAR(energy->total_j, 12.5 * 0.5, 1e-9);
  EXPECT_NEAR(*energy->baseline_j, 5.0 * 0.5, 1e-9);
  EXPECT_DOUBLE_EQ(energy->window_s, 2);
  EXPECT_FALSE(energy_per_pass(
                   *found.sensor, std::nullopt, 1.0, [this] { now_s_ = now_s_ + 9; }, 9,
                   [this] { return now_s_.load(); })
                   ->baseline_j);
}

TEST_F(PowerTest, IdlePower) {
  use("agx-orin");
  const FoundSensor found = find_power_sensor(sysfs_, [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  });
  EXPECT_NEAR(*idle_power_w(*found.sensor, 0), 12.5, 1e-3);
}

TEST_F(PowerTest, ClocksOfAServer) {
  use("server-rapl");
  const ClockReading before = read_clocks(sysfs_, 2);
  EXPECT_DOUBLE_EQ(*before.frequency_hz, 3.3e9);
  EXPECT_DOUBLE_EQ(*before.temperature_c, 72);  // the disk is hotter
  EXPECT_EQ(clock_flags(before, before),
            (std::vector<std::string>{"clock 3.30 GHz", "temperature 72 C"}));
  set("devices/system/cpu/cpu2/thermal_throttle/core_throttle_count", 1);
  EXPECT_EQ(clock_flags(before, read_clocks(sysfs_, 2)).back(), "throttled");
}

TEST_F(PowerTest, ClocksOfABoardAndOfNothing) {
  use("orin-nano");
  const ClockReading board = read_clocks(sysfs_, 2);
  EXPECT_DOUBLE_EQ(*board.frequency_hz, 1.5104e9);
  EXPECT_DOUBLE_EQ(*board.temperature_c, 51);
  EXPECT_FALSE(board.throttle_events);
  use("nothing");
  EXPECT_TRUE(clock_flags(read_clocks(sysfs_, 2), read_clocks(sysfs_, 2)).empty());
}

}  // namespace
}  // namespace tidemark
