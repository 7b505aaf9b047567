// Checks every kernel of state-space models, norms and elementwise operators against scalar double
// references, then times their variants. One command does all; needs nothing but a GPU:
//   ssm_bench [check|time|decode ...]
// Inputs are drawn anew for every case, outputs are poisoned before every run, a state that counts
// as zero is poisoned too. Times are medians over rotating buffers larger than the L2 together.
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/cuda/conv1d.h"
#include "backend/cuda/gated_norm.h"
#include "backend/cuda/glu.h"
#include "backend/cuda/norm.h"
#include "backend/cuda/selective_scan.h"
#include "backend/cuda/ssd.h"

using namespace tidemark;
using namespace tidemark::cuda;

namespace {

int sm_count = 0;
int failures = 0;

struct Memory {
  explicit Memory(int64_t bytes) : bytes(bytes) {
    check(cudaMalloc(&data, static_cast<size_t>(std::max<int64_t>(bytes, 16))), "cudaMalloc");
  }
  Memory(const Memory&) = delete;
  ~Memory() { cudaFree(data); }
  void poison() const { check(cudaMemset(data, 0xff, static_cast<size_t>(bytes)), "poison"); }
  void* data = nullptr;
  int64_t bytes;
};

uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}
uint64_t seed = 1;
// Roughly normal: the sum of four uniforms.
float draw() {
  const uint64_t u = mix(seed++);
  float s = 0;
  for (int i = 0; i < 4; ++i) s += static_cast<float>((u >> (16 * i)) & 0xffff) / 65536.0F - 0.5F;
  return s * 1.732F;
}
float rounded(float x, DType dtype) {
  return dtype == DType::bf16 ? __bfloat162float(__float2bfloat16(x)) : x;
}
int64_t bytes_of(DType dtype) {
  return dtype == DType::bf16 ? 2 : 4;
}

// [rows, cols] on both sides; `stride` elements between rows on the device.
struct Tensor {
  Tensor(int64_t rows, int64_t cols, DType dtype, int64_t pad = 0)
      : rows(rows),
        cols(cols),
        stride(cols + pad),
        dtype(dtype),
        host(rows * cols),
        memory(rows * stride * bytes_of(dtype)) {}
  Tensor& random(float scale, float shift = 0) {
    for (float& v : host) v = rounded(shift + scale * draw(), dtype);
    upload();
    return *this;
  }
  void upload() const {
    std::vector<uint16_t> half;
    std::vector<float> full;
    const float nan = std::nanf("");
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < stride; ++c) {
        const float v = c < cols ? host[r * cols + c] : nan;
        if (dtype == DType::bf16) {
          const __nv_bfloat16 b = __float2bfloat16(v);
          uint16_t bits;
          std::memcpy(&bits, &b, 2);
          half.push_back(bits);
        } else {
          full.push_back(v);
        }
      }
    const void* from = dtype == DType::bf16 ? static_cast<const void*>(half.data()) : full.data();
    check(cudaMemcpy(memory.data, from, static_cast<size_t>(memory.bytes), cudaMemcpyHostToDevice),
          "upload");
  }
  void download() {
    std::vector<unsigned char> raw(memory.bytes);
    check(cudaMemcpy(raw.data(), memory.data, raw.size(), cudaMemcpyDeviceToHost), "download");
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) {
        const int64_t at = r * stride + c;
        if (dtype == DType::bf16) {
          uint32_t bits = reinterpret_cast<uint16_t*>(raw.data())[at];
          bits <<= 16;
          std::memcpy(&host[r * cols + c], &bits, 4);
        } else {
          host[r * cols + c] = reinterpret_cast<float*>(raw.data())[at];
        }
      }
  }
  void* data() const { return memory.data; }
  int64_t rows, cols, stride;
  DType dtype;
  std::vector<float> host;
  Memory memory;
};

double relative_error(const std::vector<float>& out, const std::vector<double>& ref) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < ref.size(); ++i) {
    difference += (out[i] - ref[i]) * (out[i] - ref[i]);
    norm += ref[i] * ref[i];
  }
  return std::sqrt(difference / std::max(norm, 1e-300));
}
void judge(const std::string& what, DType dtype, double error, double bound) {
  const bool good = error <= bound;  // false for NaN
  if (!good) ++failures;
  std::printf("%-4s %-76s %-4s error %.2e, bound %.0e\n", good ? "ok" : "FAIL", what.c_str(),
              dtype == DType::bf16 ? "bf16" : "f32", error, bound);
}
std::string text(const char* format, auto... values) {
  char line[256];
  std::snprintf(line, sizeof line, format, values...);
  return line;
}

const Queue queue{};

void finish(const char* what) {
  check(cudaGetLastError(), what);
  check(cudaDeviceSynchronize(), what);
}

Memory& past_memory() {
  static Memory* memory = new Memory(8);
  return *memory;
}
const int64_t* past_of(int64_t past) {
  check(cudaMemcpy(past_memory().data, &past, 8, cudaMemcpyHostToDevice), "past");
  return static_cast<const int64_t*>(past_memory().data);
}

// Rows [batch, begin..end) of [batch, length] rows.
std::vector<float> slice(const std::vector<float>& from, int64_t batch, int64_t length,
                         int64_t cols, int64_t begin, int64_t end) {
  std::vector<float> to;
  for (int64_t b = 0; b < batch; ++b)
    to.insert(to.end(), from.begin() + (b * length + begin) * cols,
              from.begin() + (b * length + end) * cols);
  return to;
}
void unslice(std::vector<float>& to, const std::vector<float>& from, int64_t batch, int64_t length,
             int64_t cols, int64_t begin, int64_t end) {
  for (int64_t b = 0; b < batch; ++b)
    std::copy(from.begin() + b * (end - begin) * cols,
              from.begin() + (b + 1) * (end - begin) * cols,
              to.begin() + (b * length + begin) * cols);
}

double softplus(double x) {
  return x > 30 ? x : std::log1p(std::exp(x));
}
double silu(double x) {
  return x / (1 + std::exp(-x));
}

// ------------------------------------------------------------------------------------------- ssd

struct SsdCase {
  int64_t batch, length;
  int32_t heads, head_dim, groups, state_size;
  float dt_min = 0, dt_max = 0;
  std::vector<int64_t> cuts = {};         // lengths of the calls; empty: one
  int heads_per_block = 0, segments = 0;  // 0: chosen
  bool chunked = true;
  float dt_shift = -2;
};

