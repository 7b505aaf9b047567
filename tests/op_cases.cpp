#include "op_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

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
    return add_tensor(result.plan, {name, tag, dtype, rows, cols});
  }
  // An activation of `cols` columns inside a row of `before + cols + after`.
  Operand act(const std::string& name, int64_t rows, int64_t cols, int64_t before = 0,
              int64_t after = 0) {
    Operand o =
        add(name, Tag::activation, rows, before + cols + after, activation_dtype(result.dtype));
    o.offset = before;
    return o;
  }
  Operand weight(const std::string& name, int64_t rows, int64_t cols = 1) {
    return add(name, Tag::weights, rows, cols, activation_dtype(result.dtype));
  }
  // A projection's, which has 8 bits where the case is about them, and then its scales.
  Operand projection(const std::string& name, int64_t rows, int64_t cols) {
    if (!has_int8_weights(result.dtype)) return weight(name, rows, cols);
    return add(name, Tag::weights, rows, cols, DType::i8);
  }
  // Columns that share a scale: as plans have it a whole row, or 32.
  int64_t group(int64_t cols) const { return int8_x() ? cols : std::min<int64_t>(32, cols); }
  Operand scales(int64_t rows, int64_t cols) {
    if (!has_int8_weights(result.dtype)) return {};
    const int64_t groups = (cols + group(cols) - 1) / group(cols);
    return add("scales", Tag::weights, rows, groups, DType::bf16);
  }
  bool int8_x() const { return result.dtype == DType::w8a8; }
  Operand ids(int64_t batch, int64_t positions) {
    const Operand o = add("ids", Tag::activation, batch, positions, DType::i32);
    result.plan.ids = o.tensor;
    return o;
  }
  OpCase with(Op op) {
    Step& step = result.plan.step(StepKind::tail);
    step.kind = StepKind::tail;
    std::visit(
        [&](const auto& o) {
          step.length = 1;
          if constexpr (requires { o.length; }) step.length = o.length;
          if constexpr (requires { o.batch; }) result.plan.workload.batch = o.batch;
        },
        op);
    step.nodes.push_back({std::move(op), Role::embed, 0});
    return std::move(result);
  }
};

