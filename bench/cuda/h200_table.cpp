// Rows of docs/performance-h200.md, a group at a time, so that what fails takes no other row along
// (bench/h200 calls this and puts the page together):
//   tidemark_bench_h200 machine                   the page's head: card, clocks, libraries, commit
//   tidemark_bench_h200 limits                    "COPY_TB/S GEMM_TFLOP/S", measured
//   tidemark_bench_h200 GROUP COPY GEMM           rows; GROUP: kernels, capacity, long-mamba2,
//                                                 long-qwen, or a preset of the table below
// Times of models are those of `tidemark run`: synthetic weights, batch 1, bf16, last-position
// logits, the whole prompt in one step.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <string>
#include <vector>

#include "../page.h"
#include "app/limit.h"
#include "app/measure_model.h"
#include "backend/cuda/conv1d.h"
#include "backend/cuda/gemm.h"
#include "backend/cuda/selective_scan.h"
#include "backend/cuda/ssd.h"
#include "backend/cuda_devices.h"
#include "backend/nvml.h"
#include "base/error.h"
#include "base/units.h"
#include "device_timer.h"
#include "measure/operator_rows.h"
#include "measure/stats.h"

namespace tidemark {
namespace {

using cuda::check;
using cuda::DeviceBuffer;
using cuda::Queue;

// What the machine can do, as `limits` measured it.
struct Ceilings {
  double copy_bytes_per_s = 0, gemm_flops = 0, exponentials_per_s = 0;
};

Ceilings ceilings(double copy_tbps, double gemm_tflops) {
  int sms = 0, khz = 0;
  check(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, 0), "device");
  check(cudaDeviceGetAttribute(&khz, cudaDevAttrClockRate, 0), "device");
  return {copy_tbps * 1e12, gemm_tflops * 1e12, sms * 16.0 * khz * 1e3};
}

// ---- a row ----

struct Bar {
  const char* peer = "";  // with its unit
  double ms = 0;          // 0: none
  double aim_ms = 0;
};

std::string milliseconds(double ms) {
  return fmt::format("{:.{}f}", ms, ms < 10 ? 3 : ms < 100 ? 2 : 1);
}

void print_row(const std::string& what, const Summary& s, const Bar& bar, double limit_ms) {
  const double ms = s.median * 1e3;
  std::string spread = "-", verdict = "-", wanted = "-";
  if (s.n > 1) spread = fmt::format("{} - {}", milliseconds(s.p5 * 1e3), milliseconds(s.p95 * 1e3));
  if (bar.ms > 0) {
    wanted = fmt::format("{:g}", bar.ms);
    if (bar.aim_ms > 0) wanted += fmt::format(", aim {:g}", bar.aim_ms);
    verdict = ms <= bar.ms ? "met" : "**not met**";
    if (bar.aim_ms > 0 && ms <= bar.aim_ms) verdict = "met, aim too";
  }
  fmt::print("| {} | {} | {} | {} | {} | {} | {} | {} | {:.0f} % |\n", what, milliseconds(ms),
             spread, s.n, wanted, verdict, *bar.peer ? bar.peer : "-", milliseconds(limit_ms),
             100 * limit_ms / ms);
}

void print_outcome(const std::string& what, const std::string& outcome, const Bar& bar) {
  fmt::print("| {} | {} | - | 0 | {:g} | - | {} | - | - |\n", what, outcome, bar.ms,
             *bar.peer ? bar.peer : "-");
}

// ---- whole models ----

struct ModelRow {
  const char* preset;
  const char* title;
  int64_t context;
  Bar ttft, tpot{};
};

const std::vector<ModelRow>& model_rows() {
  static const std::vector<ModelRow> rows = {
      {"mamba2-780m", "Mamba2-780m", 1024, {"79", 6}},
      {"mamba2-780m", "Mamba2-780m", 8192, {"77", 32}, {"1.64", 0.80, 0.60}},
      {"mamba2-780m", "Mamba2-780m", 32768, {"133", 110}},
      {"mamba2-780m", "Mamba2-780m", 57344, {"235", 190}},
      {"mamba2-780m", "Mamba2-780m", 225280, {"925", 730}},
      {"mamba-790m", "Mamba-790m", 1024, {"47", 8}},
      {"mamba-790m", "Mamba-790m", 8192, {"47", 36}, {"1.0-2.1", 0.85, 0.60}},
      {"mamba-790m", "Mamba-790m", 57344, {"319", 245}},
      {"mamba-790m", "Mamba-790m", 225280, {"1620", 950}},
      {"qwen2.5-0.5b", "Qwen2.5-0.5B", 1024, {"21", 4}},
      {"qwen2.5-0.5b", "Qwen2.5-0.5B", 8192, {"30", 22}, {"80", 0.65, 0.45}},
      {"qwen2.5-0.5b", "Qwen2.5-0.5B", 57344, {"453", 400}},
      {"qwen2.5-0.5b", "Qwen2.5-0.5B", 131072, {"1915", 1800}},
      {"llama-3.2-1b", "Llama-3.2-1B", 8192, {"51", 40}},
      {"llama-3.2-1b", "Llama-3.2-1B", 57344, {"751", 620}},
      {"falcon-h1-0.5b", "Falcon-H1-0.5B", 8192, {"89", 34}, {"115", 1.1, 0.70}},
      {"falcon-h1-0.5b", "Falcon-H1-0.5B", 57344, {"524", 430}},
      {"zamba2-1.2b", "Zamba2-1.2B", 8192, {"113", 72}},
      {"zamba2-1.2b", "Zamba2-1.2B", 49152, {"844", 620}},
  };
  return rows;
}

// The sum over operators of the larger of bytes over copy speed and, for products, attention and
// SSD, operations over the speed of one large product; for the selective scan, exponentials.
double limit_ms(const Plan& plan, Phase phase, const Ceilings& c) {
  const double tokens = phase == Phase::prefill ? static_cast<double>(plan.workload.context) : 1;
  double seconds = 0, exponentials = 0, scan_bytes = 0;
  for (const OperatorRow& row : phase_rows(plan, phase).rows) {
    double floor = static_cast<double>(row.bytes_read + row.bytes_written) / c.copy_bytes_per_s;
    if (row.category == Category::gemm || row.category == Category::attention || row.op == "ssd")
      floor = std::max(floor, static_cast<double>(row.ops) / c.gemm_flops);
    (row.op == "selective_scan" ? scan_bytes : seconds) += floor;
  }
  for (const Node& node : plan.step(StepKind::tail).nodes)
    if (const auto* scan = std::get_if<SelectiveScan>(&node.op))
      exponentials += tokens * static_cast<double>(scan->channels * scan->state_size);
  return (seconds + std::max(scan_bytes, exponentials / c.exponentials_per_s)) * 1e3;
}

MeasureRequest request_of(const char* preset, int64_t context, int64_t new_tokens) {
  MeasureRequest request;
  request.cell = {.model = preset,
                  .device = "cuda:0",
                  .dtype = DType::bf16,
                  .context = context,
                  .new_tokens = new_tokens,
                  .chunk = context};
  request.options.prefill_profile_passes = request.options.decode_profile_passes = 0;
  request.options.stopping.max_runs = 15;
  request.options.stopping.time_budget_s = 14;
  return request;
}

void print_model(const char* preset, const Ceilings& c) {
  const Model model = open_model(preset, true, 0);
  bool known = false;
  for (const ModelRow& row : model_rows()) {
    if (std::string(preset) != row.preset) continue;
    known = true;
    const std::string ttft = fmt::format("{} TTFT {}", row.title, format_tokens(row.context));
    const MeasureRequest request = request_of(preset, row.context, row.tpot.ms > 0 ? 65 : 1);
    try {
      const Record record = measure_model(model, request);
      if (record.outcome != Outcome::ok) fail("{}: {}", name(record.outcome), record.reason);
      Workload w{.context = row.context,
                 .new_tokens = request.cell.new_tokens,
                 .chunk = row.context,
                 .dtype = DType::bf16};
      const Plan plan = build_plan(model.spec, w);
      print_row(ttft, *record.metrics.ttft_s, row.ttft, limit_ms(plan, Phase::prefill, c));
      if (row.tpot.ms > 0)
        print_row(fmt::format("{} TPOT at {}", row.title, format_tokens(row.context)),
                  *record.metrics.tpot_s, row.tpot, limit_ms(plan, Phase::decode, c));
    } catch (const Error& error) {
      const std::string why = error.what();
      print_outcome(ttft, why.find("no kernel") != why.npos ? "no kernel" : why, row.ttft);
    }
    std::fflush(stdout);
  }
  if (!known) fail("'{}' is no group of the table", preset);
}

// ---- kernels alone ----

// Seconds per run: `repeats` replays of a graph of `inner` runs on rotating buffers.
Summary sample(const std::function<void(int, const Queue&)>& run, int inner, int repeats = 15) {
  Queue queue;
  check(cudaStreamCreate(&queue.stream), "stream");
  const auto samples = cuda::sample_ms(
      queue,
      [&] {
        for (int i = 0; i < inner; ++i) run(i, queue);
      },
      repeats, 50);
  check(cudaStreamDestroy(queue.stream), "stream");
  std::vector<double> seconds;
  for (const double ms : samples) seconds.push_back(ms * 1e-3 / inner);
  return summarize(std::move(seconds));
}

DeviceBuffer random(int64_t count, float amplitude, uint64_t seed) {
  DeviceBuffer buffer(count * 2);
  buffer.randomize(DType::bf16, amplitude, seed);
  return buffer;
}
const uint16_t* at(const DeviceBuffer& buffer, int64_t element) {
  return buffer.as<const uint16_t>() + element;
}

int sm_count() {
  int sms = 0;
  check(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, 0), "device");
  return sms;
}
int sets_of(int64_t length) {
  return length >= 32768 ? 2 : 4;
}