void check_ssd(const SsdCase& k, DType dtype) {
  const int64_t rows = k.batch * k.length, width = int64_t{k.heads} * k.head_dim,
                bc = int64_t{k.groups} * k.state_size;
  Tensor a_log(1, k.heads, dtype), d_skip(1, k.heads, dtype), dt_bias(1, k.heads, dtype);
  a_log.random(1, 0.5F), d_skip.random(1), dt_bias.random(1, k.dt_shift);
  std::vector<float> x(rows * width), dt(rows * k.heads), b(rows * bc), c(rows * bc);
  for (auto* v : {&x, &dt, &b, &c})
    for (float& f : *v) f = rounded(draw(), dtype);

  std::vector<double> ref(rows * width), state_ref(k.batch * width * k.state_size);
  for (int64_t s = 0; s < k.batch; ++s)
    for (int64_t h = 0; h < k.heads; ++h) {
      const int64_t g = h / (k.heads / k.groups);
      double* state = &state_ref[(s * k.heads + h) * k.head_dim * k.state_size];
      for (int64_t t = 0; t < k.length; ++t) {
        const int64_t r = s * k.length + t;
        double d = softplus(double{dt[r * k.heads + h]} + dt_bias.host[h]);
        d = std::max<double>(d, k.dt_min);
        if (k.dt_max > 0) d = std::min<double>(d, k.dt_max);
        const double decay = std::exp(-d * std::exp(double{a_log.host[h]}));
        for (int64_t p = 0; p < k.head_dim; ++p) {
          const double xv = x[r * width + h * k.head_dim + p];
          double y = d_skip.host[h] * xv;
          for (int64_t n = 0; n < k.state_size; ++n) {
            double& e = state[p * k.state_size + n];
            e = decay * e + d * xv * b[r * bc + g * k.state_size + n];
            y += c[r * bc + g * k.state_size + n] * e;
          }
          ref[r * width + h * k.head_dim + p] = y;
        }
      }
    }

  Tensor state(1, k.batch * width * k.state_size, DType::f32);
  state.memory.poison();
  std::vector<float> got(rows * width);
  std::string ran;
  int64_t past = 0;
  for (const int64_t length : k.cuts.empty() ? std::vector<int64_t>{k.length} : k.cuts) {
    const int64_t n = k.batch * length, pad = 8;
    Tensor xs(n, width, dtype, pad), dts(n, k.heads, dtype, 3), bs(n, bc, dtype, pad),
        cs(n, bc, dtype, 2 * pad), out(n, width, dtype, pad);
    xs.host = slice(x, k.batch, k.length, width, past, past + length), xs.upload();
    dts.host = slice(dt, k.batch, k.length, k.heads, past, past + length), dts.upload();
    bs.host = slice(b, k.batch, k.length, bc, past, past + length), bs.upload();
    cs.host = slice(c, k.batch, k.length, bc, past, past + length), cs.upload();
    out.memory.poison();
    SsdArgs a;
    a.x = xs.data(), a.dt = dts.data(), a.b = bs.data(), a.c = cs.data(), a.out = out.data();
    a.a_log = a_log.data(), a.d_skip = d_skip.data(), a.dt_bias = dt_bias.data();
    a.state = static_cast<float*>(state.data()), a.past_ptr = past_of(past);
    a.x_stride = xs.stride, a.dt_stride = dts.stride, a.b_stride = bs.stride,
    a.c_stride = cs.stride;
    a.out_stride = out.stride, a.batch = k.batch, a.length = length;
    a.heads = k.heads, a.head_dim = k.head_dim, a.groups = k.groups, a.state_size = k.state_size;
    a.dt_min = k.dt_min, a.dt_max = k.dt_max, a.dtype = dtype;
    SsdChoice choice = choose_ssd(a, k.chunked, sm_count);
    if (choice.kernel == SsdKernel::blocks && k.segments > 0) choice.segments = k.segments;
    if (choice.kernel == SsdKernel::blocks && k.heads_per_block > 0)
      choice.heads_per_block = k.heads_per_block;
    ran += (ran.empty() ? "" : " + ") + name(choice);
    Memory workspace(static_cast<int64_t>(ssd_workspace_bytes(a, choice)));
    workspace.poison();
    launch_ssd(a, choice, workspace.data, queue);
    finish("ssd");
    out.download();
    unslice(got, out.host, k.batch, k.length, width, past, past + length);
    past += length;
  }
  state.download();
  const std::string what =
      text("ssd %lldx%lld h%d p%d g%d n%d [%s]", (long long)k.batch, (long long)k.length, k.heads,
           k.head_dim, k.groups, k.state_size, ran.substr(0, 60).c_str());
  const bool half = dtype == DType::bf16;
  judge(what, dtype, relative_error(got, ref), half ? 6e-3 : 1e-5);
  judge("  its state", dtype, relative_error(state.host, state_ref),
        half ? (k.chunked ? 5e-3 : 1e-4) : 1e-5);
}

// ------------------------------------------------------------------------------- selective scan

struct ScanCase {
  int64_t batch, length;
  int32_t channels, state_size;
  std::vector<int64_t> cuts = {};
  int channels_per_block = 0;
  int64_t pad = 8;
};

