#include "op_cases.h"

#include <fmt/format.h>

namespace tidemark {
namespace {

// Collects the tensors of one case.
struct Case {
  OpCase result;
  Case(std::string name, DType dtype) {
    result.name = std::move(name);
    result.dtype = dtype;
    result.plan.workload.dtype = dtype;
  }
  Operand add(const std::string& name, Tag tag, int64_t rows, int64_t cols, DType dtype) {
    result.plan.tensors.push_back({name, tag, dtype, rows, cols});
    return {static_cast<TensorId>(result.plan.tensors.size() - 1), 0, cols};
  }
  // An activation of `cols` columns inside a row of `before + cols + after`.
  Operand act(const std::string& name, int64_t rows, int64_t cols, int64_t before = 0,
              int64_t after = 0) {
    Operand o = add(name, Tag::activation, rows, before + cols + after, result.dtype);
    o.offset = before;
    return o;
  }
  Operand weight(const std::string& name, int64_t rows, int64_t cols = 1) {
    return add(name, Tag::weights, rows, cols, result.dtype);
  }
  Operand ids(int64_t batch, int64_t positions) {
    const Operand o = add("ids", Tag::activation, batch, positions, DType::i32);
    result.plan.ids = o.tensor;
    return o;
  }
  OpCase with(Op op) {
    Step& step = result.plan.step(StepKind::tail);
    step.kind = StepKind::tail;
    step.nodes.push_back({std::move(op), Role::embed, 0});
    return std::move(result);
  }
};

void add_dense(std::vector<OpCase>& cases, DType dtype) {
  for (int64_t past : {0, 5})
    for (float scale : {1.0F, 5.65F}) {
      Case c(fmt::format("embedding past {} scale {}", past, scale), dtype);
      const Operand ids = c.ids(3, 20), table = c.weight("table", 37, 19);
      const Operand out = c.act("out", 3 * 7, 19);
      cases.push_back(c.with(Embedding{ids, table, out, 3, 7, past, 19, 37, scale}));
    }

  for (NormKind kind : {NormKind::rms, NormKind::layer})
    for (int64_t width : {1, 16, 37, 896})
      for (float offset : {0.0F, 1.0F}) {
        if (kind == NormKind::layer && offset != 0.0F) continue;
        const int64_t groups = width == 37 ? 3 : 1;
        Case c(fmt::format("norm kind {} width {} groups {} offset {}", static_cast<int>(kind),
                           width, groups, offset),
               dtype);
        const Operand x = c.act("x", 5, groups * width, 3, 2),
                      out = c.act("out", 5, groups * width);
        const Operand w = c.weight("weight", width);
        const Operand bias = kind == NormKind::layer ? c.weight("bias", width) : Operand{};
        cases.push_back(c.with(Norm{kind, x, w, bias, out, 5, groups, width, 1e-5F, offset}));
      }

  for (bool before : {false, true})
    for (int64_t groups : {1, 2}) {
      Case c(fmt::format("gated_norm groups {} norm_before_gate {}", groups, before), dtype);
      const Operand x = c.act("x", 5, groups * 21), z = c.act("z", 5, groups * 21, 0, 9);
      const Operand w = c.weight("weight", groups * 21), out = c.act("out", 5, groups * 21);
      cases.push_back(c.with(GatedNorm{x, z, w, out, 5, groups, 21, 1e-5F, before}));
    }

  struct Shape {
    int64_t m, n, k;
  };
  for (Shape s : {Shape{1, 1, 1}, Shape{1, 37, 64}, Shape{2, 130, 257}, Shape{5, 48, 31},
                  Shape{8, 65, 96}, Shape{9, 33, 40}, Shape{67, 129, 70}})
    for (int variant = 0; variant < 4; ++variant) {
      const bool bias = variant & 1, accumulate = variant & 2;
      const float scale = variant == 3 ? 0.39F : 1.0F;
      Case c(fmt::format("gemm {}x{}x{} bias {} accumulate {} scale {}", s.m, s.n, s.k, bias,
                         accumulate, scale),
             dtype);
      const Operand x = c.act("x", s.m, s.k, variant, variant * 2), w = c.weight("w", s.n, s.k);
      const Operand b = bias ? c.weight("b", s.n) : Operand{};
      const Operand out = c.act("out", s.m, s.n, 0, variant);
      cases.push_back(c.with(Gemm{x, w, b, out, s.m, s.n, s.k, scale, accumulate}));
    }
  {
    Case c("gemm logits of all positions, fp32 out", dtype);
    const Operand x = c.act("x", 6, 24), w = c.weight("w", 50, 24);
    const Operand out = c.add("logits", Tag::logits, 2 * 8, 50, DType::f32);
    cases.push_back(c.with(Gemm{x, w, {}, out, 6, 50, 24, 0.0195F, false, 5, 2 * 50}));
  }

  for (Act act : {Act::silu, Act::gelu, Act::gelu_tanh, Act::relu2, Act::sigmoid, Act::identity}) {
    Case glu(fmt::format("glu act {}", static_cast<int>(act)), dtype);
    Operand gate = glu.act("gate_up", 5, 2 * 43), up = gate;
    up.offset = 43;
    cases.push_back(glu.with(Glu{act, gate, up, gate, 5, 43}));
    Case plain(fmt::format("activation act {}", static_cast<int>(act)), dtype);
    const Operand x = plain.act("x", 5, 43), out = plain.act("out", 5, 43, 1, 1);
    cases.push_back(plain.with(Activation{act, x, out, 5, 43}));
  }

  for (int64_t length : {1, 7}) {
    Case c(fmt::format("select_last length {}", length), dtype);
    const Operand x = c.act("x", 3 * length, 33), out = c.act("out", 3, 33);
    cases.push_back(c.with(SelectLast{x, out, 3, length, 33}));
  }
  for (bool all : {false, true}) {
    Case c(fmt::format("argmax {}", all ? "all" : "last"), dtype);
    const Operand logits = c.add("logits", Tag::logits, all ? 3 * 10 : 3, 1003, DType::f32);
    const Operand ids = c.ids(3, 12);
    cases.push_back(c.with(Argmax{logits, ids, 3, 4, all ? 5 : 0, 1003, all ? 4 : 1, all ? 3 : 0}));
  }
}

void add_attention(std::vector<OpCase>& cases, DType dtype) {
  struct Shape {
    int64_t batch, length, past, heads, kv_heads, head_dim, value_dim, window;
  };
  const Shape shapes[] = {
      {1, 1, 0, 4, 2, 16, 16, 0},      {2, 7, 0, 4, 2, 16, 16, 0},   {2, 7, 9, 4, 2, 16, 16, 0},
      {1, 37, 0, 7, 1, 8, 8, 0},       {2, 1, 36, 8, 1, 8, 8, 0},    {1, 70, 65, 4, 4, 64, 64, 0},
      {1, 5, 130, 2, 1, 128, 128, 0},  {1, 19, 3, 6, 3, 24, 40, 0},  {2, 1, 300, 14, 2, 64, 64, 0},
      {1, 20, 0, 4, 2, 16, 16, 8},     {2, 20, 13, 4, 2, 16, 16, 8}, {2, 1, 50, 4, 2, 16, 32, 8},
      {1, 3, 5, 4, 2, 16, 16, 8},      {1, 1, 0, 4, 2, 16, 16, 8},   {1, 9, 30, 4, 2, 16, 32, 64},
      {1, 130, 200, 3, 1, 32, 32, 100}};
  for (const Shape& s : shapes) {
    const int64_t total = s.past + s.length, rows = s.batch * s.length;
    const int64_t capacity = s.window > 0 ? std::min(s.window, total + 3) : total + 3;
    const int64_t q_width = s.heads * s.head_dim, k_width = s.kv_heads * s.head_dim,
                  v_width = s.kv_heads * s.value_dim;
    const std::string shape =
        fmt::format("B{} L{} past {} heads {}/{} dim {}/{} window {}", s.batch, s.length, s.past,
                    s.heads, s.kv_heads, s.head_dim, s.value_dim, s.window);
    auto operands = [&](Case& c) {
      struct {
        Operand q, k, v, k_cache, v_cache;
      } o;
      o.q = c.act("qkv", rows, q_width + k_width + v_width);
      o.k = o.v = o.q;
      o.k.offset = q_width;
      o.v.offset = q_width + k_width;
      const int64_t cache_rows = s.batch * s.kv_heads * capacity;
      o.k_cache = c.add("k_cache", Tag::kv_cache, cache_rows, s.head_dim, dtype);
      o.v_cache = c.add("v_cache", Tag::kv_cache, cache_rows, s.value_dim, dtype);
      return o;
    };
    const bool windowed = s.window > 0;
    Case attention("attention " + shape, dtype);
    auto a = operands(attention);
    const Operand out = attention.act("out", rows, s.heads * s.value_dim);
    cases.push_back(
        attention.with(Attention{a.q, windowed ? a.k : Operand{}, windowed ? a.v : Operand{},
                                 a.k_cache, a.v_cache, out, s.batch, s.length, s.past, s.heads,
                                 s.kv_heads, s.head_dim, s.value_dim, capacity, s.window, 0.25F}));
    Case append("kv_append " + shape, dtype);
    auto k = operands(append);
    cases.push_back(append.with(KvAppend{k.k, k.v, k.k_cache, k.v_cache, s.batch, s.length, s.past,
                                         s.kv_heads, s.head_dim, s.value_dim, capacity}));
    for (float amplitude : {1.0F, 1.19F}) {
      Case rope(fmt::format("rope {} amplitude {}", shape, amplitude), dtype);
      auto r = operands(rope);
      const int64_t rotary = amplitude == 1.0F ? s.head_dim : s.head_dim / 2;
      Rope op{r.q,
              r.k,
              windowed ? Operand{} : r.v,
              windowed ? Operand{} : r.k_cache,
              windowed ? Operand{} : r.v_cache,
              s.batch,
              s.length,
              s.past,
              s.heads,
              s.kv_heads,
              s.head_dim,
              s.value_dim,
              rotary,
              capacity,
              {},
              amplitude};
      for (int64_t j = 0; j < rotary / 2; ++j)
        op.inv_freq.push_back(1.0F / static_cast<float>(1 + 3 * j * j));
      cases.push_back(rope.with(std::move(op)));
    }
  }
}

void add_ssm(std::vector<OpCase>& cases, DType dtype) {
  for (int64_t batch : {1, 3})
    for (int64_t length : {1, 2, 7, 33})
      for (int64_t past : {0, 9}) {
        const int64_t rows = batch * length;
        for (int64_t width : {3, 4}) {
          Case c(fmt::format("conv1d B{} L{} past {} width {}", batch, length, past, width), dtype);
          const int64_t channels = 45;
          const Operand x = c.act("x", rows, channels, 5, 3), w = c.weight("w", channels, width);
          const Operand bias = width == 4 ? c.weight("bias", channels) : Operand{};
          const Operand state = c.add("state", Tag::conv_state, batch * channels, width - 1, dtype);
          const Operand out = c.act("out", rows, channels);
          cases.push_back(c.with(
              Conv1d{x, w, bias, state, out, batch, length, past, channels, width, width == 4}));
        }
        Case c(fmt::format("selective_scan B{} L{} past {}", batch, length, past), dtype);
        const int64_t channels = 37, n = past == 0 ? 16 : 5;
        const Operand x = c.act("x", rows, channels), dt = c.act("dt", rows, channels);
        const Operand dbc = c.act("dbc", rows, 2 * n, 3);
        Operand cc = dbc;
        cc.offset += n;
        const Operand z = c.act("xz", rows, channels, channels);
        const Operand a = c.weight("a_log", channels, n), d = c.weight("d_skip", channels);
        const Operand bias = c.weight("dt_bias", channels), out = c.act("out", rows, channels);
        const Operand state = c.add("state", Tag::ssm_state, batch * channels, n, DType::f32);
        cases.push_back(c.with(SelectiveScan{x, dt, dbc, cc, z, a, d, bias, state, out, batch,
                                             length, past, channels, n}));
      }

  struct Shape {
    int64_t batch, length, past, heads, head_dim, groups, state, chunk;
    float dt_min, dt_max;
  };
  const Shape shapes[] = {
      {1, 1, 0, 2, 16, 1, 16, 16, 0, 0},         {2, 37, 0, 4, 16, 1, 32, 16, 0, 0},
      {2, 37, 5, 4, 16, 2, 32, 16, 0, 0},        {1, 16, 3, 3, 8, 1, 24, 16, 0, 0},
      {3, 33, 7, 6, 12, 3, 20, 32, 0.01F, 0.2F}, {1, 300, 0, 2, 64, 1, 128, 256, 0, 0},
      {1, 70, 9, 2, 64, 1, 16, 64, 0, 0.1F}};
  for (const Shape& s : shapes)
    for (SsdForm form : {SsdForm::chunked, SsdForm::recurrence}) {
      if (form == SsdForm::recurrence && s.length > 40) continue;
      Case c(
          fmt::format("ssd {} B{} L{} past {} heads {}x{} groups {} state {} chunk {} dt {}..{}",
                      form == SsdForm::chunked ? "chunked" : "recurrence", s.batch, s.length,
                      s.past, s.heads, s.head_dim, s.groups, s.state, s.chunk, s.dt_min, s.dt_max),
          dtype);
      const int64_t rows = s.batch * s.length, inner = s.heads * s.head_dim;
      const int64_t bc = s.groups * s.state;
      const Operand x = c.act("xbc", rows, inner + 2 * bc);
      Operand b = x, cc = x;
      b.offset = inner;
      cc.offset = inner + bc;
      const Operand dt = c.act("dt", rows, s.heads, 11);
      const Operand a = c.weight("a_log", s.heads), d = c.weight("d_skip", s.heads);
      const Operand bias = c.weight("dt_bias", s.heads), out = c.act("out", rows, inner);
      const Operand state = c.add("state", Tag::ssm_state, s.batch * inner, s.state, DType::f32);
      cases.push_back(c.with(Ssd{form,       x,        dt,      b,       cc,       a,       d,
                                 bias,       state,    out,     s.batch, s.length, s.past,  s.heads,
                                 s.head_dim, s.groups, s.state, s.chunk, s.dt_min, s.dt_max}));
    }
}

}  // namespace

std::vector<OpCase> op_cases(DType dtype) {
  std::vector<OpCase> cases;
  add_dense(cases, dtype);
  add_attention(cases, dtype);
  add_ssm(cases, dtype);
  return cases;
}

}  // namespace tidemark