// As in Mamba2-780m: x, B and C side by side, 48 heads of 64, state 128.
void print_ssd(int64_t length, const Bar& bar, const Ceilings& c) {
  constexpr int64_t heads = 48, width = 3072, state = 128, row = width + 2 * state;
  std::vector<DeviceBuffer> xbc, dt, out;
  const DeviceBuffer per_head = random(3 * heads, 1, 1);
  DeviceBuffer carried(width * state * 4), workspace(int64_t{64} * heads * (64 * state + 1) * 4);
  const int sets = sets_of(length);
  for (int i = 0; i < sets; ++i) {
    xbc.push_back(random(length * row, 1.7F, 2)), dt.push_back(random(length * heads, 1.7F, 3));
    out.emplace_back(length * width * 2);
  }
  cuda::SsdChoice choice;
  const auto run = [&](int i, const Queue& queue) {
    cuda::SsdArgs a;
    a.x = at(xbc[i], 0), a.b = at(xbc[i], width), a.c = at(xbc[i], width + state);
    a.dt = dt[i].get(), a.out = out[i].get(), a.state = carried.as<float>();
    a.a_log = at(per_head, 0), a.d_skip = at(per_head, heads), a.dt_bias = at(per_head, 2 * heads);
    a.x_stride = a.b_stride = a.c_stride = row, a.dt_stride = heads, a.out_stride = width;
    a.batch = 1, a.length = length, a.heads = heads, a.head_dim = 64, a.groups = 1;
    a.state_size = state, a.dtype = DType::bf16;
    choice = choose_ssd(a, true, sm_count());
    launch_ssd(a, choice, workspace.get(), queue);
  };
  const double bytes = static_cast<double>(length) * (row + width + heads) * 2;
  print_row(fmt::format("SSD alone, 48 heads x 64, state 128, {} tokens", length),
            sample(run, sets), bar, bytes / c.copy_bytes_per_s * 1e3);
}