void check_scan(const ScanCase& k, DType dtype) {
  const int64_t rows = k.batch * k.length, width = k.channels, bc = k.state_size;
  Tensor a_log(k.channels, k.state_size, dtype), d_skip(1, k.channels, dtype),
      dt_bias(1, k.channels, dtype);
  a_log.random(1, 0.5F), d_skip.random(1), dt_bias.random(1, -3);
  std::vector<float> x(rows * width), dt(rows * width), z(rows * width), b(rows * bc), c(rows * bc);
  for (auto* v : {&x, &dt, &z, &b, &c})
    for (float& f : *v) f = rounded(draw(), dtype);
  std::vector<double> ref(rows * width), state_ref(k.batch * width * bc);
  for (int64_t s = 0; s < k.batch; ++s)
    for (int64_t j = 0; j < width; ++j)
      for (int64_t t = 0; t < k.length; ++t) {
        const int64_t r = s * k.length + t;
        const double d = softplus(double{dt[r * width + j]} + dt_bias.host[j]),
                     xv = x[r * width + j];
        double y = d_skip.host[j] * xv;
        for (int64_t n = 0; n < bc; ++n) {
          double& h = state_ref[(s * width + j) * bc + n];
          h = std::exp(-d * std::exp(double{a_log.host[j * bc + n]})) * h + d * xv * b[r * bc + n];
          y += c[r * bc + n] * h;
        }
        ref[r * width + j] = y * silu(z[r * width + j]);
      }
  Tensor state(1, k.batch * width * bc, DType::f32);
  state.memory.poison();
  std::vector<float> got(rows * width);
  std::string ran;
  int64_t past = 0;
  for (const int64_t length : k.cuts.empty() ? std::vector<int64_t>{k.length} : k.cuts) {
    const int64_t n = k.batch * length;
    Tensor xs(n, width, dtype, k.pad), dts(n, width, dtype, k.pad), zs(n, width, dtype, 2 * k.pad),
        bs(n, bc, dtype, k.pad), cs(n, bc, dtype, k.pad), out(n, width, dtype, k.pad);
    xs.host = slice(x, k.batch, k.length, width, past, past + length), xs.upload();
    dts.host = slice(dt, k.batch, k.length, width, past, past + length), dts.upload();
    zs.host = slice(z, k.batch, k.length, width, past, past + length), zs.upload();
    bs.host = slice(b, k.batch, k.length, bc, past, past + length), bs.upload();
    cs.host = slice(c, k.batch, k.length, bc, past, past + length), cs.upload();
    out.memory.poison();
    SelectiveScanArgs a;
    a.x = xs.data(), a.dt = dts.data(), a.b = bs.data(), a.c = cs.data(), a.z = zs.data(),
    a.out = out.data();
    a.a_log = a_log.data(), a.d_skip = d_skip.data(), a.dt_bias = dt_bias.data();
    a.state = static_cast<float*>(state.data()), a.past_ptr = past_of(past);
    a.x_stride = xs.stride, a.dt_stride = dts.stride, a.b_stride = bs.stride,
    a.c_stride = cs.stride;
    a.z_stride = zs.stride, a.out_stride = out.stride, a.batch = k.batch, a.length = length;
    a.channels = k.channels, a.state_size = k.state_size, a.dtype = dtype;
    SelectiveScanChoice choice = choose_selective_scan(a, sm_count);
    if (k.channels_per_block > 0) choice.channels_per_block = k.channels_per_block;
    ran += (ran.empty() ? "" : " + ") + name(choice);
    launch_selective_scan(a, choice, queue);
    finish("selective scan");
    out.download();
    unslice(got, out.host, k.batch, k.length, width, past, past + length);
    past += length;
  }
  state.download();
  const std::string what =
      text("scan %lldx%lld c%d n%d [%s]", (long long)k.batch, (long long)k.length, k.channels,
           k.state_size, ran.substr(15, 50).c_str());
  judge(what, dtype, relative_error(got, ref), dtype == DType::bf16 ? 3e-3 : 1e-5);
  judge("  its state", dtype, relative_error(state.host, state_ref),
        dtype == DType::bf16 ? 1e-4 : 1e-5);
}

// ---------------------------------------------------------------------------------------- conv1d

struct ConvCase {
  int64_t batch, length;
  int32_t channels, width;
  bool silu, bias;
  std::vector<int64_t> cuts = {};
  int run = 0;
  int64_t pad = 8;
};

void check_conv(const ConvCase& k, DType dtype) {
  const int64_t rows = k.batch * k.length, cols = k.channels;
  Tensor weight(k.channels, k.width, dtype), bias(1, k.channels, dtype);
  weight.random(1), bias.random(1);
  std::vector<float> x(rows * cols);
  for (float& f : x) f = rounded(draw(), dtype);
  std::vector<double> ref(rows * cols), state_ref(k.batch * cols * (k.width - 1));
  for (int64_t s = 0; s < k.batch; ++s)
    for (int64_t j = 0; j < cols; ++j) {
      const auto input = [&](int64_t t) {
        return t < 0 ? 0.0 : double{x[(s * k.length + t) * cols + j]};
      };
      for (int64_t t = 0; t < k.length; ++t) {
        double y = k.bias ? bias.host[j] : 0;
        for (int64_t i = 0; i < k.width; ++i)
          y += weight.host[j * k.width + i] * input(t - (k.width - 1) + i);
        ref[(s * k.length + t) * cols + j] = k.silu ? silu(y) : y;
      }
      for (int64_t i = 0; i < k.width - 1; ++i)
        state_ref[(s * cols + j) * (k.width - 1) + i] = input(k.length - (k.width - 1) + i);
    }
  Tensor state(k.batch * cols, k.width - 1, dtype);
  state.memory.poison();
  std::vector<float> got(rows * cols);
  int64_t past = 0;
  Conv1dChoice choice;
  for (const int64_t length : k.cuts.empty() ? std::vector<int64_t>{k.length} : k.cuts) {
    const int64_t n = k.batch * length;
    Tensor xs(n, cols, dtype, k.pad), out(n, cols, dtype, 2 * k.pad);
    xs.host = slice(x, k.batch, k.length, cols, past, past + length), xs.upload();
    out.memory.poison();
    Conv1dArgs a;
    a.x = xs.data(), a.weight = weight.data(), a.bias = k.bias ? bias.data() : nullptr,
    a.state = state.data();
    a.out = out.data(), a.past_ptr = past_of(past), a.x_stride = xs.stride,
    a.out_stride = out.stride;
    a.batch = k.batch, a.length = length, a.channels = k.channels, a.width = k.width,
    a.silu = k.silu;
    a.dtype = dtype;
    choice = choose_conv1d(a, sm_count);
    if (k.run > 0) choice.run = k.run;
    launch_conv1d(a, choice, queue);
    finish("conv1d");
    out.download();
    unslice(got, out.host, k.batch, k.length, cols, past, past + length);
    past += length;
  }
  state.download();
  const std::string what = text("conv1d %lldx%lld c%d k%d [%s, %d calls]", (long long)k.batch,
                                (long long)k.length, k.channels, k.width, name(choice).c_str(),
                                static_cast<int>(std::max<size_t>(1, k.cuts.size())));
  judge(what, dtype, relative_error(got, ref), dtype == DType::bf16 ? 3e-3 : 2e-6);
  judge("  its state", dtype, relative_error(state.host, state_ref), 0);
}

// ------------------------------------------------------------------------- norms and elementwise

