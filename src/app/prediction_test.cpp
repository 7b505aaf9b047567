#include "app/prediction.h"

#include <gtest/gtest.h>

#include "app/limit.h"
#include "app/session.h"
#include "app/whatif.h"
#include "backend/cuda_plan.h"
#include "base/error.h"
#include "model/load.h"
#include "plan/memory.h"

namespace tidemark {
namespace {

TEST(Prediction, MemoryIsThePlansToTheByte) {
  const auto backend = open_backend("cpu", 0, 0);
  for (const std::string model : {"qwen2.5-0.5b", "mamba2-130m", "falcon-h1-0.5b"}) {
    const ModelSpec spec = load_spec(model);
    const Workload workload{.context = 3000, .new_tokens = 20, .dtype = DType::bf16};
    Plan plan = build_plan(spec, workload);
    backend->choose_forms(plan);
    const Record r = predict_record(spec, load_profile("epyc-9654"), workload);
    EXPECT_EQ(r.memory.predicted, layout_memory(plan, [&](const Node& n) {
                                    return backend->workspace_bytes(n, plan);
                                  }).size_bytes);
    EXPECT_EQ(r.source, Source::predicted);
    EXPECT_EQ(r.cell.device, "epyc-9654");
    EXPECT_EQ(r.cell.family, spec.family);
  }
}

// Nothing wraps up to the largest workload that a plan is made for: of half the tokens everything
// takes about half, pairs of tokens a quarter.
TEST(Prediction, BytesAndOperationsFitTheirIntegersAtTheLargestWorkloads) {
  const auto backend = open_backend("cpu", 0, 0);
  const DeviceProfile profile = load_profile("h200");
  for (const Preset& preset : presets()) {
    const ModelSpec spec = load_spec(std::string(preset.name));
    for (const DType dtype : {DType::f32, DType::bf16, DType::w8a8})
      for (const int64_t batch : {int64_t{1}, int64_t{1} << 20}) {
        Workload w{
            .batch = batch, .chunk = int64_t{1} << 40, .dtype = dtype, .logits = LogitsPolicy::all};
        if (spec.positions == no_weight) w.new_tokens = (int64_t{1} << 40) / batch;
        w.context = max_context(spec, w);
        const Plan plan = build_plan(spec, w);
        w.context /= 2;
        w.new_tokens = (w.new_tokens + 1) / 2;
        const Plan half = build_plan(spec, w);
        const std::string what = fmt::format("{}, {}, batch {}", preset.name, name(dtype), batch);
        for (const auto& memory_of :
             {MemoryOf([&](const Plan& p) { return memory_on(*backend, p); }),
              MemoryOf([](const Plan& p) { return layout_on_cuda(p).size_bytes; }),
              MemoryOf(
                  [&](const Plan& p) { return eager_memory(p, eager_options(spec), profile); })}) {
          const MemoryByTag all = memory_of(plan), part = memory_of(half);
          for (const Tag tag : all_tags) EXPECT_GE(all[tag], 0) << what << " " << name(tag);
          EXPECT_GT(all.total(), part.total()) << what;
          EXPECT_LE(static_cast<double>(all.total()), 4.1 * static_cast<double>(part.total()))
              << what << ", a mask's pairs being four times as many";
        }
        const std::vector<Node>& nodes = plan.step(StepKind::tail).nodes;
        for (size_t i = 0; i < nodes.size(); ++i) {
          const Cost all = cost(nodes[i].op, plan);
          const Cost part = cost(half.step(StepKind::tail).nodes[i].op, half);
          for (const auto& [x, y] :
               {std::pair(all.ops, part.ops), std::pair(all.bytes_read, part.bytes_read),
                std::pair(all.bytes_written, part.bytes_written)}) {
            EXPECT_GE(y, 0) << what << " " << name(nodes[i].op);
            EXPECT_GE(x, y) << what << " " << name(nodes[i].op);
            EXPECT_LE(static_cast<double>(x), 4.1 * static_cast<double>(y))
                << what << " " << name(nodes[i].op);
          }
        }
      }
  }
}

// A head of state 256 takes 178 KiB of a thread block: H200 has 227, RTX 4090 has 99 (the tables of
// the CUDA C++ Programming Guide).
TEST(Prediction, StateOf256RunsInBlocksWhereTheyMayShareSoMuch) {
  const auto form = [](const char* model, const char* device) {
    Plan plan = build_plan(load_spec(model), {.context = 512, .dtype = DType::bf16});
    const auto shared = load_profile(device).block_shared_bytes;
    choose_cuda_forms(plan, static_cast<int64_t>(shared.value().value));
    for (const Node& node : plan.step(StepKind::tail).nodes)
      if (const auto* ssd = std::get_if<Ssd>(&node.op)) return std::pair(ssd->form, ssd->chunk);
    return std::pair(SsdForm::recurrence, int64_t{0});
  };
  EXPECT_EQ(form("falcon-h1-1.5b", "h200"), std::pair(SsdForm::chunked, int64_t{64}));
  EXPECT_EQ(form("falcon-h1-1.5b", "rtx4090").first, SsdForm::recurrence);
  EXPECT_EQ(form("falcon-h1-0.5b", "rtx4090"), std::pair(SsdForm::chunked, int64_t{64}));
}

// docs/prediction.md, "What is priced as something else".
TEST(Prediction, SaysWhatIsPricedAsOtherKernels) {
  const auto flag = [](const char* model, const char* device, DType dtype, int64_t batch = 1) {
    const Record r = predict_record(
        load_spec(model), load_profile(device),
        {.batch = batch, .context = 8192, .new_tokens = 9, .chunk = 512, .dtype = dtype}, {});
    for (const std::string& f : r.flags)
      if (f.starts_with("priced as other kernels: ")) return f.substr(25);
    return std::string();
  };
  EXPECT_EQ(flag("llama-3.2-1b", "h200", DType::bf16), "");
  EXPECT_EQ(flag("mamba2-780m", "h200", DType::bf16), "");
  EXPECT_EQ(flag("mamba2-780m", "epyc-9654", DType::f32), "");
  EXPECT_EQ(flag("mamba2-780m", "h200", DType::f32), "recurrence over many tokens as steps");
  EXPECT_EQ(flag("mamba2-780m", "h200", DType::bf16, 2), "");
  EXPECT_EQ(flag("mamba2-780m", "h200-calibrated", DType::bf16, 2),
            "decode of several sequences as the launches of one");
  EXPECT_EQ(flag("llama-3.2-1b", "h200", DType::f32), "fp32 attention as bf16");
  EXPECT_EQ(flag("phi-3-mini-4k", "h200", DType::bf16), "windowed attention as causal");
  EXPECT_EQ(flag("phi-3-mini-4k", "epyc-9654", DType::bf16), "");
  EXPECT_EQ(flag("recurrentgemma-2b", "epyc-9654", DType::bf16), "RG-LRU as the selective scan");
  EXPECT_EQ(flag("jamba-v0.1", "epyc-9654", DType::bf16), "products of experts as others");
}

// As measurements say it: the last token generated is not read again.
TEST(Prediction, SaysWhatIsBeyondTheModelsPositions) {
  const ModelSpec spec = load_spec("tinyllama-1.1b");  // 2048 in its config.json
  const auto flagged = [&](int64_t context, int64_t new_tokens, EngineModel engine) {
    const Record r = predict_record(
        spec, load_profile("h200"),
        {.context = context, .new_tokens = new_tokens, .dtype = DType::bf16}, {.engine = engine});
    return std::ranges::count(r.flags, "beyond the model's 2048 positions") == 1;
  };
  for (const EngineModel engine : {EngineModel::own, EngineModel::eager_full}) {
    EXPECT_FALSE(flagged(2048, 1, engine));
    EXPECT_FALSE(flagged(2000, 49, engine));
    EXPECT_TRUE(flagged(2000, 50, engine));
    EXPECT_TRUE(flagged(2049, 1, engine));
  }
}

TEST(Prediction, AFrameworkMasksFromTheDeclaredWindowOn) {
  const ModelSpec spec = load_spec("qwen2.5-0.5b");  // sliding_window 32768, switched off
  EXPECT_EQ(spec.declared_window, 32768);
  const EagerOptions options = eager_options(spec);
  EXPECT_FALSE(options.fused_norms);
  EXPECT_EQ(options.masked_from, 32768);
  const auto ttft = [&](int64_t context) {
    return predict_record(spec, load_profile("rtx4090"), {.context = context, .dtype = DType::bf16},
                          {.engine = EngineModel::eager_full})
        .metrics.ttft_s->median;
  };
  EXPECT_GT(ttft(32768), 2 * ttft(32767));
  EXPECT_TRUE(eager_options(load_spec("mamba2-780m")).fused_norms);
  EXPECT_FALSE(eager_options(load_spec("falcon-h1-0.5b")).fused_norms);
}

// Blocks of 64 do fewer operations inside a block than the model's 256; a framework keeps to the
// model's.
TEST(Prediction, OfThisProgramCountsItsOwnBlocks) {
  const ModelSpec spec = load_spec("mamba2-130m");
  const Workload workload{.context = 4096, .new_tokens = 1, .chunk = 4096, .dtype = DType::bf16};
  const auto ssd_ops = [&](const char* device, EngineModel engine) {
    const Record r = predict_record(spec, load_profile(device), workload, {.engine = engine});
    int64_t ops = 0;
    for (const OperatorRow& row : r.prefill->rows)
      if (row.op == "ssd") ops += row.ops;
    return ops;
  };
  // Blocks of 64 there, of 128 on a CPU, and a framework's as the model has them: 256.
  const int64_t cpu = ssd_ops("epyc-9654", EngineModel::own);
  EXPECT_LT(ssd_ops("h200", EngineModel::own), cpu);
  EXPECT_LT(cpu, ssd_ops("h200", EngineModel::eager_full));
}

TEST(Prediction, AFrameworkIsAsFastAsItsHostOnShortPrompts) {
  const ModelSpec spec = load_spec("qwen2.5-0.5b");
  DeviceProfile profile = load_profile("rtx4090");
  const auto ttft = [&] {
    return predict_record(spec, profile, {.context = 64, .dtype = DType::bf16},
                          {.engine = EngineModel::eager_full})
        .metrics.ttft_s->median;
  };
  const double before = ttft();
  profile.host_launch_s.value *= 2;
  EXPECT_NEAR(ttft(), 2 * before, 0.05 * before);  // but for the last kernel, on the device
}

// What it would fail with; "" when it does not.
std::string eager_error(const std::string& model, DType dtype) {
  try {
    predict_record(load_spec(model), load_profile("rtx4090"), {.context = 64, .dtype = dtype},
                   {.engine = EngineModel::eager_full});
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Prediction, AFrameworksLoopsAreRefusedByName) {
  EXPECT_EQ(
      eager_error("granite-4.0-h-tiny", DType::bf16),
      "--engine-model: unsupported: eager-full has no kernels for combine, expert_gemm, route "
      "of granite-4.0-h-tiny");
  EXPECT_NE(eager_error("recurrentgemma-2b", DType::bf16).find("block_gemm, rg_lru"),
            std::string::npos);
  EXPECT_NE(eager_error("qwen3-next-80b-a3b", DType::bf16).find("gated_delta"), std::string::npos);
  EXPECT_EQ(eager_error("qwen2.5-0.5b", DType::bf16), "");
  for (const DType dtype : {DType::f32, DType::w8a16, DType::w8a8})
    EXPECT_EQ(eager_error("qwen2.5-0.5b", dtype),
              fmt::format("--dtype: unsupported: the engine model eager-full has no {} kernels",
                          name(dtype)));
}

// That a framework's kernels are not known is an answer; that a model has no plan is not.
TEST(Prediction, WhatIsUnknownOfAFrameworkIsAskedWithoutHidingErrors) {
  const auto unknown = [](const ModelSpec& spec, DType dtype) {
    return unknown_part(EngineModel::eager_full, spec, dtype);
  };
  EXPECT_EQ(unknown(load_spec("qwen2.5-0.5b"), DType::bf16), "");
  EXPECT_NE(unknown(load_spec("qwen2.5-0.5b"), DType::f32).find("--dtype"), std::string::npos);
  EXPECT_NE(unknown(load_spec("jamba-v0.1"), DType::bf16).find("jamba-v0.1"), std::string::npos);
  ModelSpec broken = load_spec("gpt-neo-125m");
  broken.weights[static_cast<size_t>(broken.positions)].rows = 0;
  EXPECT_THROW(unknown(broken, DType::bf16), Error);
  EXPECT_EQ(unknown_part(EngineModel::own, broken, DType::f32), "");
}

// With rope the cache is joined by the operator that rotates, without by the one that appends.
TEST(Prediction, AFrameworkJoinsItsCacheInEveryAttention) {
  const DeviceProfile profile = load_profile("rtx4090");
  for (const std::string model : {"qwen2.5-0.5b", "jamba-reasoning-3b", "gpt-neo-125m"}) {
    const ModelSpec spec = load_spec(model);
    Plan plan = build_plan(spec, {.context = 64, .new_tokens = 2, .dtype = DType::bf16});
    const Launches launches = eager_launches(profile, eager_options(spec));
    Step& decode = plan.step(StepKind::decode);
    // How many kernels more a cache makes that holds something.
    const auto kernels = [&](int64_t past) {
      set_past(decode, past);
      size_t n = 0;
      for (const Node& node : decode.nodes) n += launches(node, plan).size();
      return n;
    };
    const auto attentions = std::ranges::count_if(
        decode.nodes, [](const Node& n) { return std::holds_alternative<Attention>(n.op); });
    ASSERT_GT(attentions, 0) << model;
    EXPECT_EQ(kernels(64) - kernels(0), 2 * static_cast<size_t>(attentions)) << model;
  }
}

// modeling_falcon_h1.py: eight products by constants in each of 36 layers, of the mixer's input,
// z x B C dt, its output, attention's input, the keys, its output, the gate, the MLP's output. They
// read and write 2 bytes an element. The embedding and the logits are multiplied in any case.
TEST(Prediction, AFrameworkMultipliesInFalconH1) {
  const ModelSpec spec = load_spec("falcon-h1-0.5b");
  const Plan plan = build_plan(spec, eager_workload({.context = 64, .dtype = DType::bf16}));
  const auto count = [&](bool multiplies) {
    EagerOptions options = eager_options(spec);
    EXPECT_TRUE(options.multiplies);
    options.multiplies = multiplies;
    const Launches launches = eager_launches(load_profile("rtx4090"), options);
    std::pair<size_t, double> kernels_and_bytes;
    for (const Node& node : plan.step(StepKind::tail).nodes)
      for (const Launch& launch : launches(node, plan)) {
        ++kernels_and_bytes.first;
        kernels_and_bytes.second += launch.work.warm_bytes;
      }
    return kernels_and_bytes;
  };
  const auto with = count(true), without = count(false);
  EXPECT_EQ(with.first - without.first, 36U * 8);
  EXPECT_NEAR(with.second - without.second,
              36.0 * 64 * 4 *
                  (1024 + (2 * 1536 + 2 * 128 + 24) + 1024 + 1024 + 2 * 64 + 1024 + 2048 + 1024),
              1);
  EXPECT_FALSE(eager_options(load_spec("qwen2.5-0.5b")).multiplies);
}

TEST(WhatIf, OnceAsFastChangesNothing) {
  const WhatIf w =
      what_if(load_spec("falcon-h1-0.5b"), load_profile("rtx4090"),
              {.context = 4096, .new_tokens = 8, .dtype = DType::bf16}, EngineModel::own,
              parse_scales("compute=1,bandwidth=1x,launch=1,memory=1,ssm_scan=1x"));
  ASSERT_EQ(w.gains.size(), 6U);
  for (const Gain& gain : w.gains) {
    EXPECT_DOUBLE_EQ(*gain.ttft, 1) << gain.what;
    EXPECT_DOUBLE_EQ(*gain.tpot, 1) << gain.what;
  }
}

TEST(WhatIf, IsAmdahlsLaw) {
  const ModelSpec spec = load_spec("mamba2-130m");
  DeviceProfile profile = load_profile("rtx4090");
  profile.launch_s.value = 1e-15;
  const Workload workload{.context = 2048, .dtype = DType::bf16};
  const Record r = predict_record(spec, profile, workload);
  double scan_s = 0;
  for (const OperatorRow& row : r.prefill->rows)
    if (row.role == Role::ssm_scan) scan_s += row.time_s;
  const double share = scan_s / r.prefill->wall_s;
  ASSERT_GT(share, 0.05);
  const WhatIf w = what_if(spec, profile, workload, EngineModel::own, parse_scales("ssm_scan=4x"));
  EXPECT_NEAR(*w.gains.front().ttft, 1 / (1 - share + share / 4), 1e-6);
}

TEST(WhatIf, SaysWhichResourceComesFirst) {
  const DeviceProfile profile = load_profile("rtx4090");
  const ModelSpec spec = load_spec("qwen2.5-1.5b");
  EXPECT_EQ(
      best_purchase(spec, profile, {.context = 65536, .dtype = DType::bf16}, EngineModel::own).what,
      "compute");
  EXPECT_EQ(best_purchase(spec, profile, {.context = 64, .new_tokens = 512, .dtype = DType::bf16},
                          EngineModel::own)
                .what,
            "bandwidth");
  EXPECT_EQ(
      best_purchase(spec, profile, {.context = 1 << 21, .dtype = DType::bf16}, EngineModel::own)
          .what,
      "memory");
}

TEST(WhatIf, WrongScalesAreToldTheKnownNames) {
  const auto error_of = [](const std::string& text) -> std::string {
    try {
      parse_scales(text);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(error_of("bandwith=2x").find("bandwidth"), std::string::npos);
  EXPECT_NE(error_of("bandwidth=-2").find("bandwidth: expected a factor"), std::string::npos);
  EXPECT_NE(error_of("bandwidth").find("bandwidth: expected a factor"), std::string::npos);
  EXPECT_NE(error_of("").find("expected NAME=FACTOR"), std::string::npos);
}

}  // namespace
}  // namespace tidemark
