// Kernels of projections and attention alone on one GPU: matrix-vector products, matrix products,
// prefill and decode attention, and a chain of what a decoded token runs. Each line: what, its
// time, and the share of the limit that its bytes or operations set.
#include <cmath>
#include <cstring>
#include <string>

#include "backend/cuda/attention.h"
#include "backend/cuda/attention_cudnn.h"
#include "backend/cuda/gemm.h"
#include "backend/cuda/gemv.h"
#include "backend/cuda/positions.h"
#include "base/error.h"
#include "device_timer.h"

namespace tidemark::cuda {
namespace {

constexpr double copy_rate = 4.2e12, product_rate = 770e12;  // bytes/s, FLOP/s of an H200

struct Bench {
  Queue queue;
  int sm_count = 0;
  DeviceBuffer past{8}, lengths{64}, workspace{64 << 20};
  void set_position(int64_t position, int32_t length) {
    launch_set_position({past.as<int64_t>(), lengths.as<int32_t>(), 1, length}, position, queue);
    check(cudaStreamSynchronize(queue.stream), "position");
  }
};

std::vector<float> download_bf16(const void* from, int64_t count) {
  std::vector<Bf16> raw(static_cast<size_t>(count));
  check(cudaMemcpy(raw.data(), from, raw.size() * 2, cudaMemcpyDeviceToHost), "download");
  std::vector<float> values(raw.size());
  for (size_t i = 0; i < raw.size(); ++i) values[i] = static_cast<float>(raw[i]);
  return values;
}

double relative_error(const std::vector<float>& out, const std::vector<float>& ref) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < ref.size(); ++i) {
    difference += (out[i] - ref[i]) * static_cast<double>(out[i] - ref[i]);
    size += static_cast<double>(ref[i]) * ref[i];
  }
  return std::sqrt(difference / size);
}

// ---- matrix times vector ----

void bench_gemv(Bench& b) {
  struct Shape {
    const char* what;
    int32_t n, k;
  };
  const Shape shapes[] = {{"qwen0.5 qkv", 1152, 896},       {"qwen0.5 o", 896, 896},
                          {"qwen0.5 gate_up", 9728, 896},   {"qwen0.5 down", 896, 4864},
                          {"mamba2-780 in", 6448, 1536},    {"mamba2-780 out", 1536, 3072},
                          {"mamba-790 in", 6144, 1536},     {"mamba-790 x_proj", 128, 3072},
                          {"mamba-790 dt_proj", 3072, 96},  {"falcon in", 3448, 1024},
                          {"falcon gate_up", 4096, 1024},   {"falcon down", 1024, 2048},
                          {"llama gate_up", 16384, 2048},   {"llama down", 2048, 8192},
                          {"qwen0.5 lm_head", 151936, 896}, {"mamba2 lm_head", 50288, 1536}};
  for (const Shape& s : shapes) {
    const int64_t bytes = int64_t{s.n} * s.k * 2;
    const int copies = static_cast<int>(std::clamp<int64_t>((int64_t{400} << 20) / bytes, 2, 64));
    DeviceBuffer weights(bytes * copies), x(s.k * 2 * 8), out(int64_t{s.n} * 4 * 8);
    weights.randomize(DType::bf16, 0.05F, 1);
    x.randomize(DType::bf16, 1, 2);
    GemvArgs a;
    a.x = x.get(), a.weight = weights.get(), a.out = out.get();
    a.x_stride = a.weight_stride = s.k, a.out_stride = s.n, a.m = 1, a.n = s.n, a.k = s.k;
    a.dtype = a.out_dtype = DType::bf16;
    const auto time = [&](const GemvChoice& choice, const Queue& queue, int m) {
      return median_ms(queue,
                       [&] {
                         for (int i = 0; i < copies; ++i) {
                           GemvArgs copy = a;
                           copy.m = m;
                           copy.weight = weights.as<std::byte>() + i * bytes;
                           launch_gemv(copy, choice, queue);
                         }
                       }) /
             copies * 1e3;
    };
    const GemvChoice chosen = choose_gemv(a, b.sm_count);
    Queue plain = b.queue;
    plain.overlap = false;
    const double floor = static_cast<double>(bytes) / copy_rate * 1e6,
                 us = time(chosen, b.queue, 1);
    fmt::print(
        "gemv {:18} {:6}x{:<5} {:20} {:7.2f} us, floor {:6.2f} ({:3.0f}%), no overlap {:6.2f}, m=4 "
        "{:6.2f}, m=8 {:6.2f} | ",
        s.what, s.n, s.k, name(a, chosen), us, floor, 100 * floor / us, time(chosen, plain, 1),
        time(chosen, b.queue, 4), time(chosen, b.queue, 8));
    for (const GemvChoice& other : {GemvChoice{8, 1, 32, 1},
                                    {8, 1, 32, 2},
                                    {8, 1, 32, 4},
                                    {8, 1, 32, 8},
                                    {8, 2, 32, 1},
                                    {8, 4, 32, 1}})
      fmt::print("r{}k{} {:.2f} ", other.rows, other.warps_on_k, time(other, b.queue, 1));
    fmt::print("\n");
  }
}