void check_norm(NormKind kind, int64_t rows, int32_t groups, int32_t width, float offset,
                int64_t pad, DType dtype) {
  const int64_t cols = int64_t{groups} * width;
  Tensor x(rows, cols, dtype, pad), weight(1, width, dtype), bias(1, width, dtype),
      out(rows, cols, dtype, pad);
  x.random(2, 0.7F), weight.random(1), bias.random(1);
  out.memory.poison();
  NormArgs a;
  a.kind = kind, a.x = x.data(), a.weight = weight.data(), a.bias = bias.data(), a.out = out.data();
  a.x_stride = x.stride, a.out_stride = out.stride, a.rows = rows, a.groups = groups,
  a.width = width;
  a.eps = 1e-5F, a.weight_offset = offset, a.dtype = dtype;
  const NormChoice choice = choose_norm(a);
  launch_norm(a, choice, queue);
  finish("norm");
  out.download();
  std::vector<double> ref(rows * cols);
  for (int64_t v = 0; v < rows * groups; ++v) {
    const float* in = &x.host[v * width];
    double mean = 0, squares = 0;
    if (kind == NormKind::layer) {
      for (int i = 0; i < width; ++i) mean += in[i];
      mean /= width;
    }
    for (int i = 0; i < width; ++i) squares += (in[i] - mean) * (in[i] - mean);
    const double scale = 1 / std::sqrt(squares / width + 1e-5F);
    for (int i = 0; i < width; ++i)
      ref[v * width + i] = (in[i] - mean) * scale * (offset + weight.host[i]) +
                           (kind == NormKind::layer ? bias.host[i] : 0);
  }
  judge(text("norm %s %lldx%dx%d [%s]", kind == NormKind::rms ? "rms" : "layer", (long long)rows,
             groups, width, name(choice).c_str()),
        dtype, relative_error(out.host, ref), dtype == DType::bf16 ? 3e-3 : 2e-6);
}

void check_gated_norm(int64_t rows, int32_t groups, int32_t width, bool before, int64_t pad,
                      DType dtype) {
  const int64_t cols = int64_t{groups} * width;
  Tensor x(rows, cols, dtype, pad), z(rows, cols, dtype, 2 * pad), weight(1, cols, dtype),
      out(rows, cols, dtype, pad);
  x.random(2), z.random(1), weight.random(1);
  out.memory.poison();
  GatedNormArgs a;
  a.x = x.data(), a.z = z.data(), a.weight = weight.data(), a.out = out.data();
  a.x_stride = x.stride, a.z_stride = z.stride, a.out_stride = out.stride, a.rows = rows,
  a.groups = groups;
  a.width = width, a.eps = 1e-5F, a.norm_before_gate = before, a.dtype = dtype;
  const NormChoice choice = choose_gated_norm(a);
  launch_gated_norm(a, choice, queue);
  finish("gated norm");
  out.download();
  std::vector<double> ref(rows * cols);
  for (int64_t v = 0; v < rows * groups; ++v) {
    double squares = 0;
    const auto value = [&](int i) {
      return x.host[v * width + i] * (before ? 1 : silu(z.host[v * width + i]));
    };
    for (int i = 0; i < width; ++i) squares += value(i) * value(i);
    const double scale = 1 / std::sqrt(squares / width + 1e-5F);
    for (int i = 0; i < width; ++i)
      ref[v * width + i] = value(i) * scale * weight.host[v % groups * width + i] *
                           (before ? silu(z.host[v * width + i]) : 1);
  }
  judge(text("gated norm %lldx%dx%d before %d [%s]", (long long)rows, groups, width, before,
             name(choice).c_str()),
        dtype, relative_error(out.host, ref), dtype == DType::bf16 ? 3e-3 : 3e-6);
}

double activation(Act act, double x) {
  switch (act) {
    case Act::silu:
      return silu(x);
    case Act::gelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Act::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Act::relu2:
      return x > 0 ? x * x : 0;
    case Act::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Act::identity:
      return x;
  }
  return 0;
}

void check_glu(Act act, int64_t rows, int32_t width, bool gated, int64_t pad, DType dtype) {
  Tensor gate(rows, width, dtype, pad), up(rows, width, dtype, 2 * pad),
      out(rows, width, dtype, pad);
  gate.random(2), up.random(1);
  out.memory.poison();
  GluArgs a;
  a.act = act, a.gate = gate.data(), a.up = gated ? up.data() : nullptr, a.out = out.data();
  a.gate_stride = gate.stride, a.up_stride = up.stride, a.out_stride = out.stride, a.rows = rows;
  a.width = width, a.dtype = dtype;
  launch_glu(a, choose_glu(a), queue);
  finish("glu");
  out.download();
  std::vector<double> ref(rows * width);
  for (int64_t i = 0; i < rows * width; ++i)
    ref[i] = activation(act, gate.host[i]) * (gated ? up.host[i] : 1);
  judge(text("%s act %d %lldx%d [%s]", gated ? "glu" : "activation", static_cast<int>(act),
             (long long)rows, width, name(choose_glu(a)).c_str()),
        dtype, relative_error(out.host, ref), dtype == DType::bf16 ? 3e-3 : 2e-6);
}