// As in Mamba-790m.
void print_scan(int64_t length, const Bar& bar, const Ceilings& c) {
  constexpr int64_t channels = 3072, state = 16, bc_row = 96 + 2 * state;
  std::vector<DeviceBuffer> x, dt, z, bc, out;
  const DeviceBuffer a_log = random(channels * state, 1.2F, 1),
                     vectors = random(2 * channels, 1, 2);
  DeviceBuffer carried(channels * state * 4);
  const int sets = sets_of(length);
  for (int i = 0; i < sets; ++i) {
    x.push_back(random(length * channels, 1.7F, 3)), dt.push_back(random(length * channels, 4, 4));
    z.push_back(random(length * channels, 1.7F, 5)), bc.push_back(random(length * bc_row, 1.7F, 6));
    out.emplace_back(length * channels * 2);
  }
  const auto run = [&](int i, const Queue& queue) {
    cuda::SelectiveScanArgs a;
    a.x = x[i].get(), a.dt = dt[i].get(), a.z = z[i].get(), a.out = out[i].get();
    a.b = at(bc[i], 96), a.c = at(bc[i], 96 + state), a.state = carried.as<float>();
    a.a_log = a_log.get(), a.d_skip = vectors.get(), a.dt_bias = at(vectors, channels);
    a.x_stride = a.dt_stride = a.z_stride = a.out_stride = channels;
    a.b_stride = a.c_stride = bc_row, a.batch = 1, a.length = length, a.channels = channels;
    a.state_size = state, a.dtype = DType::bf16;
    launch_selective_scan(a, choose_selective_scan(a, sm_count()), queue);
  };
  print_row(fmt::format("selective scan alone, 3072 channels x 16, {} tokens", length),
            sample(run, sets), bar,
            static_cast<double>(length) * channels * state / c.exponentials_per_s * 1e3);
}

