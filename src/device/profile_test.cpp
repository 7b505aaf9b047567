#include "device/profile.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace tidemark {
namespace {

constexpr const char* minimal = R"({
  "name": "x", "title": "X", "kind": "gpu", "origin": "datasheet",
  "memory": {"size_bytes": {"value": 1024, "source": "s"},
             "bandwidth_bytes_per_s": {"value": 100, "source": "s"}, "shared": false},
  "peaks": {"bf16": {"value": 1000, "source": "s"}, "vector_f32": {"value": 10, "source": "s"}}
})";

std::string error_of(std::string text) {
  try {
    parse_profile(text, "x.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string replaced(std::string from, const std::string& to) {
  std::string text = minimal;
  const size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Curve, IsStraightInLogarithmsAndConstantOutside) {
  const Curve curve{{{10, 0.1}, {1000, 0.4}}};
  EXPECT_DOUBLE_EQ(curve.at(1), 0.1);
  EXPECT_DOUBLE_EQ(curve.at(1e9), 0.4);
  EXPECT_NEAR(curve.at(100), 0.2, 1e-12);  // the geometric mean, half way in log x
  EXPECT_DOUBLE_EQ(constant_curve(0.7).at(123), 0.7);
}

TEST(Profile, TakesWhatItDoesNotSayFromItsKind) {
  const DeviceProfile p = parse_profile(minimal, "x.json");
  EXPECT_EQ(p.origin, Origin::datasheet);
  EXPECT_EQ(p.matrix_peak(DType::bf16), 1000);
  EXPECT_EQ(p.matrix_peak(DType::f32), 10);
  EXPECT_EQ(p.matrix_peak(DType::f16), 10);
  EXPECT_EQ(p.matrix_peak(DType::i8), 1000);
  const DeviceProfile amx = load_profile("xeon-8480");
  EXPECT_EQ(amx.matrix_peak(DType::i8), 2 * amx.matrix_peak(DType::bf16));
  EXPECT_GT(p.launch_s.value, 0);
  EXPECT_FALSE(p.launch_s.source.empty());
  for (const Efficiency& e : p.efficiency) {
    EXPECT_GT(e.error, 0);
    EXPECT_FALSE(e.source.empty());
  }
}

// What is sold as so many GB is counted in GiB by the driver, or given as it counts.
TEST(Profile, MemoryOfDatasheetsIsWholeMebibytes) {
  for (const std::string& name : profile_names()) {
    const DeviceProfile p = load_profile(name);
    if (p.origin != Origin::datasheet) continue;
    EXPECT_EQ(static_cast<int64_t>(p.memory_bytes.value) % (1 << 20), 0) << name;
  }
}

TEST(Profile, IsReadBackAsWritten) {
  for (const std::string& name : profile_names()) {
    const DeviceProfile p = load_profile(name);
    EXPECT_EQ(p.name, name);
    const std::string text = profile_text(p);
    EXPECT_EQ(profile_text(parse_profile(text, "again")), text) << name;
  }
}

TEST(Profile, ErrorsNameTheKey) {
  EXPECT_EQ(error_of(replaced(R"("shared": false)", R"("shared": 3)")),
            "x.json: key 'memory.shared': expected true or false, found 3");
  EXPECT_EQ(error_of(replaced(R"("vector_f32")", R"("vector")")),
            "x.json: key 'peaks': unknown key 'vector', expected bf16, f16, f32, i8, vector_f32, "
            "special_f32");
  EXPECT_EQ(error_of(replaced(R"({"value": 100, "source": "s"})", R"({"value": 100})")),
            "x.json: key 'memory.bandwidth_bytes_per_s.source': missing");
  EXPECT_EQ(error_of(replaced(R"("value": 100)", R"("value": -1)")),
            "x.json: key 'memory.bandwidth_bytes_per_s.value': expected a finite number above 0, "
            "found -1");
  EXPECT_EQ(error_of(replaced(R"("datasheet")", R"("guess")")),
            "x.json: key 'origin': expected datasheet or calibrated, found a string 'guess'");
  EXPECT_EQ(error_of(replaced(R"("peaks")",
                              R"("efficiency": {"gemm": {"error": 0.1, "source": "s",
                           "compute": [[10, 0.5], [5, 0.6]]}}, "peaks")")),
            "x.json: key 'efficiency.gemm.compute[1]': expected seconds in ascending order, found "
            "an array "
            "of 2");
  EXPECT_NE(error_of("{").find("x.json: expected JSON"), std::string::npos);
}

TEST(Profile, NamesAreFoundAsPeopleWriteThem) {
  for (const char* name : {"rtx4090", "RTX 4090", "rtx-4090", "Rtx_4090"})
    EXPECT_EQ(load_profile(name).name, "rtx4090") << name;
  EXPECT_EQ(load_profile("Orin Nano 8GB").bandwidth_bytes_per_s.value, 68e9);
  EXPECT_EQ(load_profile("orin-nano-8gb-super").bandwidth_bytes_per_s.value, 102e9);
  try {
    load_profile("orin nano");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "device 'orin nano': expected a profile file or one of orin-nano-8gb-super, "
                 "orin-nano-8gb");
  }
}

TEST(Profile, UnknownDevicesAreToldTheKnownOnes) {
  try {
    load_profile("rtx9999");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("rtx4090"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace tidemark