void check_all() {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    check_ssd({1, 1, 6, 64, 1, 128}, dtype);
    check_ssd({3, 5, 4, 64, 2, 64}, dtype);
    check_ssd({2, 77, 3, 20, 1, 24}, dtype);
    check_ssd({1, 300, 4, 64, 1, 128, 0, 0, {}, 0, 0, false}, dtype);
    check_ssd({1, 64, 3, 64, 1, 128}, dtype);
    check_ssd({1, 333, 6, 64, 1, 128}, dtype);
    check_ssd({2, 500, 12, 64, 2, 128, 0.001F, 0.1F}, dtype);
    check_ssd({1, 400, 6, 64, 1, 128, 0, 0, {}, 0, 0, true, 2}, dtype);  // strong decay
    check_ssd({1, 600, 6, 64, 1, 128, 0, 0, {129, 1, 17, 453}}, dtype);
    check_ssd({2, 450, 8, 64, 2, 64, 0, 0, {300, 150}}, dtype);
    check_ssd({1, 200, 4, 128, 2, 64}, dtype);
    check_ssd({1, 130, 2, 64, 1, 256}, dtype);
    check_ssd({1, 700, 2, 128, 1, 256, 0, 0, {350, 350}}, dtype);
    if (dtype == DType::bf16)
      for (const int heads : {1, 2, 3})
        for (const int segments : {1, 2, 5}) {
          check_ssd({2, 640, 6, 64, 1, 128, 0, 0, {}, heads, segments}, dtype);
          check_ssd({1, 703, 12, 64, 2, 64, 0, 0, {320, 383}, heads, segments}, dtype);
        }
    check_scan({1, 1, 96, 16}, dtype);
    check_scan({3, 5, 100, 16}, dtype);
    check_scan({2, 9, 33, 40}, dtype);
    check_scan({1, 256, 24, 16}, dtype);
    check_scan({2, 777, 100, 16}, dtype);
    check_scan({2, 333, 45, 7, {}, 0, 3}, dtype);
    check_scan({1, 300, 64, 32}, dtype);
    check_scan({2, 900, 72, 16, {513, 1, 20, 366}}, dtype);
    for (const int channels : {8, 16, 24, 32})
      if (dtype == DType::bf16 || channels <= 24) check_scan({1, 600, 96, 16, {}, channels}, dtype);
    check_conv({1, 1, 64, 4, true, true}, dtype);
    check_conv({2, 2, 40, 4, false, true}, dtype);
    check_conv({3, 133, 72, 4, true, true}, dtype);
    check_conv({2, 131, 33, 3, true, false, {}, 0, 1}, dtype);
    check_conv({1, 70, 16, 2, false, false, {}, 8}, dtype);
    check_conv({2, 207, 48, 4, true, true, {1, 2, 100, 1, 103}, 16}, dtype);
    check_norm(NormKind::rms, 1, 1, 1536, 0, 0, dtype);
    check_norm(NormKind::rms, 37, 1, 896, 1, 8, dtype);
    check_norm(NormKind::rms, 19, 8, 64, 0, 8, dtype);
    check_norm(NormKind::rms, 5, 3, 77, 0, 1, dtype);
    check_norm(NormKind::layer, 33, 1, 2048, 0, 8, dtype);
    check_norm(NormKind::layer, 3, 2, 51, 0, 0, dtype);
    check_norm(NormKind::rms, 3, 1, 8192, 0, 0, dtype);
    check_gated_norm(1, 1, 3072, false, 0, dtype);
    check_gated_norm(41, 1, 3072, false, 8, dtype);
    check_gated_norm(17, 8, 128, true, 8, dtype);
    check_gated_norm(9, 2, 99, false, 1, dtype);
    check_gated_norm(5, 1, 8192, true, 8, dtype);
    for (const Act act :
         {Act::silu, Act::gelu, Act::gelu_tanh, Act::relu2, Act::sigmoid, Act::identity}) {
      check_glu(act, 37, 1000, true, 8, dtype);
      check_glu(act, 11, 77, false, 1, dtype);
    }
  }
}

// ---------------------------------------------------------------------------------------- timing

__global__ void fill(__nv_bfloat16* to, int64_t count, uint64_t seed, float scale, float shift) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint64_t u = seed * 0x9e3779b97f4a7c15ull + i * 0xbf58476d1ce4e5b9ull;
    u = (u ^ (u >> 30)) * 0xbf58476d1ce4e5b9ull;
    u = (u ^ (u >> 27)) * 0x94d049bb133111ebull;
    u ^= u >> 31;
    float s = 0;
    for (int k = 0; k < 4; ++k) s += static_cast<float>((u >> (16 * k)) & 0xffff) / 65536.0F - 0.5F;
    to[i] = __float2bfloat16(shift + scale * 1.732F * s);
  }
}
__global__ void compare(const __nv_bfloat16* a, const __nv_bfloat16* b, int64_t count,
                        double* sums) {
  double difference = 0, norm = 0;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const double x = __bfloat162float(a[i]), y = __bfloat162float(b[i]);
    difference += (x - y) * (x - y), norm += y * y;
  }
  atomicAdd(sums, difference), atomicAdd(sums + 1, norm);
}

struct Random : Memory {
  Random(int64_t count, float scale = 1, float shift = 0) : Memory(count * 2) {
    fill<<<2048, 256>>>(static_cast<__nv_bfloat16*>(data), count, seed++, scale, shift);
    finish("fill");
  }
};

// Median milliseconds of one run(i): groups of `inner` runs between events, the buffers rotating
// with i.
double median_ms(const std::function<void(int)>& run, int inner, int repeats = 15) {
  cudaEvent_t begin, end;
  cudaEventCreate(&begin), cudaEventCreate(&end);
  // After a pause of the host (allocations) an H200 runs 8 % slow for some milliseconds.
  int i = 0;
  float warm_ms = 0;
  cudaEventRecord(begin, queue.stream);
  while (warm_ms < 50) {
    for (int k = 0; k < inner + 1; ++k) run(i++);
    cudaEventRecord(end, queue.stream);
    finish("warm-up");
    cudaEventElapsedTime(&warm_ms, begin, end);
  }
  std::vector<double> times;
  for (int r = 0; r < repeats; ++r) {
    cudaEventRecord(begin, queue.stream);
    for (int k = 0; k < inner; ++k) run(i++);
    cudaEventRecord(end, queue.stream);
    finish("timing");
    float ms = 0;
    cudaEventElapsedTime(&ms, begin, end);
    times.push_back(ms / inner);
  }
  cudaEventDestroy(begin), cudaEventDestroy(end);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}
// The same, of a captured graph of `inner` runs; with programmatic dependent launch where asked.
double median_graph_ms(const std::function<void(int, const Queue&)>& run, int inner, bool overlap) {
  cudaStream_t stream;
  cudaStreamCreate(&stream);
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < inner; ++i) run(i, Queue{stream, overlap});
  check(cudaStreamEndCapture(stream, &graph), "capture");
  check(cudaGraphInstantiate(&exec, graph, 0), "graph");
  cudaEvent_t begin, end;
  cudaEventCreate(&begin), cudaEventCreate(&end);
  std::vector<double> times;
  for (int r = 0; r < 13; ++r) {
    cudaEventRecord(begin, stream);
    check(cudaGraphLaunch(exec, stream), "graph");
    cudaEventRecord(end, stream);
    finish("graph");
    float ms = 0;
    cudaEventElapsedTime(&ms, begin, end);
    if (r > 2) times.push_back(ms / inner);
  }
  cudaGraphExecDestroy(exec), cudaGraphDestroy(graph), cudaStreamDestroy(stream);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