// Against the plain kernel, which takes any alignment.
void check_gemv(Bench& b) {
  for (const int32_t m : {1, 2, 3, 8})
    for (const auto& [n, k] : {std::pair{1152, 896},
                               {896, 4864},
                               {50, 3072},
                               {9728, 896},
                               {1001, 96},
                               {37, 8},
                               {4000, 8192}}) {
      DeviceBuffer w(int64_t{n} * k * 2), x(int64_t{m} * 2 * k * 2), out(int64_t{m} * n * 2);
      w.randomize(DType::bf16, 0.05F, 1), x.randomize(DType::bf16, 1, 2);
      GemvArgs a;
      a.x = x.get(), a.weight = w.get(), a.out = out.get(), a.bias = x.get();
      a.x_stride = 2 * k, a.weight_stride = k, a.out_stride = n, a.m = m, a.n = n, a.k = k,
      a.scale = 0.7F;
      a.dtype = a.out_dtype = DType::bf16;
      if (n > 2 * k * m) a.bias = nullptr;
      const auto result = [&](const GemvChoice& choice) {
        check(cudaMemset(out.get(), 0xff, static_cast<size_t>(out.bytes())), "poison");
        launch_gemv(a, choice, b.queue);
        check(cudaStreamSynchronize(b.queue.stream), "gemv");
        return download_bf16(out.get(), int64_t{m} * n);
      };
      const double error = relative_error(result(choose_gemv(a, b.sm_count)), result({}));
      if (!(error < 1e-3)) fmt::print("check gemv {}x{}x{}: {:.1e} WRONG\n", m, n, k, error);
    }
  fmt::print("check gemv done\n");
}

// ---- matrix products ----

void bench_gemm(Bench& b) {
  struct Shape {
    const char* what;
    int64_t m, n, k;
  };
  for (const Shape& s : {Shape{"qwen0.5 qkv", 8192, 1152, 896},
                         {"qwen0.5 o", 8192, 896, 896},
                         {"qwen0.5 gate_up", 8192, 9728, 896},
                         {"qwen0.5 down", 8192, 896, 4864},
                         {"mamba2-780 in", 8192, 6448, 1536},
                         {"mamba2-780 out", 8192, 1536, 3072},
                         {"mamba2-780 in", 1024, 6448, 1536},
                         {"mamba2-780 out", 1024, 1536, 3072},
                         {"llama gate_up", 8192, 16384, 2048},
                         {"llama down", 8192, 2048, 8192},
                         {"square", 8192, 8192, 8192}}) {
    DeviceBuffer x(s.m * s.k * 2), w(s.n * s.k * 2), out(s.m * s.n * 2);
    x.randomize(DType::bf16, 1, 1), w.randomize(DType::bf16, 0.05F, 2),
        out.randomize(DType::bf16, 1, 3);
    GemmLibrary timed, first;
    GemmArgs a{x.get(), w.get(), nullptr, out.get(), s.k,   s.k,         s.n,
               s.m,     s.n,     s.k,     1,         false, DType::bf16, DType::bf16};
    const int64_t workspace = gemm_workspace_bytes(s.m, s.n);
    timed.prepare(a, b.workspace.get(), workspace, b.queue);
    const auto time = [&](GemmLibrary& library) {
      return median_ms(
                 b.queue,
                 [&] {
                   for (int i = 0; i < 4; ++i)
                     library.run(a, b.workspace.get(), workspace, b.queue);
                 },
                 5) /
             4;
    };
    const double flop =
        2.0 * static_cast<double>(s.m) * static_cast<double>(s.n) * static_cast<double>(s.k);
    const double ms = time(timed), untimed = time(first);
    fmt::print(
        "gemm {:15} {}x{}x{}: {:.3f} ms {:.0f} TFLOP/s ({:.0f}%) {}; heuristic's first {:.3f} ms\n",
        s.what, s.m, s.n, s.k, ms, flop / ms * 1e-9, flop / ms * 1e3 / product_rate * 100,
        timed.describe(a), untimed);
  }
}