// As in Mamba2-780m: the input lies inside the projection's rows.
void print_conv(int64_t length, const Bar& bar, const Ceilings& c) {
  constexpr int64_t channels = 3328, row = 6448;
  std::vector<DeviceBuffer> x, out;
  const DeviceBuffer weight = random(channels * 4, 1, 1), bias = random(channels, 1, 2);
  DeviceBuffer carried(channels * 3 * 2);
  for (int i = 0; i < 2; ++i)
    x.push_back(random(length * row, 1.7F, 3)), out.emplace_back(length * channels * 2);
  const auto run = [&](int i, const Queue& queue) {
    cuda::Conv1dArgs a;
    a.x = at(x[i], 3072), a.out = out[i].get(), a.weight = weight.get(), a.bias = bias.get();
    a.state = carried.get(), a.x_stride = row, a.out_stride = channels, a.batch = 1;
    a.length = length, a.channels = channels, a.width = 4, a.silu = true, a.dtype = DType::bf16;
    launch_conv1d(a, choose_conv1d(a, sm_count()), queue);
  };
  print_row(fmt::format("causal conv1d, {} channels, {} tokens", channels, length), sample(run, 2),
            bar, static_cast<double>(length) * channels * 4 / c.copy_bytes_per_s * 1e3);
}

void print_kernels(const Ceilings& c) {
  print_ssd(8192, {"0.59", 0.20}, c);
  print_ssd(65536, {"2.02", 0.90}, c);
  print_scan(8192, {"0.56", 0.25}, c);
  print_scan(65536, {"4.48", 1.8}, c);
  print_conv(65536, {"0.29", 0.25}, c);
}

// Seconds of one `work` put on a stream by the host, the median of 15 after 300 ms of it: copies in
// a graph take another way, and clocks settle.
double seconds_of(const std::function<void(const Queue&)>& work) {
  Queue queue;
  cudaEvent_t start = nullptr, stop = nullptr;
  check(cudaStreamCreate(&queue.stream), "stream");
  check(cudaEventCreate(&start), "event");
  check(cudaEventCreate(&stop), "event");
  std::vector<double> seconds;
  for (double warm_ms = 300; seconds.size() < 15;) {
    check(cudaEventRecord(start, queue.stream), "event");
    work(queue);
    check(cudaEventRecord(stop, queue.stream), "event");
    check(cudaEventSynchronize(stop), "timed work");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, start, stop), "event");
    if ((warm_ms -= ms) < 0) seconds.push_back(ms * 1e-3);
  }
  check(cudaEventDestroy(start), "event");
  check(cudaEventDestroy(stop), "event");
  check(cudaStreamDestroy(queue.stream), "stream");
  return median(seconds);
}

// A copy of 4 GiB, bytes read and written; a product of 8192 cubed in bf16 on random numbers.
void print_limits() {
  const int64_t bytes = int64_t{4} << 30;
  double copy_s = 0;
  {
    const DeviceBuffer from = random(bytes / 2, 1, 1), to(bytes);
    copy_s = seconds_of([&](const Queue& queue) {
      check(cudaMemcpyAsync(to.get(), from.get(), static_cast<size_t>(bytes),
                            cudaMemcpyDeviceToDevice, queue.stream),
            "copy");
    });
  }
  constexpr int64_t n = 8192;
  const DeviceBuffer x = random(n * n, 1, 1), w = random(n * n, 1, 2), out(n * n * 2);
  const int64_t scratch = cuda::gemm_workspace_bytes(n, n);
  const DeviceBuffer workspace(scratch);
  cuda::GemmLibrary library;
  cuda::GemmArgs a{.x = x.get(), .weight = w.get(), .out = out.get()};
  a.x_stride = a.weight_stride = a.out_stride = a.m = a.n = a.k = n;
  a.dtype = a.out_dtype = DType::bf16;
  Queue queue;
  check(cudaStreamCreate(&queue.stream), "stream");
  library.prepare(a, workspace.get(), scratch, queue);
  check(cudaStreamDestroy(queue.stream), "stream");
  const double gemm_s =
      seconds_of([&](const Queue& q) { library.run(a, workspace.get(), scratch, q); });
  fmt::print("{:.3f} {:.1f}\n", 2.0 * static_cast<double>(bytes) / copy_s * 1e-12,
             2.0 * n * n * n / gemm_s * 1e-12);
}

// ---- contexts under 24 GiB ----

constexpr int64_t small_device_bytes = int64_t{24} << 30;