double copy_tbps = 1;
void line(const std::string& what, double ms, double bytes, double bar_ms) {
  const double limit = bytes / copy_tbps / 1e9;
  std::printf("%-78s %9.4f ms  bytes alone %8.4f (%3.0f %%)", what.c_str(), ms, limit,
              100 * limit / ms);
  if (bar_ms > 0) std::printf("  bar %.2f %s", bar_ms, ms <= bar_ms ? "met" : "NOT MET");
  std::printf("\n");
  std::fflush(stdout);
}

void time_copy() {
  Memory a(int64_t{4} << 30), b(int64_t{4} << 30);
  fill<<<2048, 256>>>(static_cast<__nv_bfloat16*>(a.data), a.bytes / 2, 1, 1, 0);
  const double ms = median_ms(
      [&](int) {
        cudaMemcpyAsync(b.data, a.data, static_cast<size_t>(a.bytes), cudaMemcpyDeviceToDevice);
      },
      1, 9);
  copy_tbps = 2 * static_cast<double>(a.bytes) / ms / 1e9;
  std::printf("copy %.2f TB/s\n", copy_tbps);
}

int sets_for(int64_t bytes) {
  return static_cast<int>(std::clamp<int64_t>((int64_t{400} << 20) / bytes + 1, 2, 64));
}
int inner_for(int64_t length) {
  return length >= 32768 ? 1 : length >= 8192 ? 4 : 16;
}

// Mamba2-780m: x, B, C lie side by side in the convolution's output, dt in the projection's.
struct SsdBuffers {
  SsdBuffers(int64_t batch, int64_t length, int32_t heads, int32_t head_dim, int32_t state_size)
      : width(int64_t{heads} * head_dim + 2 * state_size),
        xbc(batch * length * width),
        dt(batch * length * heads),
        heads_a(heads, 1, 0.5F),
        heads_d(heads),
        heads_b(heads, 1, -4),
        state(batch * heads * head_dim * state_size * 4),
        out(batch * length * heads * head_dim * 2) {
    state.poison();
    const auto* base = static_cast<const __nv_bfloat16*>(xbc.data);
    a.x = base, a.b = base + heads * head_dim, a.c = base + heads * head_dim + state_size;
    a.dt = dt.data, a.a_log = heads_a.data, a.d_skip = heads_d.data, a.dt_bias = heads_b.data;
    a.state = static_cast<float*>(state.data), a.out = out.data;
    a.x_stride = a.b_stride = a.c_stride = width, a.dt_stride = heads,
    a.out_stride = int64_t{heads} * head_dim;
    a.batch = batch, a.length = length, a.heads = heads, a.head_dim = head_dim, a.groups = 1;
    a.state_size = state_size, a.dtype = DType::bf16;
  }
  int64_t width;
  Random xbc, dt, heads_a, heads_d, heads_b;
  Memory state, out;
  SsdArgs a;
};

void time_ssd(int64_t length, bool sweep, double bar) {
  std::vector<std::unique_ptr<SsdBuffers>> sets;
  const int64_t one = length * (3328 + 3072 + 48) * 2;
  for (int i = 0; i < sets_for(one); ++i)
    sets.push_back(std::make_unique<SsdBuffers>(1, length, 48, 64, 128));
  Memory workspace(int64_t{64} * 48 * (64 * 128 + 1) * 4);
  const auto run = [&](SsdChoice choice, double limit_ms) {
    const double ms = median_ms(
        [&](int i) { launch_ssd(sets[i % sets.size()]->a, choice, workspace.data, queue); },
        inner_for(length));
    line(text("ssd 48x64, state 128, %6lld tokens [%s]", (long long)length, name(choice).c_str()),
         ms, static_cast<double>(one), limit_ms);
  };
  const SsdChoice chosen = choose_ssd(sets[0]->a, true, sm_count);
  run(chosen, bar);
  if (!sweep) return;
  for (const int heads : {1, 2, 3})
    for (const int segments : {4, 5, 6, 8, 11, 12, 16, 22})
      if ((length + 63) / 64 >= 2 * segments) run({SsdKernel::blocks, heads, segments}, 0);
}

struct ScanBuffers {
  ScanBuffers(int64_t batch, int64_t length, int32_t channels, int32_t n)
      : x(batch * length * channels),
        dt(batch * length * channels, 1, 0),
        z(batch * length * 2 * channels),
        bc(batch * length * (96 + 2 * n)),
        a_log(int64_t{channels} * n, 0.7F, 2),
        d(channels),
        bias(channels, 1, -4),
        state(batch * channels * n * 4),
        out(batch * length * channels * 2) {
    state.poison();
    a.x = x.data, a.dt = dt.data, a.z = static_cast<const __nv_bfloat16*>(z.data) + channels;
    a.b = static_cast<const __nv_bfloat16*>(bc.data) + 96,
    a.c = static_cast<const __nv_bfloat16*>(bc.data) + 96 + n;
    a.a_log = a_log.data, a.d_skip = d.data, a.dt_bias = bias.data,
    a.state = static_cast<float*>(state.data);
    a.out = out.data, a.x_stride = a.dt_stride = a.out_stride = channels, a.z_stride = 2 * channels;
    a.b_stride = a.c_stride = 96 + 2 * n, a.batch = batch, a.length = length, a.channels = channels,
    a.state_size = n;
    a.dtype = DType::bf16;
  }
  Random x, dt, z, bc, a_log, d, bias;
  Memory state, out;
  SelectiveScanArgs a;
};

void time_scan(int64_t length, int32_t channels, bool sweep, double bar) {
  std::vector<std::unique_ptr<ScanBuffers>> sets;
  const int64_t one = length * (4 * channels + 32) * 2;
  for (int i = 0; i < std::min(8, sets_for(one)); ++i)
    sets.push_back(std::make_unique<ScanBuffers>(1, length, channels, 16));
  const auto run = [&](SelectiveScanChoice choice, double limit_ms) {
    const double ms =
        median_ms([&](int i) { launch_selective_scan(sets[i % sets.size()]->a, choice, queue); },
                  inner_for(length));
    const double exponentials =
        static_cast<double>(length) * channels * 16 / (sm_count * 16 * 1.98e9) * 1e3;
    line(
        text("scan %dx16, %6lld tokens [%s] (exp alone %.3f, %.0f %%)", channels, (long long)length,
             name(choice).substr(15).c_str(), exponentials, 100 * exponentials / ms),
        ms, static_cast<double>(one), limit_ms);
  };
  run(choose_selective_scan(sets[0]->a, sm_count), bar);
  if (!sweep) return;
  for (const int per_block : {8, 16, 24, 32}) run({ScanKernel::tiles, per_block}, 0);
}