// ---- attention ----

struct Heads {
  const char* what;
  int32_t heads, kv_heads, head_dim, value_dim;
};

struct AttentionProblem {
  DeviceBuffer qkv, k_cache, v_cache, out;
  AttentionArgs args;
  AttentionProblem(Bench& b, const Heads& h, int32_t length, int64_t capacity, int64_t window,
                   int copies = 1)
      : qkv(int64_t{length} * width(h) * 2),
        k_cache(int64_t{h.kv_heads} * capacity * h.head_dim * 2 * copies),
        v_cache(int64_t{h.kv_heads} * capacity * h.value_dim * 2 * copies),
        out(int64_t{length} * h.heads * h.value_dim * 2) {
    qkv.randomize(DType::bf16, 1.5F, 11), k_cache.randomize(DType::bf16, 1.5F, 12),
        v_cache.randomize(DType::bf16, 1, 13);
    check(cudaMemset(out.get(), 0xff, static_cast<size_t>(out.bytes())), "poison");
    args.q = qkv.get();
    args.k = qkv.as<Bf16>() + h.heads * h.head_dim;
    args.v = qkv.as<Bf16>() + h.heads * h.head_dim + h.kv_heads * h.head_dim;
    args.k_cache = k_cache.get(), args.v_cache = v_cache.get(), args.out = out.get();
    args.q_stride = args.k_stride = args.v_stride = width(h);
    args.out_stride = int64_t{h.heads} * h.value_dim;
    args.past = b.past.as<int64_t>();
    args.capacity = capacity, args.window = window;
    args.batch = 1, args.length = length, args.heads = h.heads, args.kv_heads = h.kv_heads;
    args.head_dim = h.head_dim, args.value_dim = h.value_dim;
    args.scale = 1.0F / std::sqrt(static_cast<float>(h.head_dim)), args.dtype = DType::bf16;
    args.workspace = b.workspace.as<float>();
  }
  static int64_t width(const Heads& h) {
    return int64_t{h.heads} * h.head_dim + int64_t{h.kv_heads} * (h.head_dim + h.value_dim);
  }
  std::vector<float> result() const { return download_bf16(out.get(), out.bytes() / 2); }
};

