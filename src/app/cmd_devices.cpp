#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "backend/cuda_devices.h"
#include "backend/nvml.h"
#include "base/error.h"
#include "base/units.h"
#include "device/profile.h"
#include "measure/gpu.h"
#include "report/table.h"

namespace tidemark {
namespace {

struct Options {
  std::string profile;
  bool json = false;
};

// The profiles of devices, here or not, that predictions can be made for.
std::string profiles_text() {
  Table table{.columns = {{"profile", Align::left},
                          {"device", Align::left},
                          {"origin", Align::left},
                          {"memory"},
                          {"GB/s"},
                          {"bf16 TFLOP/s"},
                          {"f32 TFLOP/s"}},
              .rows = {}};
  for (const std::string& name : profile_names()) {
    const DeviceProfile p = load_profile(name);
    table.rows.push_back({p.name, p.title, std::string(tidemark::name(p.origin)),
                          format_bytes(static_cast<int64_t>(p.memory_bytes.value)),
                          number_text(p.bandwidth_bytes_per_s.value / 1e9),
                          number_text(p.matrix_peak(DType::bf16) / 1e12),
                          number_text(p.matrix_peak(DType::f32) / 1e12)});
  }
  return render(table, style_of(stdout));
}

// The GPUs of this machine with what they say of themselves, or why there are none.
std::string gpus_text() {
  const std::vector<BackendInfo> devices = list_cuda_devices();
  if (devices.empty()) return fmt::format("GPUs here: none, {}\n", cuda_absence());
  std::string text = "GPUs here\n";
  for (const BackendInfo& device : devices) {
    text += fmt::format("  {}  {}, {}, {}", device.device, device.name, device.isa,
                        format_bytes(device.memory_bytes));
    const GpuSensors sensors(device.bus_id);
    if (const auto state = sensors.read()) {
      text +=
          fmt::format(", {}, drawing {:.0f} W", fmt::join(describe(*state), ", "), state->power_w);
    } else {
      text += fmt::format("; no sensors: {}", sensors.why_not());
    }
    text += "\n";
  }
  return text;
}

int run(const Options& options) {
  if (!options.profile.empty()) {
    fmt::print("{}", profile_text(load_profile(options.profile)));
  } else if (options.json) {
    nlohmann::ordered_json out = nlohmann::ordered_json::array();
    for (const std::string& name : profile_names())
      out.push_back(nlohmann::ordered_json::parse(profile_text(load_profile(name))));
    fmt::print("{}\n", out.dump(2));
  } else {
    fmt::print("{}\n{}", profiles_text(), gpus_text());
  }
  return exit_ok;
}

}  // namespace

void add_devices_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "devices",
      "List the device profiles that predictions can be made for, and the GPUs of this "
      "machine");
  command->add_option("profile", options->profile,
                      "Print this profile in full, with the source of every value");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace tidemark