struct ConvBuffers {
  ConvBuffers(int64_t batch, int64_t length, int32_t channels, int64_t x_stride)
      : x(batch * length * x_stride),
        weight(channels * 4),
        bias(channels),
        state(batch * channels * 3 * 2),
        out(batch * length * channels * 2) {
    state.poison();
    a.x = x.data, a.weight = weight.data, a.bias = bias.data, a.state = state.data,
    a.out = out.data;
    a.x_stride = x_stride, a.out_stride = channels, a.batch = batch, a.length = length,
    a.channels = channels;
    a.width = 4, a.silu = true, a.dtype = DType::bf16;
  }
  Random x, weight, bias;
  Memory state, out;
  Conv1dArgs a;
};

void time_conv(int64_t length, bool sweep, double bar) {
  std::vector<std::unique_ptr<ConvBuffers>> sets;
  const int64_t one = length * 3328 * 4;
  for (int i = 0; i < std::min(8, sets_for(one)); ++i)
    sets.push_back(std::make_unique<ConvBuffers>(1, length, 3328, 6448));
  const auto run = [&](Conv1dChoice choice, double limit_ms) {
    const double ms = median_ms(
        [&](int i) { launch_conv1d(sets[i % sets.size()]->a, choice, queue); }, inner_for(length));
    line(text("conv1d 3328x4, %6lld tokens [%s]", (long long)length, name(choice).c_str()), ms,
         static_cast<double>(one), limit_ms);
  };
  run(choose_conv1d(sets[0]->a, sm_count), bar);
  if (!sweep) return;
  for (const int vector : {4, 8})
    for (const int tokens : {8, 16, 32, 64, 128}) run({vector, tokens}, 0);
}

void time_rowwise(int64_t rows) {
  const int n = 3;
  std::vector<std::unique_ptr<Random>> x, z;
  std::vector<std::unique_ptr<Memory>> out;
  Random weight(4864);
  for (int i = 0; i < n; ++i) {
    x.push_back(std::make_unique<Random>(rows * 9728));
    z.push_back(std::make_unique<Random>(rows * 6448));
    out.push_back(std::make_unique<Memory>(rows * 4864 * 2));
  }
  NormArgs norm;
  norm.weight = weight.data, norm.x_stride = norm.out_stride = norm.width = 1536, norm.rows = rows,
  norm.eps = 1e-5F;
  norm.dtype = DType::bf16;
  line(text("rms norm 1536, %lld rows", (long long)rows),
       median_ms(
           [&](int i) {
             norm.x = x[i % n]->data, norm.out = out[i % n]->data;
             launch_norm(norm, choose_norm(norm), queue);
           },
           4),
       static_cast<double>(rows) * 1536 * 4, 0);
  GatedNormArgs gated;
  gated.weight = weight.data, gated.x_stride = gated.out_stride = gated.width = 3072,
  gated.z_stride = 6448;
  gated.rows = rows, gated.eps = 1e-5F, gated.dtype = DType::bf16;
  line(text("gated norm 3072, %lld rows", (long long)rows),
       median_ms(
           [&](int i) {
             gated.x = x[i % n]->data, gated.z = z[i % n]->data, gated.out = out[i % n]->data;
             launch_gated_norm(gated, choose_gated_norm(gated), queue);
           },
           4),
       static_cast<double>(rows) * 3072 * 6, 0);
  GluArgs glu;
  glu.gate_stride = glu.up_stride = 9728, glu.out_stride = glu.width = 4864, glu.rows = rows,
  glu.dtype = DType::bf16;
  line(text("swiglu 4864, %lld rows", (long long)rows),
       median_ms(
           [&](int i) {
             glu.gate = x[i % n]->data,
             glu.up = static_cast<const __nv_bfloat16*>(x[i % n]->data) + 4864;
             glu.out = out[i % n]->data;
             launch_glu(glu, choose_glu(glu), queue);
           },
           4),
       static_cast<double>(rows) * 4864 * 6, 0);
}

void time_decode() {
  const Memory past(8);
  const int64_t one = 1;
  cudaMemcpy(past.data, &one, 8, cudaMemcpyHostToDevice);
  const auto* past_ptr = static_cast<const int64_t*>(past.data);
  for (const int64_t batch : {1, 64}) {
    // As many layers' states as exceed the L2.
    const int layers = batch == 1 ? 96 : 4;
    std::vector<std::unique_ptr<SsdBuffers>> ssd;
    std::vector<std::unique_ptr<ScanBuffers>> scan;
    std::vector<std::unique_ptr<ConvBuffers>> conv;
    for (int i = 0; i < layers; ++i) {
      ssd.push_back(std::make_unique<SsdBuffers>(batch, 1, 48, 64, 128));
      scan.push_back(std::make_unique<ScanBuffers>(batch, 1, 3072, 16));
      conv.push_back(std::make_unique<ConvBuffers>(batch, 1, 3328, 6448));
      cudaMemset(ssd.back()->state.data, 0, ssd.back()->state.bytes);
      cudaMemset(scan.back()->state.data, 0, scan.back()->state.bytes);
      cudaMemset(conv.back()->state.data, 0, conv.back()->state.bytes);
      ssd.back()->a.past_ptr = scan.back()->a.past_ptr = conv.back()->a.past_ptr = past_ptr;
    }
    Random x(batch * 6448), z(batch * 6448), weight(3072);
    Memory out(batch * 3072 * 2);
    for (const bool overlap : {false, true}) {
      const char* how = overlap ? "overlapped" : "graph";
      line(text("decode ssd, batch %lld, %s", (long long)batch, how),
           median_graph_ms([&](int i, const Queue& q) { launch_ssd(ssd[i]->a, {}, nullptr, q); },
                           layers, overlap),
           static_cast<double>(batch) * (48 * 64 * 128 * 8 + 3328 * 2 + 3072 * 2), 0);
      line(text("decode scan, batch %lld, %s", (long long)batch, how),
           median_graph_ms([&](int i, const Queue& q) { launch_selective_scan(scan[i]->a, {}, q); },
                           layers, overlap),
           static_cast<double>(batch) * (3072 * 16 * 8 + 4 * 3072 * 2) + 3072 * 16 * 2, 0);
      line(text("decode conv1d, batch %lld, %s", (long long)batch, how),
           median_graph_ms(
               [&](int i, const Queue& q) {
                 launch_conv1d(conv[i]->a, choose_conv1d(conv[i]->a, sm_count), q);
               },
               layers, overlap),
           static_cast<double>(batch) * 3328 * 2 * 8, 0);
      NormArgs norm;
      norm.x = x.data, norm.weight = weight.data, norm.out = out.data, norm.rows = batch,
      norm.width = 1536;
      norm.x_stride = norm.out_stride = 1536, norm.eps = 1e-5F, norm.dtype = DType::bf16;
      line(text("decode rms norm 1536, batch %lld, %s", (long long)batch, how),
           median_graph_ms([&](int, const Queue& q) { launch_norm(norm, choose_norm(norm), q); },
                           layers, overlap),
           static_cast<double>(batch) * 1536 * 4, 0);
      GatedNormArgs gated;
      gated.x = x.data, gated.z = z.data, gated.weight = weight.data, gated.out = out.data,
      gated.rows = batch;
      gated.width = 3072, gated.x_stride = gated.out_stride = 3072, gated.z_stride = 6448,
      gated.eps = 1e-5F;
      gated.dtype = DType::bf16;
      line(text("decode gated norm 3072, batch %lld, %s", (long long)batch, how),
           median_graph_ms(
               [&](int, const Queue& q) { launch_gated_norm(gated, choose_gated_norm(gated), q); },
               layers, overlap),
           static_cast<double>(batch) * 3072 * 6, 0);
    }
  }
}

