// DeviceProfile: what a device can do, as a data file. Rates are peaks; how much of them a kind of
// kernel reaches is its efficiency. Every value says where it is from. docs/prediction.md has the
// file format and how the numbers are used.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/vocab.h"
#include "device/curve.h"

namespace tidemark {

// datasheet: peaks as published, efficiencies typical of the kind of device.
// calibrated: measured on the device by `tidemark calibrate`.
enum class Origin { datasheet, calibrated };
enum class DeviceKind { cpu, gpu };

// Kernels that reach about the same share of a device's peaks. The _step ones have one position per
// sequence, gemv at most `gemv_rows` rows: they read weights or state and hardly compute.
enum class KernelClass {
  gemm,      // of 16-bit operands
  gemm_f32,  // runs on other units than those of 16 bits
  gemv,
  attention,
  attention_step,
  masked_attention,  // over all pairs, by a mask in memory
  selective_scan,
  ssd,  // chunked state-space duality and delta rule
  state_step,
  conv,
  stream  // everything that passes once over its operands
};
inline constexpr int kernel_class_count = 11;
inline constexpr int64_t gemv_rows = 16;
std::string_view name(KernelClass);
std::string_view name(Origin);
std::string_view name(DeviceKind);

struct Quantity {
  double value = 0;
  std::string source{};
};

// Shares of the peaks, by the seconds that the call would take at the peak: how well a kernel fills
// a device depends on how long it runs there, whatever the device. The time a call really takes
// lies within a factor of 1 + error of the prediction.
struct Efficiency {
  Curve compute = constant_curve(1), bandwidth = constant_curve(1);
  double error = 0;
  std::string source{};
};

struct DeviceProfile {
  std::string name, title;
  DeviceKind kind = DeviceKind::gpu;
  Origin origin = Origin::datasheet;
  std::map<DType, Quantity> matrix_ops_per_s;  // dense; f32 is always there
  Quantity vector_ops_per_s;                   // f32, outside matrix units
  Quantity special_ops_per_s;                  // exponentials
  Quantity memory_bytes, bandwidth_bytes_per_s;
  bool shared_memory = false;  // the memory is the processor's too
  std::optional<Quantity> cache_bytes, cache_bandwidth_bytes_per_s;  // of the last-level cache
  std::optional<Quantity> multiprocessors;     // of a GPU: a thread block runs on one of them
  std::optional<Quantity> block_shared_bytes;  // of a GPU: the most that a thread block may share
  Quantity launch_s;           // from the end of one kernel to the start of the next
  Quantity step_s{0, "none"};  // of a chunk or a decode step beside its kernels
  // Host time per operator of a prefill of this program, beside the device; decode steps of a GPU
  // are queued as a whole.
  Quantity dispatch_s{0, "none"};
  // Of a framework that launches every kernel on its own: host time of a library's operator, and of
  // one compiled at run time (Triton), whose launcher is slower.
  Quantity host_launch_s, host_jit_launch_s;
  std::optional<Quantity> idle_w, board_w;
  // Share of the power between idle and board that is drawn while bound by each resource.
  double compute_power = 1, bandwidth_power = 1, launch_power = 1;
  std::array<Efficiency, kernel_class_count> efficiency;

  const Efficiency& of(KernelClass c) const { return efficiency[static_cast<size_t>(c)]; }
  Efficiency& of(KernelClass c) { return efficiency[static_cast<size_t>(c)]; }
  // Peak of matrix products whose operands have this dtype; where the device has no such unit, of
  // bf16 for i8, and of f32 for all.
  double matrix_peak(DType) const;
};

// A name of data/devices/ in any case, or a file.
DeviceProfile load_profile(const std::string& name_or_file);
// `source` names the text in errors.
DeviceProfile parse_profile(std::string_view text, const std::string& source);
std::vector<std::string> profile_names();
// Behaviour typical of a kind of device, without name, peaks or memory.
DeviceProfile typical_profile(DeviceKind);

// As parse_profile reads it; every curve and constant is written out.
std::string profile_text(const DeviceProfile&);

}  // namespace tidemark
