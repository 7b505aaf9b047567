#include "report_study.h"

#include <cmath>

namespace tidemark {
namespace {

constexpr int64_t mib = int64_t{1} << 20, gib = int64_t{1} << 30;

struct MadeUpModel {
  const char* model;
  const char* family;
  int64_t layers, width, heads_width, kv_width, mlp_width, state_bytes, vocab;
  bool attention, ssm;
};
constexpr MadeUpModel models[] = {
    {"qwen2.5-0.5b", "qwen2", 24, 896, 896, 128, 4864, 0, 151936, true, false},
    {"llama-3.2-1b", "llama", 16, 2048, 2048, 512, 8192, 0, 128256, true, false},
    {"mamba-790m", "mamba", 48, 1536, 0, 0, 0, 48 * 3072 * 16 * 4, 50280, false, true},
    {"mamba2-780m", "mamba2", 48, 1536, 0, 0, 0, 48 * 48 * 64 * 128 * 4, 50280, false, true},
    {"falcon-h1-0.5b", "falcon_h1", 36, 1024, 512, 128, 2048, 36 * 24 * 64 * 128 * 4, 32784, true,
     true}};

struct Machine {
  const char* device;
  const char* name;
  double ops_per_s, bytes_per_s, launch_s, watts;
};
constexpr Machine cpu = {"cpu", "Example CPU, 8 cores", 1.4e12, 60e9, 2e-6, 65};
constexpr Machine gpu = {"cuda:0", "Example GPU", 180e12, 1.8e12, 4e-6, 320};

void add_row(OperatorProfile& profile, const Machine& machine, const char* op, Category category,
             Role role, int32_t layer, double ops, double bytes, double efficiency) {
  const double time =
      std::max(ops / (machine.ops_per_s * efficiency), bytes / (machine.bytes_per_s * 0.8)) +
      machine.launch_s;
  profile.rows.push_back({.index = static_cast<int64_t>(profile.rows.size()),
                          .op = op,
                          .category = category,
                          .role = role,
                          .layer = layer,
                          .calls = 1,
                          .time_s = time,
                          .ops = static_cast<int64_t>(ops),
                          .bytes_read = static_cast<int64_t>(bytes * 0.7),
                          .bytes_written = static_cast<int64_t>(bytes * 0.3),
                          .implementation = "made up"});
  profile.wall_s += time;
}

// `tokens` new ones after `past`.
OperatorProfile profile_of(const MadeUpModel& m, const Machine& machine, double tokens,
                           double past) {
  OperatorProfile profile{.passes = 5, .overhead = 1.02};
  const auto width = static_cast<double>(m.width);
  const auto gemm = [&](Role role, int32_t layer, double n, double k) {
    add_row(profile, machine, "gemm", Category::gemm, role, layer, 2 * tokens * n * k,
            2 * (tokens * (n + k) + n * k), 0.55);
  };
  const auto light = [&](const char* op, Category category, Role role, int32_t layer, double size,
                         double ops_each) {
    add_row(profile, machine, op, category, role, layer, ops_each * tokens * size,
            4 * tokens * size, 0.05);
  };
  light("embedding", Category::embedding, Role::embed, -1, width, 0);
  for (int32_t layer = 0; layer < m.layers; ++layer) {
    if (m.attention) {
      const auto heads = static_cast<double>(m.heads_width), kv = static_cast<double>(m.kv_width);
      light("norm", Category::norm, Role::attn_norm, layer, width, 4);
      gemm(Role::qkv_proj, layer, heads + 2 * kv, width);
      light("rope", Category::rope, Role::rope, layer, heads + kv, 6);
      add_row(profile, machine, "attention", Category::attention, Role::attention, layer,
              4 * tokens * (past + tokens / 2) * heads, 4 * (tokens * heads + (past + tokens) * kv),
              0.22);
      gemm(Role::o_proj, layer, width, heads);
    }
    if (m.ssm) {
      light("norm", Category::norm, Role::ssm_norm, layer, width, 4);
      gemm(Role::in_proj, layer, 4.2 * width, width);
      light("conv1d", Category::conv, Role::conv, layer, 2.2 * width, 9);
      const bool first = m.family == std::string("mamba");
      add_row(profile, machine, first ? "selective_scan" : "ssd", Category::ssm_scan,
              Role::ssm_scan, layer, tokens * width * (first ? 200 : 900), 4 * tokens * 4 * width,
              first ? 0.04 : 0.2);
      light("gated_norm", Category::norm, Role::ssm_gate, layer, 2 * width, 8);
      gemm(Role::out_proj, layer, width, 2 * width);
    }
    if (m.mlp_width > 0) {
      const auto mlp = static_cast<double>(m.mlp_width);
      light("norm", Category::norm, Role::mlp_norm, layer, width, 4);
      gemm(Role::mlp_up, layer, 2 * mlp, width);
      light("glu", Category::elementwise, Role::mlp_act, layer, mlp, 5);
      gemm(Role::mlp_down, layer, width, mlp);
    }
  }
  light("norm", Category::norm, Role::final_norm, -1, width, 4);
  add_row(profile, machine, "gemm", Category::gemm, Role::lm_head, -1,
          2 * width * static_cast<double>(m.vocab), 2 * width * static_cast<double>(m.vocab), 0.55);
  add_row(profile, machine, "argmax", Category::sampling, Role::sample, -1,
          static_cast<double>(m.vocab), 4 * static_cast<double>(m.vocab), 0.05);
  profile.gap_s = 0.03 * profile.wall_s;
  profile.wall_s += profile.gap_s;
  return profile;
}

Summary around(double median, double noise) {
  Summary s{.median = median,
            .p5 = median * (1 - 2 * noise),
            .p95 = median * (1 + 3 * noise),
            .ci_low = median * (1 - noise),
            .ci_high = median * (1 + 1.5 * noise),
            .ci_coverage = 0.961,
            .n = 9};
  for (int i = -4; i <= 4; ++i) s.samples.push_back(median * (1 + noise * i / 2.0));
  return s;
}

Summary inverse(const Summary& s, double tokens) {
  Summary out = s;
  out.median = tokens / s.median;
  out.p5 = tokens / s.p95;
  out.p95 = tokens / s.p5;
  out.ci_low = tokens / s.ci_high;
  out.ci_high = tokens / s.ci_low;
  for (double& sample : out.samples) sample = tokens / sample;
  return out;
}

MemoryByTag memory_of(const MadeUpModel& m, int64_t context) {
  MemoryByTag bytes;
  const int64_t per_layer =
      m.width * (m.heads_width * 2 + m.kv_width * 2 + m.mlp_width * 3 + (m.ssm ? m.width * 6 : 0));
  bytes[Tag::weights] = 2 * (m.layers * per_layer + m.vocab * m.width);
  bytes[Tag::activation] = 2 * std::min<int64_t>(context, 2048) * m.width * 14;
  bytes[Tag::kv_cache] = m.attention ? 4 * context * m.kv_width * m.layers : 0;
  bytes[Tag::ssm_state] = m.state_bytes;
  bytes[Tag::conv_state] = m.ssm ? m.layers * m.width * 2 * 3 * 2 : 0;
  bytes[Tag::logits] = 4 * m.vocab;
  bytes[Tag::workspace] = 48 * mib;
  return bytes;
}

Record record_of(const MadeUpModel& m, const Machine& machine, int64_t context, int index) {
  Record r;
  r.cell = {.model = m.model,
            .family = m.family,
            .device = machine.device,
            .dtype = DType::bf16,
            .batch = 1,
            .context = context,
            .new_tokens = 32,
            .chunk = 2048,
            .logits = LogitsPolicy::last,
            .threads = 8,
            .memory_limit_bytes = machine.device == std::string("cpu") ? 3 * gib : 0};
  r.weights = "synthetic, seed 0";
  r.prompt = "random, seed 0";
  r.provenance = {.device_name = machine.name,
                  .cpu = cpu.name,
                  .isa = "AVX-512",
                  .threads = 8,
                  .memory_bytes = 32 * gib,
                  .os = "Debian GNU/Linux 12, Linux 6.1",
                  .libraries = {"oneDNN 2.6.3", "Highway 1.0.3"},
                  .compiler = "GNU 12.2.0",
                  .version = "0.1.0",
                  .commit = "0123abc",
                  .date = "2030-01-02T03:0" + std::to_string(index % 10) + ":00Z"};
  r.memory.predicted = memory_of(m, context);
  r.memory.budget_bytes = r.cell.memory_limit_bytes > 0 ? r.cell.memory_limit_bytes : 80 * gib;
  if (r.cell.memory_limit_bytes > 0 && r.memory.predicted.total() > r.cell.memory_limit_bytes) {
    r.outcome = Outcome::out_of_memory;
    r.reason = "kv_cache: does not fit the limit of 3 GiB";
    return r;
  }
  const auto tokens = static_cast<double>(context);
  r.prefill = profile_of(m, machine, tokens, 0);
  r.decode = profile_of(m, machine, 1, tokens);
  const double noise = 0.01 + 0.008 * ((index * 7) % 5);
  r.metrics.ttft_s = around(r.prefill->wall_s / 1.02, noise);
  r.metrics.tpot_s = around(r.decode->wall_s / 1.02, noise);
  r.metrics.end_to_end_s = around(r.metrics.ttft_s->median + 31 * r.metrics.tpot_s->median, noise);
  r.metrics.prefill_tokens_per_s = inverse(*r.metrics.ttft_s, tokens);
  r.metrics.decode_tokens_per_s = inverse(*r.metrics.tpot_s, 1);
  r.metrics.stopping = Stopping{.reason = StopReason::narrow_interval,
                                .threshold = 0.05,
                                .relative_half_width = noise,
                                .warmup_runs = 1,
                                .runs = 9,
                                .elapsed_s = 9 * r.metrics.ttft_s->median};
  r.memory.high_water = r.memory.predicted;
  r.memory.peak_rss_bytes = r.memory.predicted.total() + 60 * mib;
  r.prefill_energy = Energy{.total_j = machine.watts * r.metrics.ttft_s->median,
                            .baseline_j = 0.3 * machine.watts * r.metrics.ttft_s->median,
                            .window_s = 3 * r.metrics.ttft_s->median,
                            .sensor = "made up"};
  if (index % 11 == 0) r.flags = {"throttled: power"};
  return r;
}

Record predicted(Record r, int index) {
  r.source = Source::predicted;
  const double ratio = 1 + 0.12 * std::sin(index * 1.7);
  const auto scaled = [&](std::optional<Summary>& s) {
    if (s) s = Summary{.median = s->median * ratio, .n = 1};
  };
  scaled(r.metrics.ttft_s);
  scaled(r.metrics.tpot_s);
  r.metrics.end_to_end_s.reset();
  r.metrics.prefill_tokens_per_s.reset();
  r.metrics.decode_tokens_per_s.reset();
  r.metrics.stopping.reset();
  r.memory.high_water.reset();
  r.memory.peak_rss_bytes.reset();
  r.prefill.reset();
  r.decode.reset();
  r.flags.clear();
  if (r.prefill_energy) r.prefill_energy->total_j *= 2 - ratio;
  return r;
}

MemoryTimeline timeline_of(const Record& r, const MadeUpModel& m) {
  MemoryTimeline timeline{
      .title = std::string(m.model) + ", " + std::to_string(r.cell.context) + " tokens, prefill",
      .points = {}};
  constexpr int steps = 60;
  for (int i = 0; i <= steps; ++i) {
    MemoryByTag bytes = r.memory.predicted;
    bytes[Tag::activation] = bytes[Tag::activation] * (2 + i % 3) / 4;
    bytes[Tag::workspace] = i % 4 == 1 ? bytes[Tag::workspace] : 0;
    bytes[Tag::kv_cache] = bytes[Tag::kv_cache] * i / steps;
    timeline.points.push_back({r.metrics.ttft_s->median * i / steps, bytes});
  }
  return timeline;
}

}  // namespace

Study made_up_study() {
  Study study{.title = "A made-up study"};
  int index = 0;
  for (const MadeUpModel& m : models) {
    for (int64_t context = 1024; context <= 65536; context *= 2) {
      study.records.push_back(record_of(m, cpu, context, ++index));
      study.records.push_back(predicted(study.records.back(), index));
      if (context >= 4096) study.records.push_back(record_of(m, gpu, context, index));
      if (context == 16384 && study.timelines.size() < 2)
        study.timelines.push_back(timeline_of(study.records.back(), m));
    }
    const MemoryByTag at_1k = memory_of(m, 1024);
    for (LogitsPolicy logits : {LogitsPolicy::all, LogitsPolicy::last})
      for (int64_t chunk : {int64_t{0}, int64_t{2048}}) {
        const int64_t per_token = 2 * m.kv_width * 2 * m.layers +
                                  (logits == LogitsPolicy::all ? 2 * m.vocab : 0) +
                                  (chunk == 0 ? 2 * m.width * 14 : 0) + 64;
        study.limits.push_back(
            {.model = m.model,
             .device = "cpu",
             .dtype = DType::bf16,
             .budget_bytes = 24 * gib,
             .logits = logits,
             .chunk = chunk,
             .context = (24 * gib - at_1k[Tag::weights] - m.state_bytes) / per_token,
             .broken_by = logits == LogitsPolicy::all ? Tag::logits : Tag::kv_cache});
      }
    study.accuracies.push_back(
        {m.model, "example task", 38.0 + 2.3 * static_cast<double>(study.accuracies.size())});
  }
  Record timed_out = record_of(models[2], cpu, 131072, 3);
  timed_out.outcome = Outcome::timed_out;
  timed_out.reason = "took more than 600 s";
  timed_out.metrics = {};
  timed_out.prefill.reset();
  timed_out.decode.reset();
  timed_out.prefill_energy.reset();
  study.records.push_back(timed_out);
  // Names come from files: this one must stay text wherever it is shown.
  Record hostile = record_of(models[3], cpu, 1024, 5);
  hostile.cell.model = "</script><img src=x onerror=alert(1)>";
  hostile.cell.family = "zz";
  hostile.outcome = Outcome::unsupported;
  hostile.reason = "<b>unknown</b> model_type 'zz'";
  hostile.metrics = {};
  hostile.memory = {};
  hostile.prefill.reset();
  hostile.decode.reset();
  hostile.prefill_energy.reset();
  study.records.push_back(hostile);

  study.ceilings = {{"cpu", DType::bf16, cpu.ops_per_s, cpu.bytes_per_s, "calibrated"},
                    {"cuda:0", DType::bf16, gpu.ops_per_s, gpu.bytes_per_s, "datasheet"}};
  study.crossovers = {
      {"qwen2.5-0.5b", "mamba2-780m", "ttft", "cpu, bf16", {{21300, 19800, 22950}}, "crosses once"},
      {"qwen2.5-0.5b", "mamba2-780m", "memory", "cpu, bf16", {{45056, 45056, 45056}}, "exact"},
      {"qwen2.5-0.5b", "mamba2-780m", "tpot", "cpu, bf16", {{30100, 24000, 39000}}, "crosses once"},
      {"llama-3.2-1b",
       "falcon-h1-0.5b",
       "ttft",
       "cpu, bf16",
       {{2400, 2100, 3000}, {6000, 5200, 7400}},
       "crosses more than once"},
      {"llama-3.2-1b",
       "mamba-790m",
       "ttft",
       "cpu, bf16",
       {},
       "never: llama-3.2-1b is ahead throughout"}};
  return study;
}

}  // namespace tidemark