void check_attention(Bench& b, CudnnAttention& cudnn) {
  struct Case {
    Heads heads;
    int32_t length;
    int64_t past, capacity, window;
  };
  for (const Case& c : {Case{{"qwen", 14, 2, 64, 64}, 200, 0, 300, 0},
                        {{"qwen", 14, 2, 64, 64}, 200, 333, 1000, 0},
                        {{"phi", 4, 4, 96, 96}, 130, 77, 300, 0},
                        {{"zamba", 4, 4, 128, 128}, 257, 100, 400, 0},
                        {{"hymba", 5, 1, 64, 128}, 300, 500, 1000, 0},
                        {{"ring", 5, 1, 64, 128}, 300, 500, 128, 128},
                        {{"ring", 14, 2, 64, 64}, 300, 500, 256, 256},
                        {{"qwen", 14, 2, 64, 64}, 1, 777, 1000, 0},
                        {{"qwen", 14, 2, 64, 64}, 1, 0, 1000, 0},
                        {{"llama", 32, 8, 64, 64}, 1, 5000, 8192, 0},
                        {{"mqa", 32, 1, 128, 128}, 1, 300, 400, 0},
                        {{"phi", 4, 4, 96, 96}, 1, 555, 600, 0},
                        {{"wide", 4, 2, 256, 256}, 1, 555, 600, 0},
                        {{"ring", 5, 1, 64, 128}, 1, 500, 128, 128},
                        {{"ring", 5, 1, 64, 128}, 1, 3, 128, 128}}) {
    AttentionProblem p(b, c.heads, c.length, c.capacity, c.window);
    b.set_position(c.past, c.length);
    launch_attention_plain(p.args, b.queue);
    check(cudaStreamSynchronize(b.queue.stream), "plain");
    const std::vector<float> expected = p.result();
    std::string line;
    const auto compare = [&](const char* what, const std::function<void()>& run) {
      check(cudaMemset(p.out.get(), 0xff, static_cast<size_t>(p.out.bytes())), "poison");
      run();
      check(cudaStreamSynchronize(b.queue.stream), what);
      line += fmt::format(" {} {:.1e}", what, relative_error(p.result(), expected));
    };
    if (attention_tiled_supports(p.args))
      compare("tiled", [&] { launch_attention_tiled(p.args, b.queue); });
    if (attention_split_supports(p.args))
      compare("split", [&] {
        launch_attention_split(p.args, attention_splits(p.args, b.sm_count), b.queue);
      });
    if (c.window == 0 && c.length > 1) {
      AttentionArgs exact = p.args;
      exact.exact_past = c.past;
      if (cudnn.supports(exact))
        compare("cudnn exact", [&] { cudnn.run(exact, nullptr, b.workspace.get(), b.queue); });
      else
        line += " exact refused: " + cudnn.why_not();
      if (cudnn.supports(p.args))
        compare("cudnn",
                [&] { cudnn.run(p.args, b.lengths.as<int32_t>(), b.workspace.get(), b.queue); });
      else
        line += " cudnn refused: " + cudnn.why_not();
    }
    fmt::print("check attention {} {}/{} dim {}/{} length {} past {} window {}:{}\n", c.heads.what,
               c.heads.heads, c.heads.kv_heads, c.heads.head_dim, c.heads.value_dim, c.length,
               c.past, c.window, line);
  }
}

void bench_prefill(Bench& b, CudnnAttention& cudnn) {
  struct Case {
    Heads heads;
    int32_t length;
    int64_t past, capacity;
  };
  for (const Case& c : {Case{{"qwen0.5", 14, 2, 64, 64}, 1024, 0, 1056},
                        {{"qwen0.5", 14, 2, 64, 64}, 8192, 0, 8224},
                        {{"qwen0.5", 14, 2, 64, 64}, 8192, 49152, 57376},
                        {{"qwen0.5", 14, 2, 64, 64}, 8192, 49152, 131104},
                        {{"qwen0.5", 14, 2, 64, 64}, 57344, 0, 57376},
                        {{"llama1b", 32, 8, 64, 64}, 8192, 0, 8224},
                        {{"falcon", 8, 2, 64, 64}, 8192, 0, 8224},
                        {{"zamba", 32, 32, 128, 128}, 8192, 0, 8224}}) {
    AttentionProblem p(b, c.heads, c.length, c.capacity, 0);
    b.set_position(c.past, c.length);
    const double seen =
        static_cast<double>(c.length) * (static_cast<double>(c.past) + c.length / 2.0);
    const double flop = 2.0 * seen * c.heads.heads * (c.heads.head_dim + c.heads.value_dim);
    const auto report = [&](const char* what, double ms) {
      fmt::print(" {} {:.3f} ms {:.0f} TFLOP/s ({:.0f}%)", what, ms, flop / ms * 1e-9,
                 flop / ms * 1e3 / product_rate * 100);
    };
    fmt::print("prefill {} {}/{}x{} length {} past {} capacity {}:", c.heads.what, c.heads.heads,
               c.heads.kv_heads, c.heads.head_dim, c.length, c.past, c.capacity);
    if (cudnn.supports(p.args)) {
      fmt::print(" [workspace {}]", cudnn.workspace_bytes(p.args));
      report(
          "cudnn",
          median_ms(
              b.queue,
              [&] { cudnn.run(p.args, b.lengths.as<int32_t>(), b.workspace.get(), b.queue); }, 3));
      AttentionArgs exact = p.args;
      exact.exact_past = c.past;
      if (cudnn.supports(exact))
        report(
            "exact",
            median_ms(
                b.queue,
                [&] { cudnn.run(exact, b.lengths.as<int32_t>(), b.workspace.get(), b.queue); }, 3));
      else
        fmt::print(" exact refused: {}", cudnn.why_not());
    } else {
      fmt::print(" cudnn refused: {};", cudnn.why_not());
    }
    report("tiled", median_ms(
                        b.queue, [&] { launch_attention_tiled(p.args, b.queue); }, 3));
    fmt::print("\n");
  }
}