void add_dense(std::vector<OpCase>& cases, DType dtype) {
  for (int64_t past : {0, 5})
    for (float scale : {1.0F, 5.65F}) {
      Case c(fmt::format("embedding past {} scale {}", past, scale), dtype);
      const Operand ids = c.ids(3, 20), table = c.projection("table", 37, 19);
      const Operand out = c.act("out", 3 * 7, 19);
      const Operand positions = past == 5 ? c.weight("positions", 13, 19) : Operand{};
      const Operand scales = c.scales(37, 19);
      cases.push_back(c.with(
          Embedding{ids, table, out, 3, 7, past, 19, 37, scale, positions, scales, c.group(19)}));
    }
  for (bool copy : {false, true}) {
    Case c(copy ? "add, a copy" : "add", dtype);
    const Operand x = c.act("x", 7, 83, 2, 1), y = copy ? Operand{} : c.act("y", 7, 83, 0, 5);
    const Operand out = c.act("out", 7, 83, 83);
    cases.push_back(c.with(Add{x, y, out, 7, 83}));
  }
  {
    Case c("add in place", dtype);
    const Operand x = c.act("x", 7, 83), y = c.act("y", 7, 83);
    cases.push_back(c.with(Add{x, y, x, 7, 83}));
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

  for (bool weighted : {false, true}) {
    Case c(weighted ? "norm of heads in place" : "norm without weight in place", dtype);
    const Operand x = c.act("x", 6, 4 * 32, 17, 40);
    const Operand w = weighted ? c.weight("weight", 32) : Operand{};
    const float offset = weighted ? 1.0F : 0.0F;
    cases.push_back(c.with(Norm{NormKind::rms, x, w, {}, x, 6, 4, 32, 1e-6F, offset}));
  }

  for (int64_t width : {16, 21, 128}) {
    Case c(fmt::format("gated_norm of heads, width {}, shared weight", width), dtype);
    const Operand y = c.act("y", 5, 3 * width), z = c.act("z", 5, 3 * width, 7, 9);
    const Operand w = c.weight("weight", width);
    cases.push_back(c.with(GatedNorm{y, z, w, y, 5, 3, width, 1e-6F, true, true}));
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
  for (Shape s :
       {Shape{1, 1, 1},       Shape{1, 37, 64},   Shape{2, 130, 257},  Shape{5, 48, 31},
        Shape{8, 65, 96},     Shape{9, 33, 40},   Shape{67, 129, 70},  Shape{11, 1061, 24},
        Shape{1, 64, 32},     Shape{1, 192, 96},  Shape{2, 128, 64},   Shape{3, 64, 96},
        Shape{4, 192, 32},    Shape{5, 64, 64},   Shape{7, 128, 32},   Shape{8, 64, 160},
        Shape{9, 64, 32},     Shape{67, 192, 96}, Shape{290, 64, 96},  Shape{259, 16, 2080},
        Shape{9, 1096, 2080}, Shape{1, 85, 64},   Shape{3, 120, 32},   Shape{70, 117, 64},
        Shape{20, 9, 32},     Shape{530, 70, 64}, Shape{9, 40, 4224},  Shape{6, 56, 192},
        Shape{290, 1824, 32}, Shape{67, 192, 48}, Shape{40, 85, 80},   Shape{9, 16, 16},
        Shape{37, 70, 2096},  Shape{3, 100, 48},  Shape{19, 40, 4096}, Shape{290, 2064, 32},
        Shape{21, 2064, 544}})
    for (int variant = 0; variant < 4; ++variant) {
      const bool bias = variant & 1, accumulate = variant & 2;
      const float scale = variant == 3 ? 0.39F : 1.0F;
      Case c(fmt::format("gemm {}x{}x{} bias {} accumulate {} scale {}", s.m, s.n, s.k, bias,
                         accumulate, scale),
             dtype);
      const Operand x = c.act("x", s.m, s.k, variant, variant * 2);
      const Operand w = c.projection("w", s.n, s.k), scales = c.scales(s.n, s.k);
      const Operand b = bias ? c.weight("b", s.n) : Operand{};
      const Operand out = c.act("out", s.m, s.n, 0, variant);
      cases.push_back(c.with(Gemm{x, w, b, out, s.m, s.n, s.k, scale, accumulate, 0, 0, scales,
                                  c.group(s.k), c.int8_x()}));
    }
  for (Shape s : {Shape{6, 50, 24}, Shape{530, 512, 32}}) {
    // Many rows take 8-bit weights rounded to bf16, which an fp32 result shows.
    if (s.m > 6 && has_int8_weights(dtype)) continue;
    Case c(fmt::format("gemm logits of {} positions, fp32 out", s.m), dtype);
    const Operand x = c.act("x", s.m, s.k), w = c.projection("w", s.n, s.k);
    const Operand scales = c.scales(s.n, s.k);
    const Operand out = c.add("logits", Tag::logits, s.m + 10, s.n, DType::f32);
    cases.push_back(c.with(Gemm{x,
                                w,
                                {},
                                out,
                                s.m,
                                s.n,
                                s.k,
                                0.0195F,
                                false,
                                5,
                                2 * s.n,
                                scales,
                                c.group(s.k),
                                c.int8_x()}));
  }

  struct BlockShape {
    int64_t m, blocks, n, k;
  };
  for (BlockShape s :
       {BlockShape{1, 1, 16, 16}, BlockShape{1, 10, 37, 37}, BlockShape{5, 3, 40, 24},
        BlockShape{67, 4, 16, 16}, BlockShape{33, 2, 65, 129}})
    for (bool bias : {false, true}) {
      Case c(
          fmt::format("block_gemm {} rows, {} blocks {}x{} bias {}", s.m, s.blocks, s.k, s.n, bias),
          dtype);
      const Operand x = c.act("x", s.m, s.blocks * s.k, 3, 1);
      const Operand w = c.weight("w", s.blocks * s.k, s.n);
      const Operand b = bias ? c.weight("b", s.blocks * s.n) : Operand{};
      const Operand out = c.act("out", s.m, s.blocks * s.n, 0, 2);
      cases.push_back(c.with(BlockGemm{x, w, b, out, s.m, s.blocks, s.n, s.k}));
    }

  for (int64_t rows : {1, 9}) {
    Case c(fmt::format("row_gate {} rows", rows), dtype);
    const Operand gate = c.act("gate", rows, 1), x = c.act("x", rows, 77, 0, 4);
    cases.push_back(c.with(RowGate{Act::sigmoid, gate, x, x, rows, 77}));
  }
  for (int64_t past : {0, 5}) {
    Case c(fmt::format("soft_cap past {}", past), dtype);
    const Operand x = c.add("logits", Tag::logits, 2 * 8, 101, DType::f32);
    cases.push_back(c.with(SoftCap{x, 4, 101, 0.7F, past, 2 * 101}));
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

// What a router could have chosen: token r's j-th expert is choice(r, j), all different in a row.
struct Routing {
  std::vector<int32_t> token, position, first;
};
template <class Choice>
Routing route(int64_t rows, int64_t experts, int64_t top_k, const Choice& choice) {
  Routing out;
  out.position.resize(static_cast<size_t>(rows * top_k));
  for (int64_t e = 0; e < experts; ++e) {
    out.first.push_back(static_cast<int32_t>(out.token.size()));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = 0; j < top_k; ++j)
        if (choice(r, j) == e) {
          out.position[static_cast<size_t>(r * top_k + j)] = static_cast<int32_t>(out.token.size());
          out.token.push_back(static_cast<int32_t>(r));
        }
  }
  out.first.push_back(static_cast<int32_t>(out.token.size()));
  return out;
}

void add_moe(std::vector<OpCase>& cases, DType dtype) {
  struct Router {
    int64_t rows, experts, top_k, groups, top_groups;
    RouterScore score;
    bool bias, normalize;
    float scale;
  };
  for (const Router& s : {Router{1, 4, 2, 1, 1, RouterScore::softmax, false, true, 1},
                          Router{7, 16, 2, 1, 1, RouterScore::softmax, false, false, 1},
                          Router{33, 5, 5, 1, 1, RouterScore::softmax, false, true, 0.22F},
                          Router{130, 64, 6, 1, 1, RouterScore::softmax, false, true, 1},
                          Router{9, 512, 10, 1, 1, RouterScore::softmax, false, true, 1},
                          Router{19, 8, 2, 1, 1, RouterScore::sigmoid, true, true, 2.5F},
                          Router{19, 24, 4, 4, 2, RouterScore::sigmoid, true, true, 1}}) {
    Case c(fmt::format("route {} rows, {} of {} experts, groups {} of {}", s.rows, s.top_k,
                       s.experts, s.top_groups, s.groups),
           dtype);
    auto f32 = [&](const char* name, int64_t rows, int64_t cols) {
      return c.add(name, Tag::activation, rows, cols, DType::f32);
    };
    auto i32 = [&](const char* name, int64_t rows, int64_t cols) {
      return c.add(name, Tag::activation, rows, cols, DType::i32);
    };
    const Operand logits = f32("logits", s.rows, s.experts);
    const Operand bias = s.bias ? c.weight("bias", s.experts) : Operand{};
    const Operand weights = f32("weights", s.rows, s.top_k);
    const Operand token = i32("token", s.rows * s.top_k, 1);
    const Operand position = i32("position", s.rows, s.top_k);
    const Operand first = i32("first", s.experts + 1, 1);
    cases.push_back(
        c.with(Route{s.score, logits, bias, weights, token, position, first, s.rows, s.experts,
                     s.top_k, s.groups, s.top_groups, s.normalize, s.scale}));
  }

  struct Shape {
    int64_t rows, experts, top_k, n, k;
  };
  for (const Shape& s : {Shape{1, 4, 1, 16, 24}, Shape{1, 8, 3, 37, 50}, Shape{9, 4, 2, 48, 31},
                         Shape{70, 8, 2, 33, 64}, Shape{40, 3, 3, 130, 70}}) {
    // The last expert gets nothing unless it must.
    const int64_t used = std::max(s.top_k, s.experts - 1);
    const Routing routing =
        route(s.rows, s.experts, s.top_k, [&](int64_t r, int64_t j) { return (r * r + j) % used; });
    const int64_t slots = s.rows * s.top_k;
    const std::string shape =
        fmt::format("{} rows, {} of {} experts {}x{}", s.rows, s.top_k, s.experts, s.n, s.k);
    for (bool gather : {true, false}) {
      Case c(fmt::format("expert_gemm {} gather {}", shape, gather), dtype);
      const Operand x = c.act("x", gather ? s.rows : slots, s.k, 0, 3);
      const Operand w = c.projection("w", s.experts * s.n, s.k);
      const Operand scales = c.scales(s.experts * s.n, s.k);
      const Operand token =
          gather ? c.add("token", Tag::activation, slots, 1, DType::i32) : Operand{};
      const Operand first = c.add("first", Tag::activation, s.experts + 1, 1, DType::i32);
      if (gather) c.result.integers[token.tensor] = routing.token;
      c.result.integers[first.tensor] = routing.first;
      const Operand out = c.act("out", slots, s.n);
      cases.push_back(c.with(ExpertGemm{x, w, token, first, out, slots, s.experts, s.n, s.k, scales,
                                        c.group(s.k), c.int8_x()}));
    }
    for (bool accumulate : {true, false}) {
      Case c(fmt::format("combine {} accumulate {}", shape, accumulate), dtype);
      const Operand x = c.act("x", slots, s.n);
      const Operand weights = c.add("weights", Tag::activation, s.rows, s.top_k, DType::f32);
      const Operand position = c.add("position", Tag::activation, s.rows, s.top_k, DType::i32);
      c.result.integers[position.tensor] = routing.position;
      const Operand out = c.act("out", s.rows, s.n, 0, 4);
      cases.push_back(c.with(Combine{x, weights, position, out, s.rows, s.top_k, s.n, accumulate}));
    }
  }
}

void add_attention(std::vector<OpCase>& cases, DType dtype) {
  struct Shape {
    int64_t batch, length, past, heads, kv_heads, head_dim, value_dim, window;
    int64_t sinks = 0;
    bool whole_cache = false;  // a window over the cache of another layer that keeps everything
    float scale = 0.25F;       // a large one lets later keys outweigh all before by 2^30 and more
  };
  const Shape shapes[] = {{1, 1, 0, 4, 2, 16, 16, 0},
                          {2, 7, 0, 4, 2, 16, 16, 0},
                          {2, 7, 9, 4, 2, 16, 16, 0},
                          {1, 37, 0, 7, 1, 8, 8, 0},
                          {2, 1, 36, 8, 1, 8, 8, 0},
                          {1, 70, 65, 4, 4, 64, 64, 0},
                          {1, 200, 131, 6, 2, 64, 64, 0},
                          {2, 150, 0, 3, 1, 72, 40, 0},
                          {1, 5, 130, 2, 1, 128, 128, 0},
                          {1, 19, 3, 6, 3, 24, 40, 0},
                          {2, 1, 300, 14, 2, 64, 64, 0},
                          {1, 20, 0, 4, 2, 16, 16, 8},
                          {2, 20, 13, 4, 2, 16, 16, 8},
                          {2, 1, 50, 4, 2, 16, 32, 8},
                          {1, 3, 5, 4, 2, 16, 16, 8},
                          {1, 1, 0, 4, 2, 16, 16, 8},
                          {1, 9, 30, 4, 2, 16, 32, 64},
                          {1, 130, 200, 3, 1, 32, 32, 100},
                          {2, 20, 0, 4, 2, 16, 32, 8, 5},
                          {2, 7, 3, 4, 2, 16, 32, 8, 5},
                          {1, 20, 13, 4, 2, 16, 32, 8, 5},
                          {2, 1, 50, 4, 2, 16, 32, 8, 5},
                          {1, 90, 200, 5, 1, 32, 64, 70, 128},
                          {1, 1, 300, 5, 1, 64, 128, 70, 128},
                          {2, 6, 30, 4, 2, 16, 16, 8, 5, true},
                          {1, 1, 30, 4, 2, 16, 16, 8, 0, true},
                          {1, 75, 40, 2, 1, 160, 160, 0},
                          {2, 1, 150, 4, 2, 160, 160, 0},
                          {1, 75, 60, 2, 1, 256, 256, 50},
                          {1, 1, 150, 4, 1, 256, 256, 50},
                          {1, 200, 230, 6, 2, 64, 64, 0, 0, false, 4.0F},
                          {1, 1, 430, 6, 1, 64, 64, 0, 0, false, 4.0F},
                          {2, 1, 76, 9, 1, 72, 40, 0},
                          {1, 1, 45, 11, 1, 24, 56, 0},
                          {2, 1, 99, 6, 2, 36, 17, 0},
                          {1, 130, 500, 3, 1, 64, 64, 300, 5, false, 4.0F},
                          {1, 200, 0, 8, 4, 32, 32, 20, 5},
                          {1, 300, 7, 4, 4, 64, 64, 0, 0, false, 4.0F}};
  for (const Shape& s : shapes) {
    const int64_t total = s.past + s.length, rows = s.batch * s.length;
    const bool ring = s.window > 0 && !s.whole_cache;
    const int64_t capacity = ring ? std::min(s.sinks + s.window, total + 3) : total + 3;
    const int64_t q_width = s.heads * s.head_dim, k_width = s.kv_heads * s.head_dim,
                  v_width = s.kv_heads * s.value_dim;
    const std::string shape =
        fmt::format("B{} L{} past {} heads {}/{} dim {}/{} window {} + {}{} scale {}", s.batch,
                    s.length, s.past, s.heads, s.kv_heads, s.head_dim, s.value_dim, s.window,
                    s.sinks, s.whole_cache ? ", whole cache" : "", s.scale);
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
    cases.push_back(attention.with(
        Attention{a.q, windowed ? a.k : Operand{}, windowed ? a.v : Operand{}, a.k_cache, a.v_cache,
                  out, s.batch, s.length, s.past, s.heads, s.kv_heads, s.head_dim, s.value_dim,
                  capacity, s.window, s.scale, s.sinks}));
    Case append("kv_append " + shape, dtype);
    auto k = operands(append);
    cases.push_back(append.with(KvAppend{k.k, k.v, k.k_cache, k.v_cache, s.batch, s.length, s.past,
                                         s.kv_heads, s.head_dim, s.value_dim, capacity, s.sinks}));
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
        for (const auto& [width, biased, silu, channels] : {std::tuple{3, false, false, 45},
                                                            {4, true, true, 45},
                                                            {4, false, true, 45},
                                                            {4, true, false, 45},
                                                            {4, true, true, 64},
                                                            {4, true, true, 130},
                                                            {2, true, true, 7},
                                                            {4, false, false, 3}}) {
          Case c(fmt::format("conv1d B{} L{} past {} width {} bias {} silu {}{}", batch, length,
                             past, width, biased, silu,
                             channels == 45 ? "" : fmt::format(" channels {}", channels)),
                 dtype);
          const Operand x = c.act("x", rows, channels, 5, 3), w = c.weight("w", channels, width);
          const Operand bias = biased ? c.weight("bias", channels) : Operand{};
          const Operand state = c.add("state", Tag::conv_state, batch * channels, width - 1, dtype);
          const Operand out = c.act("out", rows, channels, 0, 2);
          cases.push_back(
              c.with(Conv1d{x, w, bias, state, out, batch, length, past, channels, width, silu}));
        }
        for (const auto& [channels, n] :
             {std::pair<int64_t, int64_t>{37, past == 0 ? 16 : 5}, {279, past == 0 ? 40 : 16}}) {
          Case c(fmt::format("selective_scan B{} L{} past {}{}", batch, length, past,
                             channels == 37 ? "" : fmt::format(" channels {}x{}", channels, n)),
                 dtype);
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
      }

  struct Shape {
    int64_t batch, length, past, heads, head_dim, groups, state, chunk;
    float dt_min, dt_max;
  };
  const Shape shapes[] = {
      {1, 1, 0, 2, 16, 1, 16, 16, 0, 0},         {2, 37, 0, 4, 16, 1, 32, 16, 0, 0},
      {2, 37, 5, 4, 16, 2, 32, 16, 0, 0},        {1, 16, 3, 3, 8, 1, 24, 16, 0, 0},
      {3, 33, 7, 6, 12, 3, 20, 32, 0.01F, 0.2F}, {1, 300, 0, 2, 64, 1, 128, 256, 0, 0},
      {1, 70, 9, 2, 64, 1, 16, 64, 0, 0.1F},     {1, 530, 3, 2, 16, 1, 16, 128, 0, 0},
      {2, 200, 0, 3, 20, 1, 40, 192, 0, 0}};
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
      // Of its own, or within a projection that no convolution follows.
      const int64_t before = s.batch == 3 ? 13 : 0;
      const Operand x = c.act("xbc", rows, inner + 2 * bc, before, before / 2);
      Operand b = x, cc = x;
      b.offset += inner;
      cc.offset += inner + bc;
      const Operand dt = c.act("dt", rows, s.heads, 11);
      const Operand a = c.weight("a_log", s.heads), d = c.weight("d_skip", s.heads);
      const Operand bias = c.weight("dt_bias", s.heads), out = c.act("out", rows, inner);
      const Operand state = c.add("state", Tag::ssm_state, s.batch * inner, s.state, DType::f32);
      cases.push_back(c.with(Ssd{form,       x,        dt,      b,       cc,       a,       d,
                                 bias,       state,    out,     s.batch, s.length, s.past,  s.heads,
                                 s.head_dim, s.groups, s.state, s.chunk, s.dt_min, s.dt_max}));
    }
}

void add_recurrent(std::vector<OpCase>& cases, DType dtype) {
  struct Shape {
    int64_t batch, length, past, key_heads, value_heads, key_dim, value_dim, chunk;
  };
  const Shape shapes[] = {{1, 1, 0, 1, 1, 16, 16, 64},    {2, 37, 0, 2, 4, 16, 16, 64},
                          {2, 37, 5, 2, 4, 16, 24, 16},   {3, 7, 9, 3, 3, 8, 12, 64},
                          {1, 130, 4, 2, 6, 32, 20, 64},  {1, 64, 0, 1, 2, 128, 128, 64},
                          {2, 1, 70, 2, 4, 128, 128, 64}, {2, 150, 5, 1, 2, 128, 128, 64},
                          {1, 99, 0, 1, 1, 128, 64, 64},  {1, 1100, 3, 1, 1, 64, 64, 64}};
  for (const Shape& s : shapes)
    for (SsdForm form : {SsdForm::chunked, SsdForm::recurrence}) {
      Case c(fmt::format("gated_delta {} B{} L{} past {} heads {}/{} of {}/{} chunk {}",
                         form == SsdForm::chunked ? "chunked" : "recurrence", s.batch, s.length,
                         s.past, s.key_heads, s.value_heads, s.key_dim, s.value_dim, s.chunk),
             dtype);
      const int64_t rows = s.batch * s.length, k_width = s.key_heads * s.key_dim;
      const int64_t v_width = s.value_heads * s.value_dim;
      const Operand q = c.act("qkv", rows, 2 * k_width + v_width);
      Operand k = q, v = q;
      k.offset = k_width;
      v.offset = 2 * k_width;
      const Operand beta = c.act("ba", rows, 2 * s.value_heads, 13);
      Operand a = beta;
      a.offset += s.value_heads;
      const Operand a_log = c.weight("a_log", s.value_heads);
      const Operand dt_bias = c.weight("dt_bias", s.value_heads);
      const Operand state = c.add("state", Tag::ssm_state, s.batch * s.value_heads * s.key_dim,
                                  s.value_dim, DType::f32);
      const Operand out = c.act("out", rows, v_width);
      cases.push_back(
          c.with(GatedDelta{form, q, k, v, a, beta, a_log, dt_bias, state, out, s.batch, s.length,
                            s.past, s.key_heads, s.value_heads, s.key_dim, s.value_dim, s.chunk}));
    }
  for (int64_t batch : {1, 3})
    for (int64_t length : {1, 7, 33})
      for (int64_t past : {0, 9}) {
        Case c(fmt::format("rg_lru B{} L{} past {}", batch, length, past), dtype);
        const int64_t rows = batch * length, width = 45;
        const Operand x = c.act("x", rows, width, 5, 3), input = c.act("input_gate", rows, width);
        const Operand recurrent = c.act("recurrent_gate", rows, width, 0, 2);
        const Operand param = c.weight("param", width), out = c.act("out", rows, width);
        const Operand state = c.add("state", Tag::ssm_state, batch * width, 1, DType::f32);
        cases.push_back(
            c.with(RgLru{x, input, recurrent, param, state, out, batch, length, past, width}));
      }
}

}  // namespace

std::vector<OpCase> op_cases(DType dtype) {
  std::vector<OpCase> cases;
  add_dense(cases, dtype);
  add_moe(cases, dtype);
  if (has_int8_weights(dtype)) return cases;  // the others have no projections: as in bf16
  add_attention(cases, dtype);
  add_ssm(cases, dtype);
  add_recurrent(cases, dtype);
  return cases;
}

}  // namespace tidemark