// Above 2^31 elements: one call against two halves, each below.
void check_long() {
  const int64_t length = 786432, half = length / 2;
  Memory sums(16);
  const auto judge_halves = [&](const char* what, const void* all, const void* second,
                                int64_t count, double bound) {
    cudaMemset(sums.data, 0, 16);
    compare<<<2048, 256>>>(static_cast<const __nv_bfloat16*>(all) + count,
                           static_cast<const __nv_bfloat16*>(second), count,
                           static_cast<double*>(sums.data));
    finish(what);
    double host[2];
    cudaMemcpy(host, sums.data, 16, cudaMemcpyDeviceToHost);
    judge(text("%s, %lld tokens in one call against two (second half)", what, (long long)length),
          DType::bf16, host[1] > 0 ? std::sqrt(host[0] / host[1]) : NAN, bound);
  };
  {
    SsdBuffers all(1, length, 48, 64, 128);
    Memory second(half * 3072 * 2), workspace(int64_t{64} * 48 * (64 * 128 + 1) * 4);
    all.out.poison();
    launch_ssd(all.a, choose_ssd(all.a, true, sm_count), workspace.data, queue);
    SsdArgs a = all.a;
    a.length = half, a.out = second.data, a.past_ptr = past_of(0);
    launch_ssd(a, choose_ssd(a, true, sm_count), workspace.data, queue);
    finish("ssd");
    a.past_ptr = past_of(half);
    a.x = static_cast<const __nv_bfloat16*>(a.x) + half * a.x_stride;
    a.b = static_cast<const __nv_bfloat16*>(a.b) + half * a.b_stride;
    a.c = static_cast<const __nv_bfloat16*>(a.c) + half * a.c_stride;
    a.dt = static_cast<const __nv_bfloat16*>(a.dt) + half * a.dt_stride;
    launch_ssd(a, choose_ssd(a, true, sm_count), workspace.data, queue);
    judge_halves("ssd", all.out.data, second.data, half * 3072, 2e-3);
  }
  {
    ScanBuffers all(1, length, 3072, 16);
    Memory second(half * 3072 * 2);
    all.out.poison();
    launch_selective_scan(all.a, choose_selective_scan(all.a, sm_count), queue);
    SelectiveScanArgs a = all.a;
    a.length = half, a.out = second.data, a.past_ptr = past_of(0);
    launch_selective_scan(a, choose_selective_scan(a, sm_count), queue);
    finish("scan");
    a.past_ptr = past_of(half);
    for (auto [p, stride] : {std::pair{&a.x, a.x_stride},
                             {&a.dt, a.dt_stride},
                             {&a.z, a.z_stride},
                             {&a.b, a.b_stride},
                             {&a.c, a.c_stride}})
      *p = static_cast<const __nv_bfloat16*>(*p) + half * stride;
    launch_selective_scan(a, choose_selective_scan(a, sm_count), queue);
    judge_halves("scan", all.out.data, second.data, half * 3072, 1e-4);
  }
  {
    ConvBuffers all(1, length, 3328, 3328);
    Memory second(half * 3328 * 2);
    all.out.poison();
    launch_conv1d(all.a, choose_conv1d(all.a, sm_count), queue);
    Conv1dArgs a = all.a;
    a.length = half, a.out = second.data, a.past_ptr = past_of(0);
    launch_conv1d(a, choose_conv1d(a, sm_count), queue);
    finish("conv1d");
    a.past_ptr = past_of(half);
    a.x = static_cast<const __nv_bfloat16*>(a.x) + half * a.x_stride;
    launch_conv1d(a, choose_conv1d(a, sm_count), queue);
    judge_halves("conv1d", all.out.data, second.data, half * 3328, 0);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> parts(argv + 1, argv + argc);
  const auto wanted = [&](const char* part) {
    return parts.empty() || std::find(parts.begin(), parts.end(), part) != parts.end();
  };
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "device");
  sm_count = properties.multiProcessorCount;
  std::printf("%s, %d multiprocessors\n", properties.name, sm_count);
  if (wanted("check")) check_all();
  if (wanted("long")) check_long();
  if (wanted("time") || wanted("sweep") || wanted("decode")) time_copy();
  if (wanted("time") || wanted("sweep")) {
    const bool sweep = wanted("sweep");
    time_ssd(8192, sweep, 0.20);
    time_ssd(65536, sweep, 0.90);
    time_scan(8192, 3072, sweep, 0.25);
    time_scan(65536, 3072, sweep, 1.80);
    time_conv(65536, sweep, 0.25);
    for (const int64_t length : {1024, 2048, 4096}) {
      time_ssd(length, sweep && length == 2048, 0);
      time_scan(length, 3072, false, 0);
      time_conv(length, sweep && length == 2048, 0);
    }
    time_scan(8192, 1536, sweep, 0);
    time_conv(8192, false, 0);
    time_rowwise(8192);
    time_rowwise(65536);
  }
  if (wanted("decode")) time_decode();
  std::printf("%d failed\n", failures);
  return failures == 0 ? 0 : 1;
}