void bench_decode(Bench& b) {
  for (const Heads& h : {Heads{"qwen0.5", 14, 2, 64, 64},
                         {"llama1b", 32, 8, 64, 64},
                         {"falcon", 8, 2, 64, 64},
                         {"zamba", 32, 32, 128, 128}})
    for (int64_t keys : {int64_t{1024}, int64_t{8192}, int64_t{65536}, int64_t{262144}}) {
      const int64_t bytes = keys * h.kv_heads * (h.head_dim + h.value_dim) * 2;
      const int copies = static_cast<int>(std::clamp<int64_t>((int64_t{300} << 20) / bytes, 1, 24));
      AttentionProblem p(b, h, 1, keys, 0, copies);
      b.set_position(keys - 1, 1);
      const int32_t chosen = attention_splits(p.args, b.sm_count);
      const auto time = [&](int32_t splits) {
        return median_ms(
                   b.queue,
                   [&] {
                     for (int i = 0; i < copies; ++i) {
                       AttentionArgs a = p.args;
                       a.k_cache = p.k_cache.as<std::byte>() + i * (p.k_cache.bytes() / copies);
                       a.v_cache = p.v_cache.as<std::byte>() + i * (p.v_cache.bytes() / copies);
                       launch_attention_split(a, splits, b.queue);
                     }
                   }) /
               copies * 1e3;
      };
      const double floor = static_cast<double>(bytes) / copy_rate * 1e6, us = time(chosen);
      fmt::print("decode {} {}/{}x{} keys {}: {} splits {:.2f} us, floor {:.2f} ({:.0f}%) |",
                 h.what, h.heads, h.kv_heads, h.head_dim, keys, chosen, us, floor,
                 100 * floor / us);
      for (int32_t splits : {chosen / 4, chosen / 2, chosen * 2, chosen * 4})
        if (splits >= 1 && splits <= 1024) fmt::print(" {}: {:.2f}", splits, time(splits));
      fmt::print("\n");
    }
}