void print_capacity_row(const std::string& what, const std::string& found, const std::string& bar,
                        const char* verdict, const char* peer) {
  fmt::print("| {} | {} | {} | {} | {} |\n", what, found, bar, verdict, peer);
}

// What the plan says, with the memory that driver and libraries take counted in.
void print_capacity(const char* preset, const char* title, int64_t chunk, int64_t bar,
                    const char* peer) {
  const ModelSpec spec = load_spec(preset);
  const auto backend = make_cuda_backend(0, 0);
  LimitRequest request;
  request.workload = {.chunk = chunk, .dtype = DType::bf16};
  request.budget_bytes = small_device_bytes - backend->overhead_bytes();
  const Limit limit =
      find_limit(spec, request, [&](const Plan& plan) { return memory_on(*backend, plan); });
  print_capacity_row(fmt::format("{}, largest by the plan, chunks of {}", title, chunk),
                     fmt::format("{:.3g} M tokens", static_cast<double>(limit.context) * 1e-6),
                     fmt::format(">= {:g} M", static_cast<double>(bar) * 1e-6),
                     limit.context >= bar ? "met" : "**not met**", peer);
}

// One prefill and a few tokens, without a warm-up.
void run_long(const char* preset, const char* title, int64_t context, int64_t chunk,
              const char* bar, const char* peer) {
  const Model model = open_model(preset, true, 0);
  MeasureRequest request = request_of(preset, context, 9);
  request.cell.chunk = chunk;
  request.cell.memory_limit_bytes = small_device_bytes;
  request.options.stopping.warm_up = false;
  request.options.stopping.max_runs = 1;
  const std::string what =
      fmt::format("{}, {} run once, chunks of {}", title, format_tokens(context), chunk);
  const Record record = measure_model(model, request);
  if (record.outcome != Outcome::ok)
    return print_capacity_row(what, record.reason, bar, "**not met**", peer);
  print_capacity_row(
      what,
      fmt::format("TTFT {:.2f} s, TPOT {:.3f} ms, arenas {} + driver and libraries {}",
                  record.metrics.ttft_s->median, median(record.metrics.decode_step_s.at(0)) * 1e3,
                  format_bytes(record.memory.high_water->total()),
                  format_bytes(record.memory.driver_bytes.value_or(0))),
      bar, "met", peer);
  std::fflush(stdout);
}

// ---- the page's head ----

void print_machine() {
  const std::vector<BackendInfo> devices = list_cuda_devices();
  if (devices.empty()) fail("{}", cuda_absence());
  const BackendInfo info = make_cuda_backend(0, 0)->info();
  const Provenance p = machine_provenance();
  const GpuSensors sensors(info.bus_id);
  const auto state = sensors.read();
  fmt::print("{}, {} multiprocessors, {}, driver {}; {}; {}. ", info.name, info.threads,
             format_bytes(info.memory_bytes), sensors.driver_version(), joined(info.libraries),
             p.os);
  if (state)
    fmt::print("Clocks as found: SM up to {} MHz, memory {} MHz, power cap {:.0f} W, {} C. ",
               state->max_sm_clock_mhz, state->memory_clock_mhz, state->power_cap_w,
               state->temperature_c);
  fmt::print("{}\n", origin(p));
}

void run(int argc, char** argv) {
  const std::string group = argc > 1 ? argv[1] : "";
  if (group == "machine") return print_machine();
  if (group == "limits") return print_limits();
  if (argc != 4) fail("expected: machine | limits | GROUP COPY_TB/S GEMM_TFLOP/S");
  const Ceilings c = ceilings(std::stod(argv[2]), std::stod(argv[3]));
  if (group == "kernels") return print_kernels(c);
  if (group == "capacity") {
    print_capacity("mamba2-780m", "Mamba2-780m", 32768, 4'000'000, "220K all logits, 328K last");
    return print_capacity("qwen2.5-0.5b", "Qwen2.5-0.5B", 16384, 1'500'000,
                          "65K all logits, 393K last");
  }
  if (group == "long-mamba2") {
    run_long("mamba2-780m", "Mamba2-780m", 1 << 20, 32768, "runs", "a fault near 390K");
    return run_long("mamba2-780m", "Mamba2-780m", 4 << 20, 32768, "runs, memory flat",
                    "a fault near 390K");
  }
  if (group == "long-qwen")
    return run_long("qwen2.5-0.5b", "Qwen2.5-0.5B", 1 << 20, 16384, "runs", "393K last");
  print_model(group.c_str(), c);
}

}  // namespace
}  // namespace tidemark

int main(int argc, char** argv) {
  return tidemark::run_page_program([&] { tidemark::run(argc, argv); });
}