// What a token of Qwen2.5-0.5B runs, less norms; the gated unit as an epilogue or left out.
void bench_chain(Bench& b) {
  const Heads h{"qwen0.5", 14, 2, 64, 64};
  const int layers = 24;
  const int64_t keys = 8192;
  DeviceBuffer weights(int64_t{layers} * (1152 * 896 + 896 * 896 + 9728 * 896 + 896 * 4864) * 2 +
                       int64_t{151936} * 896 * 2);
  weights.randomize(DType::bf16, 0.02F, 1);
  DeviceBuffer x(8192 * 2), wide(16384 * 2), logits(151936 * 4), ids(4096 * 64), slots(64);
  x.randomize(DType::bf16, 1, 2), wide.randomize(DType::bf16, 1, 3);
  check(cudaMemset(slots.get(), 0, 64), "slots");
  AttentionProblem p(b, h, 1, keys + 1, 0, layers);
  b.set_position(keys, 1);
  for (const int mode : {0, 1, 2}) {
    Queue queue = b.queue;
    const bool overlap = mode > 0, fused = mode > 1;
    queue.overlap = overlap;
    const double ms = median_ms(
        queue,
        [&] {
          const std::byte* at = weights.as<std::byte>();
          const auto product = [&](const void* from, void* to, int32_t n, int32_t k,
                                   bool accumulate, DType out, bool glu = false) {
            GemvArgs a;
            a.x = from, a.weight = at, a.out = to, a.x_stride = a.weight_stride = k,
            a.out_stride = n;
            a.m = 1, a.n = n, a.k = k, a.accumulate = accumulate, a.dtype = DType::bf16,
            a.out_dtype = out;
            a.tail = glu ? GemvTail::glu : GemvTail::none;
            launch_gemv(a, choose_gemv(a, b.sm_count), queue);
            at += int64_t{n} * k * 2;
          };
          for (int i = 0; i < layers; ++i) {
            AttentionArgs a = p.args;
            a.k_cache = p.k_cache.as<std::byte>() + i * (p.k_cache.bytes() / layers);
            a.v_cache = p.v_cache.as<std::byte>() + i * (p.v_cache.bytes() / layers);
            product(x.get(), p.qkv.get(), 1152, 896, false, DType::bf16);
            RopeArgs r;
            r.q = p.qkv.get(), r.k = const_cast<void*>(a.k), r.v = a.v;
            r.k_cache = const_cast<void*>(a.k_cache), r.v_cache = const_cast<void*>(a.v_cache);
            r.past = a.past, r.q_stride = r.k_stride = r.v_stride = 1152, r.capacity = a.capacity;
            r.batch = 1, r.length = 1, r.heads = 14, r.kv_heads = 2, r.head_dim = 64,
            r.value_dim = 64, r.pairs = 32;
            r.dtype = DType::bf16;
            launch_rope(r, queue);
            launch_attention_split(a, attention_splits(a, b.sm_count), queue);
            product(p.out.get(), x.get(), 896, 896, true, DType::bf16);
            product(x.get(), wide.get(), 9728, 896, false, DType::bf16, fused);
            product(wide.get(), x.get(), 896, 4864, true, DType::bf16);
          }
          product(x.get(), logits.get(), 151936, 896, false, DType::f32);
          launch_argmax({logits.as<float>(), ids.as<int32_t>(), slots.as<ArgmaxSlot>(),
                         b.past.as<int64_t>(), 151936, 16000, 1, 1, 151936},
                        queue);
        },
        30);
    const double bytes =
        static_cast<double>(weights.bytes()) + static_cast<double>(keys) * layers * 2 * 128 * 2;
    fmt::print(
        "chain of a Qwen2.5-0.5B token at 8K, {} launches, overlap {}, with SwiGLU {}: "
        "{:.3f} ms, floor {:.3f} ms\n",
        layers * 6 + 2, overlap, fused, ms, bytes / copy_rate * 1e3);
  }
}

void copy_speed(Bench& b) {
  DeviceBuffer from(int64_t{4} << 30), to(int64_t{4} << 30);
  from.randomize(DType::bf16, 1, 1);
  const double ms = median_ms(b.queue, [&] {
    check(cudaMemcpyAsync(to.get(), from.get(), static_cast<size_t>(from.bytes()),
                          cudaMemcpyDeviceToDevice, b.queue.stream),
          "copy");
  });
  fmt::print("copy {:.2f} TB/s, read and written\n",
             2.0 * static_cast<double>(from.bytes()) / ms * 1e-9);
}

}  // namespace

void run(const std::string& what) {
  Bench b;
  check(cudaStreamCreate(&b.queue.stream), "stream");
  b.queue.overlap = true;
  check(cudaDeviceGetAttribute(&b.sm_count, cudaDevAttrMultiProcessorCount, 0), "device");
  CudnnAttention cudnn;
  fmt::print("{} {}\n", GemmLibrary::version(),
             cudnn.version().empty() ? cudnn.why_not() : cudnn.version());
  const auto wanted = [&](const char* name) {
    return what == "all" || what.find(name) != std::string::npos;
  };
  if (wanted("check")) check_gemv(b);
  if (wanted("check")) check_attention(b, cudnn);
  if (wanted("copy")) copy_speed(b);
  if (wanted("chain")) bench_chain(b);
  if (wanted("prefill")) bench_prefill(b, cudnn);
  if (wanted("decode")) bench_decode(b);
  if (wanted("gemm")) bench_gemm(b);
  if (wanted("gemv")) bench_gemv(b);
}

}  // namespace tidemark::cuda

int main(int argc, char** argv) {
  try {
    std::setvbuf(stdout, nullptr, _IOLBF, 1 << 14);
    tidemark::cuda::run(argc > 1 ? argv[1] : "all");
  } catch (const tidemark::Error& error) {
    fmt::print("attn_bench: {}\n", error.what());
    return 1;
  }
}
