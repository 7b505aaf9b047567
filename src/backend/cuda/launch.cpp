// From operators to kernels: which one runs, with which arguments.
#include <algorithm>
#include <optional>
#include <string>

#include "backend/cuda/attention.h"
#include "backend/cuda/attention_cudnn.h"
#include "backend/cuda/block_gemm.h"
#include "backend/cuda/context.h"
#include "backend/cuda/conv1d.h"
#include "backend/cuda/elementwise.h"
#include "backend/cuda/expert_gemm.h"
#include "backend/cuda/gated_delta.h"
#include "backend/cuda/gated_norm.h"
#include "backend/cuda/gemm_plain.h"
#include "backend/cuda/gemv.h"
#include "backend/cuda/glu.h"
#include "backend/cuda/norm.h"
#include "backend/cuda/rg_lru.h"
#include "backend/cuda/route.h"
#include "backend/cuda/selective_scan.h"
#include "backend/cuda/ssd.h"
#include "base/error.h"
#include "plan/gated_product.h"

namespace tidemark::cuda {
namespace {

int32_t small(int64_t value) {
  return static_cast<int32_t>(value);
}

// ---- gemm ----

GemmArgs gemm_args(const Gemm& op, CudaContext& c) {
  GemmArgs a;
  a.x = c.at(op.x), a.weight = c.at(op.weight), a.bias = c.at(op.bias);
  a.dtype = c.dtype(op.x), a.out_dtype = c.dtype(op.out);
  a.out = c.at<std::byte>(op.out) + op.past * op.out_per_past * size_bytes(a.out_dtype);
  a.x_stride = op.x.stride, a.weight_stride = op.weight.stride, a.out_stride = op.out.stride;
  a.m = op.m, a.n = op.n, a.k = op.k;
  a.scale = op.scale, a.accumulate = op.accumulate;
  return a;
}

GemvArgs gemv_args(const GemmArgs& g) {
  GemvArgs a;
  a.x = g.x, a.weight = g.weight, a.bias = g.bias, a.out = g.out;
  a.x_stride = g.x_stride, a.weight_stride = g.weight_stride, a.out_stride = g.out_stride;
  a.m = small(g.m), a.n = small(g.n), a.k = small(g.k);
  a.scale = g.scale, a.accumulate = g.accumulate;
  a.dtype = g.dtype, a.out_dtype = g.out_dtype;
  return a;
}

// Whether cuBLASLt runs it.
bool is_library_gemm(const Gemm& op, const GemmArgs& a, CudaContext& c) {
  return op.m > gemv_max_rows && c.gemms.supports(a, gemm_workspace_bytes(op.m, op.n));
}

int64_t workspace_of(const Gemm& op, CudaContext& c) {
  return is_library_gemm(op, gemm_args(op, c), c) ? gemm_workspace_bytes(op.m, op.n) : 0;
}

void prepare_op(const Gemm& op, CudaContext& c) {
  const GemmArgs a = gemm_args(op, c);
  if (!is_library_gemm(op, a, c)) return;
  const int64_t bytes = workspace_of(op, c);
  c.gemms.prepare(a, c.workspace(bytes), bytes, c.queue);
}

std::string name_of(const Gemm& op, CudaContext& c) {
  const GemmArgs a = gemm_args(op, c);
  if (op.m <= gemv_max_rows) {
    const GemvArgs v = gemv_args(a);
    return name(v, choose_gemv(v, c.sm_count));
  }
  return is_library_gemm(op, a, c) ? c.gemms.describe(a) : "gemm plain";
}

void launch_op(const Gemm& op, CudaContext& c) {
  const GemmArgs a = gemm_args(op, c);
  if (op.m <= gemv_max_rows) {
    const GemvArgs v = gemv_args(a);
    return launch_gemv(v, choose_gemv(v, c.sm_count), c.queue);
  }
  if (!is_library_gemm(op, a, c)) return launch_gemm_plain(a, c.queue);
  const int64_t bytes = workspace_of(op, c);
  c.gemms.run(a, c.workspace(bytes), bytes, c.queue);
}

// ---- attention ----

enum class AttentionKernel { cudnn, tiled, split, plain };

AttentionArgs attention_args(const Attention& op, CudaContext& c) {
  AttentionArgs a;
  a.q = c.at(op.q), a.k = c.at(op.k), a.v = c.at(op.v);
  a.k_cache = c.at(op.k_cache), a.v_cache = c.at(op.v_cache), a.out = c.at(op.out);
  a.q_stride = op.q.stride, a.k_stride = op.k.stride, a.v_stride = op.v.stride;
  a.out_stride = op.out.stride;
  a.past = c.past;
  a.capacity = op.capacity, a.window = op.window, a.sinks = op.sinks;
  a.batch = small(op.batch), a.length = small(op.length);
  a.heads = small(op.heads), a.kv_heads = small(op.kv_heads);
  a.head_dim = small(op.head_dim), a.value_dim = small(op.value_dim);
  a.scale = op.scale, a.dtype = c.dtype(op.q);
  return a;
}

// Below this many queries a step is short of work for cuDNN's tiles of 128.
constexpr int32_t cudnn_min_length = 64;

AttentionKernel choose_attention(const AttentionArgs& a, CudaContext& c) {
  if (attention_split_supports(a)) return AttentionKernel::split;
  if (a.length >= cudnn_min_length && c.cudnn.supports(a)) return AttentionKernel::cudnn;
  return attention_tiled_supports(a) ? AttentionKernel::tiled : AttentionKernel::plain;
}

int64_t workspace_of(const Attention& op, CudaContext& c) {
  const AttentionArgs a = attention_args(op, c);
  switch (choose_attention(a, c)) {
    case AttentionKernel::cudnn: {
      AttentionArgs exact = a;
      exact.exact_past = op.past;
      return std::max(c.cudnn.workspace_bytes(a), c.cudnn.workspace_bytes(exact));
    }
    case AttentionKernel::split:
      return attention_split_workspace_bytes(a, attention_splits(a, c.sm_count));
    default:
      return 0;
  }
}

std::string name_of(const Attention& op, CudaContext& c) {
  switch (choose_attention(attention_args(op, c), c)) {
    case AttentionKernel::cudnn:
      return c.cudnn.version() + " fused attention";
    case AttentionKernel::split:
      return "split-KV decode";
    case AttentionKernel::tiled:
      return "tiled, mma m16n8k16";
    default:
      return "plain fp32";
  }
}

void launch_op(const Attention& op, CudaContext& c) {
  AttentionArgs a = attention_args(op, c);
  switch (choose_attention(a, c)) {
    case AttentionKernel::cudnn: {
      // A graph of the very position runs a quarter faster than one that reads it on the device.
      AttentionArgs exact = a;
      exact.exact_past = c.position;
      if (c.position >= 0 && c.cudnn.supports(exact) &&
          c.cudnn.workspace_bytes(exact) <= c.scratch_bytes)
        a = exact;
      return c.cudnn.run(a, c.lengths, c.workspace(c.cudnn.workspace_bytes(a)), c.queue);
    }
    case AttentionKernel::split:
      a.workspace = static_cast<float*>(c.workspace(workspace_of(op, c)));
      return launch_attention_split(a, attention_splits(a, c.sm_count), c.queue);
    case AttentionKernel::tiled:
      return launch_attention_tiled(a, c.queue);
    default:
      launch_attention_plain(a, c.queue);
  }
}

// ---- positions and rows ----

void launch_op(const Embedding& op, CudaContext& c) {
  launch_embedding({.ids = c.at<int32_t>(op.ids),
                    .table = c.at(op.table),
                    .positions = c.at(op.positions),
                    .out = c.at(op.out),
                    .past = c.past,
                    .positions_stride = op.positions.stride,
                    .ids_stride = op.ids.stride,
                    .table_stride = op.table.stride,
                    .out_stride = op.out.stride,
                    .batch = small(op.batch),
                    .length = small(op.length),
                    .width = small(op.width),
                    .vocab = small(op.vocab),
                    .scale = op.scale,
                    .dtype = c.dtype(op.out)},
                   c.queue);
}

RopeArgs rope_args(const Rope& op, CudaContext& c) {
  const int64_t pairs = op.rotary_dim / 2;
  if (pairs > max_rotary_pairs)
    fail("rope: rotary_dim {}: CUDA takes at most {}", op.rotary_dim, 2 * max_rotary_pairs);
  RopeArgs a;
  a.q = c.at(op.q), a.k = c.at(op.k), a.v = c.at(op.v);
  a.k_cache = c.at(op.k_cache), a.v_cache = c.at(op.v_cache);
  a.past = c.past;
  a.q_stride = op.q.stride, a.k_stride = op.k.stride, a.v_stride = op.v.stride;
  a.capacity = op.capacity;
  a.batch = small(op.batch), a.length = small(op.length);
  a.heads = small(op.heads), a.kv_heads = small(op.kv_heads);
  a.head_dim = small(op.head_dim), a.value_dim = small(op.value_dim), a.pairs = small(pairs);
  a.amplitude = op.amplitude, a.dtype = c.dtype(op.q);
  std::copy(op.inv_freq.begin(), op.inv_freq.end(), a.inv_freq);
  return a;
}
void launch_op(const Rope& op, CudaContext& c) {
  launch_rope(rope_args(op, c), c.queue);
}

void launch_op(const KvAppend& op, CudaContext& c) {
  launch_kv_append({.k = c.at(op.k),
                    .v = c.at(op.v),
                    .k_cache = c.at(op.k_cache),
                    .v_cache = c.at(op.v_cache),
                    .past = c.past,
                    .k_stride = op.k.stride,
                    .v_stride = op.v.stride,
                    .capacity = op.capacity,
                    .sinks = op.sinks,
                    .batch = small(op.batch),
                    .length = small(op.length),
                    .kv_heads = small(op.kv_heads),
                    .head_dim = small(op.head_dim),
                    .value_dim = small(op.value_dim),
                    .dtype = c.dtype(op.k)},
                   c.queue);
}

void launch_op(const SelectLast& op, CudaContext& c) {
  launch_select_last({.x = c.at(op.x),
                      .out = c.at(op.out),
                      .x_stride = op.x.stride,
                      .out_stride = op.out.stride,
                      .batch = small(op.batch),
                      .length = small(op.length),
                      .width = small(op.width),
                      .dtype = c.dtype(op.x)},
                     c.queue);
}

void launch_op(const Argmax& op, CudaContext& c) {
  const int64_t first_row = op.past * op.rows_per_past + op.rows_per_sequence - 1;
  launch_argmax({.logits = c.at<float>(op.logits) + first_row * op.logits.stride,
                 .ids = c.at<int32_t>(op.ids),
                 .slots = c.argmax_slots,
                 .past = c.past,
                 .logits_stride = op.rows_per_sequence * op.logits.stride,
                 .ids_stride = op.ids.stride,
                 .batch = small(op.batch),
                 .length = small(op.length),
                 .vocab = small(op.vocab)},
                c.queue);
}

// ---- norms and gates ----

NormArgs norm_args(const Norm& op, CudaContext& c) {
  NormArgs a;
  a.kind = op.kind;
  a.x = c.at(op.x), a.weight = c.at(op.weight), a.bias = c.at(op.bias), a.out = c.at(op.out);
  a.x_stride = op.x.stride, a.out_stride = op.out.stride;
  a.rows = op.rows, a.groups = small(op.groups), a.width = small(op.width);
  a.eps = op.eps, a.weight_offset = op.weight_offset, a.dtype = c.dtype(op.x);
  return a;
}
std::string name_of(const Norm& op, CudaContext& c) {
  return name(choose_norm(norm_args(op, c)));
}
void launch_op(const Norm& op, CudaContext& c) {
  const NormArgs a = norm_args(op, c);
  launch_norm(a, choose_norm(a), c.queue);
}

GatedNormArgs gated_norm_args(const GatedNorm& op, CudaContext& c) {
  GatedNormArgs a;
  a.x = c.at(op.x), a.z = c.at(op.z), a.weight = c.at(op.weight), a.out = c.at(op.out);
  a.x_stride = op.x.stride, a.z_stride = op.z.stride, a.out_stride = op.out.stride;
  a.rows = op.rows, a.groups = small(op.groups), a.width = small(op.width);
  a.eps = op.eps, a.norm_before_gate = op.norm_before_gate;
  a.shared_weight = op.shared_weight, a.dtype = c.dtype(op.x);
  return a;
}
std::string name_of(const GatedNorm& op, CudaContext& c) {
  return name(choose_gated_norm(gated_norm_args(op, c)));
}
void launch_op(const GatedNorm& op, CudaContext& c) {
  const GatedNormArgs a = gated_norm_args(op, c);
  launch_gated_norm(a, choose_gated_norm(a), c.queue);
}

GluArgs glu_args(const Glu& op, CudaContext& c) {
  GluArgs a;
  a.act = op.act;
  a.gate = c.at(op.gate), a.up = c.at(op.up), a.out = c.at(op.out);
  a.gate_stride = op.gate.stride, a.up_stride = op.up.stride, a.out_stride = op.out.stride;
  a.rows = op.rows, a.width = small(op.width), a.dtype = c.dtype(op.gate);
  return a;
}
GluArgs glu_args(const Activation& op, CudaContext& c) {
  GluArgs a;
  a.act = op.act;
  a.gate = c.at(op.x), a.out = c.at(op.out);
  a.gate_stride = op.x.stride, a.out_stride = op.out.stride;
  a.rows = op.rows, a.width = small(op.width), a.dtype = c.dtype(op.x);
  return a;
}
std::string name_of(const Glu& op, CudaContext& c) {
  return name(choose_glu(glu_args(op, c)));
}
std::string name_of(const Activation& op, CudaContext& c) {
  return name(choose_glu(glu_args(op, c)));
}
void launch_op(const Glu& op, CudaContext& c) {
  const GluArgs a = glu_args(op, c);
  launch_glu(a, choose_glu(a), c.queue);
}
void launch_op(const Activation& op, CudaContext& c) {
  const GluArgs a = glu_args(op, c);
  launch_glu(a, choose_glu(a), c.queue);
}

// ---- state-space operators ----

Conv1dArgs conv1d_args(const Conv1d& op, CudaContext& c) {
  Conv1dArgs a;
  a.x = c.at(op.x), a.weight = c.at(op.weight), a.bias = c.at(op.bias);
  a.state = c.at(op.state), a.out = c.at(op.out), a.past_ptr = c.past;
  a.x_stride = op.x.stride, a.out_stride = op.out.stride;
  a.batch = op.batch, a.length = op.length;
  a.channels = small(op.channels), a.width = small(op.width);
  a.silu = op.silu, a.dtype = c.dtype(op.x);
  return a;
}
std::string name_of(const Conv1d& op, CudaContext& c) {
  return name(choose_conv1d(conv1d_args(op, c), c.sm_count));
}
void launch_op(const Conv1d& op, CudaContext& c) {
  const Conv1dArgs a = conv1d_args(op, c);
  launch_conv1d(a, choose_conv1d(a, c.sm_count), c.queue);
}

SelectiveScanArgs scan_args(const SelectiveScan& op, CudaContext& c) {
  SelectiveScanArgs a;
  a.x = c.at(op.x), a.dt = c.at(op.dt), a.b = c.at(op.b), a.c = c.at(op.c), a.z = c.at(op.z);
  a.a_log = c.at(op.a_log), a.d_skip = c.at(op.d_skip), a.dt_bias = c.at(op.dt_bias);
  a.state = c.at<float>(op.state), a.out = c.at(op.out), a.past_ptr = c.past;
  a.x_stride = op.x.stride, a.dt_stride = op.dt.stride, a.b_stride = op.b.stride;
  a.c_stride = op.c.stride, a.z_stride = op.z.stride, a.out_stride = op.out.stride;
  a.batch = op.batch, a.length = op.length;
  a.channels = small(op.channels), a.state_size = small(op.state_size), a.dtype = c.dtype(op.x);
  return a;
}
std::string name_of(const SelectiveScan& op, CudaContext& c) {
  return name(choose_selective_scan(scan_args(op, c), c.sm_count));
}
void launch_op(const SelectiveScan& op, CudaContext& c) {
  const SelectiveScanArgs a = scan_args(op, c);
  launch_selective_scan(a, choose_selective_scan(a, c.sm_count), c.queue);
}

SsdArgs ssd_args(const Ssd& op, CudaContext& c) {
  SsdArgs a;
  a.x = c.at(op.x), a.dt = c.at(op.dt), a.b = c.at(op.b), a.c = c.at(op.c);
  a.a_log = c.at(op.a_log), a.d_skip = c.at(op.d_skip), a.dt_bias = c.at(op.dt_bias);
  a.state = c.at<float>(op.state), a.out = c.at(op.out), a.past_ptr = c.past;
  a.x_stride = op.x.stride, a.dt_stride = op.dt.stride, a.b_stride = op.b.stride;
  a.c_stride = op.c.stride, a.out_stride = op.out.stride;
  a.batch = op.batch, a.length = op.length;
  a.heads = small(op.heads), a.head_dim = small(op.head_dim);
  a.groups = small(op.groups), a.state_size = small(op.state_size);
  a.dt_min = op.dt_min, a.dt_max = op.dt_max, a.dtype = c.dtype(op.x);
  return a;
}
SsdChoice choose(const Ssd& op, const SsdArgs& a, CudaContext& c) {
  return choose_ssd(a, op.form == SsdForm::chunked, c.sm_count);
}
void choose_form_of(Ssd& op, CudaContext& c) {
  if (choose(op, ssd_args(op, c), c).kernel == SsdKernel::blocks)
    op.chunk = ssd_block_length;
  else
    op.form = SsdForm::recurrence;
}
int64_t workspace_of(const Ssd& op, CudaContext& c) {
  const SsdArgs a = ssd_args(op, c);
  return static_cast<int64_t>(ssd_workspace_bytes(a, choose(op, a, c)));
}
std::string name_of(const Ssd& op, CudaContext& c) {
  return name(choose(op, ssd_args(op, c), c));
}
void launch_op(const Ssd& op, CudaContext& c) {
  const SsdArgs a = ssd_args(op, c);
  launch_ssd(a, choose(op, a, c), c.workspace(workspace_of(op, c)), c.queue);
}

GatedDeltaArgs delta_args(const GatedDelta& op, CudaContext& c) {
  GatedDeltaArgs a;
  a.q = c.at(op.q), a.k = c.at(op.k), a.v = c.at(op.v), a.a = c.at(op.a), a.b = c.at(op.b);
  a.a_log = c.at(op.a_log), a.dt_bias = c.at(op.dt_bias);
  a.state = c.at<float>(op.state), a.out = c.at(op.out), a.past = c.past;
  a.q_stride = op.q.stride, a.k_stride = op.k.stride, a.v_stride = op.v.stride;
  a.a_stride = op.a.stride, a.b_stride = op.b.stride, a.out_stride = op.out.stride;
  a.batch = op.batch, a.length = op.length;
  a.key_heads = small(op.key_heads), a.value_heads = small(op.value_heads);
  a.key_dim = small(op.key_dim), a.value_dim = small(op.value_dim);
  a.eps = static_cast<float>(delta_norm_eps), a.dtype = c.dtype(op.q);
  return a;
}
bool is_chunked(const GatedDelta& op, const GatedDeltaArgs& a) {
  return op.form == SsdForm::chunked && op.length >= gated_delta_chunked_min_length &&
         gated_delta_chunked_supports(a);
}
void choose_form_of(GatedDelta& op, CudaContext& c) {
  if (is_chunked(op, delta_args(op, c)))
    op.chunk = gated_delta_chunk;
  else
    op.form = SsdForm::recurrence;
}
int64_t workspace_of(const GatedDelta& op, CudaContext& c) {
  const GatedDeltaArgs a = delta_args(op, c);
  return is_chunked(op, a) ? gated_delta_chunked_workspace_bytes(a) : 0;
}
std::string name_of(const GatedDelta& op, CudaContext& c) {
  return is_chunked(op, delta_args(op, c)) ? "gated delta, chunks of 64" : "gated delta recurrence";
}
void launch_op(const GatedDelta& op, CudaContext& c) {
  const GatedDeltaArgs a = delta_args(op, c);
  if (!is_chunked(op, a)) return launch_gated_delta(a, c.queue);
  launch_gated_delta_chunked(a, c.workspace(workspace_of(op, c)), c.queue);
}

RgLruArgs rg_lru_args(const RgLru& op, CudaContext& c) {
  RgLruArgs a;
  a.x = c.at(op.x), a.input_gate = c.at(op.input_gate);
  a.recurrent_gate = c.at(op.recurrent_gate), a.param = c.at(op.param);
  a.state = c.at<float>(op.state), a.out = c.at(op.out), a.past = c.past;
  a.x_stride = op.x.stride, a.input_stride = op.input_gate.stride;
  a.recurrent_stride = op.recurrent_gate.stride, a.out_stride = op.out.stride;
  a.batch = op.batch, a.length = op.length, a.width = small(op.width), a.dtype = c.dtype(op.x);
  return a;
}
int64_t workspace_of(const RgLru& op, CudaContext& c) {
  const RgLruArgs a = rg_lru_args(op, c);
  return static_cast<int64_t>(rg_lru_workspace_bytes(a, choose_rg_lru(a, c.sm_count)));
}
std::string name_of(const RgLru& op, CudaContext& c) {
  return name(choose_rg_lru(rg_lru_args(op, c), c.sm_count));
}
void launch_op(const RgLru& op, CudaContext& c) {
  const RgLruArgs a = rg_lru_args(op, c);
  launch_rg_lru(a, choose_rg_lru(a, c.sm_count), c.workspace(workspace_of(op, c)), c.queue);
}

// ---- elementwise ----

void launch_op(const Add& op, CudaContext& c) {
  launch_add({.x = c.at(op.x),
              .y = c.at(op.y),
              .out = c.at(op.out),
              .x_stride = op.x.stride,
              .y_stride = op.y.stride,
              .out_stride = op.out.stride,
              .rows = op.rows,
              .width = small(op.width),
              .dtype = c.dtype(op.x)},
             c.queue);
}

void launch_op(const RowGate& op, CudaContext& c) {
  launch_row_gate({.act = op.act,
                   .gate = c.at(op.gate),
                   .x = c.at(op.x),
                   .out = c.at(op.out),
                   .gate_stride = op.gate.stride,
                   .x_stride = op.x.stride,
                   .out_stride = op.out.stride,
                   .rows = op.rows,
                   .width = small(op.width),
                   .dtype = c.dtype(op.x)},
                  c.queue);
}

void launch_op(const SoftCap& op, CudaContext& c) {
  const DType dtype = c.dtype(op.x);
  launch_soft_cap({.x = c.at<std::byte>(op.x) + op.past * op.out_per_past * size_bytes(dtype),
                   .x_stride = op.x.stride,
                   .rows = op.rows,
                   .width = small(op.width),
                   .cap = op.cap,
                   .dtype = dtype},
                  c.queue);
}

// ---- experts and diagonal blocks ----

int64_t workspace_of(const Route& op, CudaContext&) {
  return route_workspace_bytes(op.rows, op.top_k);
}
void launch_op(const Route& op, CudaContext& c) {
  RouteArgs a;
  a.score = op.score;
  a.logits = c.at<float>(op.logits), a.bias = c.at(op.bias), a.weights = c.at<float>(op.weights);
  a.token = c.at<int32_t>(op.token), a.position = c.at<int32_t>(op.position);
  a.first = c.at<int32_t>(op.first);
  a.chosen = static_cast<int32_t*>(c.workspace(workspace_of(op, c)));
  a.logits_stride = op.logits.stride, a.weights_stride = op.weights.stride;
  a.token_stride = op.token.stride, a.position_stride = op.position.stride;
  a.first_stride = op.first.stride;
  a.rows = op.rows, a.experts = small(op.experts), a.top_k = small(op.top_k);
  a.groups = small(op.groups), a.top_groups = small(op.top_groups);
  a.normalize = op.normalize, a.scale = op.scale;
  a.dtype = op.bias ? c.dtype(op.bias) : DType::f32;
  launch_route(a, c.queue);
}

ExpertGemmArgs expert_gemm_args(const ExpertGemm& op, CudaContext& c) {
  ExpertGemmArgs a;
  a.x = c.at(op.x), a.weight = c.at(op.weight), a.out = c.at(op.out);
  a.token = c.at<int32_t>(op.token), a.first = c.at<int32_t>(op.first);
  a.x_stride = op.x.stride, a.weight_stride = op.weight.stride, a.out_stride = op.out.stride;
  a.token_stride = op.token.stride, a.first_stride = op.first.stride;
  a.slots = op.slots, a.experts = small(op.experts), a.n = small(op.n), a.k = small(op.k);
  a.dtype = c.dtype(op.x);
  return a;
}
std::string name_of(const ExpertGemm& op, CudaContext& c) {
  return std::string(name(choose_expert_gemm(expert_gemm_args(op, c))));
}
void launch_op(const ExpertGemm& op, CudaContext& c) {
  const ExpertGemmArgs a = expert_gemm_args(op, c);
  launch_expert_gemm(a, choose_expert_gemm(a), c.queue);
}

void launch_op(const Combine& op, CudaContext& c) {
  launch_combine({.x = c.at(op.x),
                  .weights = c.at<float>(op.weights),
                  .position = c.at<int32_t>(op.position),
                  .out = c.at(op.out),
                  .x_stride = op.x.stride,
                  .weights_stride = op.weights.stride,
                  .position_stride = op.position.stride,
                  .out_stride = op.out.stride,
                  .rows = op.rows,
                  .top_k = small(op.top_k),
                  .width = small(op.width),
                  .accumulate = op.accumulate,
                  .dtype = c.dtype(op.x)},
                 c.queue);
}

BlockGemmArgs block_gemm_args(const BlockGemm& op, CudaContext& c) {
  BlockGemmArgs a;
  a.x = c.at(op.x), a.weight = c.at(op.weight), a.bias = c.at(op.bias), a.out = c.at(op.out);
  a.x_stride = op.x.stride, a.weight_stride = op.weight.stride, a.out_stride = op.out.stride;
  a.m = op.m, a.blocks = small(op.blocks), a.n = small(op.n), a.k = small(op.k);
  a.dtype = c.dtype(op.x);
  return a;
}
std::string name_of(const BlockGemm& op, CudaContext& c) {
  return std::string(name(choose_block_gemm(block_gemm_args(op, c))));
}
void launch_op(const BlockGemm& op, CudaContext& c) {
  const BlockGemmArgs a = block_gemm_args(op, c);
  launch_block_gemm(a, choose_block_gemm(a), c.queue);
}

// ---- what most operators say ----

template <class Concrete>
void choose_form_of(Concrete&, CudaContext&) {}
template <class Concrete>
int64_t workspace_of(const Concrete&, CudaContext&) {
  return 0;
}
template <class Concrete>
void prepare_op(const Concrete&, CudaContext&) {}
template <class Concrete>
std::string name_of(const Concrete& op, CudaContext&) {
  return std::string(name(Op(op)));
}
}  // namespace

void choose_form(Op& op, CudaContext& c) {
  std::visit([&](auto& concrete) { choose_form_of(concrete, c); }, op);
}
void launch(const Op& op, CudaContext& c) {
  std::visit([&](const auto& concrete) { launch_op(concrete, c); }, op);
}
int64_t workspace_bytes(const Op& op, CudaContext& c) {
  return std::visit([&](const auto& concrete) { return workspace_of(concrete, c); }, op);
}
void prepare(const Op& op, CudaContext& c) {
  std::visit([&](const auto& concrete) { prepare_op(concrete, c); }, op);
}
std::string implementation(const Op& op, CudaContext& c) {
  return std::visit([&](const auto& concrete) { return name_of(concrete, c); }, op);
}

// ---- what a step of one token takes along ----
// A launch less each: docs/kernels-cuda-attn.md. Only in a step's graph: profiles and observers see
// every operator on its own.
namespace {

// Whether two tensors lie in the same bytes of an arena: then one may be written only after the
// last reader of the other, which a kernel of both operators cannot promise.
bool share_memory(const Operand& a, const Operand& b, CudaContext& c) {
  const Tensor &x = c.tensor(a), &y = c.tensor(b);
  if (x.tag != y.tag) return false;
  const int64_t x0 = c.offset_bytes[static_cast<size_t>(a.tensor)],
                y0 = c.offset_bytes[static_cast<size_t>(b.tensor)];
  return x0 < y0 + size_bytes(y) && y0 < x0 + size_bytes(x);
}

template <class Wanted>
const Wanted* node_as(const Step& step, size_t index) {
  return index < step.nodes.size() ? std::get_if<Wanted>(&step.nodes[index].op) : nullptr;
}

const Gemm* product_of_one_row(const Step& step, size_t index) {
  const auto* gemm = node_as<Gemm>(step, index);
  return gemm && gemm->m == 1 ? gemm : nullptr;
}

// Whether what is in `tensor` after node `index` is read: by a node before the next that only
// writes it, or by who looks at the step's result.
bool is_read_after(const Step& step, size_t index, TensorId tensor) {
  if (tensor == step.final_hidden) return true;
  const auto holds = [&](const std::vector<TensorId>& ids) {
    return std::find(ids.begin(), ids.end(), tensor) != ids.end();
  };
  for (size_t i = index + 1; i < step.nodes.size(); ++i) {
    const Touched t = touched(step.nodes[i].op);
    if (holds(t.reads)) return true;
    if (holds(t.writes)) return false;
  }
  return false;
}

// The norm before a product: a factor per k of x and one of the sum.
bool take_norm(const Step& step, size_t index, GemvArgs& args, CudaContext& c) {
  const auto* norm = node_as<Norm>(step, index);
  const Gemm* gemm = product_of_one_row(step, index + 1);
  if (!norm || !gemm || norm->kind != NormKind::rms || norm->groups != 1 || norm->rows != 1 ||
      !norm->weight || norm->bias || norm->out != gemm->x || norm->width != gemm->k ||
      norm->x.tensor == norm->out.tensor || gemm->out.tensor == norm->x.tensor ||
      gemm->out.tensor == norm->out.tensor || share_memory(gemm->out, norm->x, c))
    return false;
  args = gemv_args(gemm_args(*gemm, c));
  args.x = c.at(norm->x), args.x_stride = norm->x.stride;
  args.norm = {.weight = c.at(norm->weight), .eps = norm->eps, .offset = norm->weight_offset};
  if (is_read_after(step, index + 1, norm->out.tensor)) args.norm.out = c.at(norm->out);
  return gemv_takes_along(args);
}

// In these `x` is what the product reads.
bool take_glu(const Op& op, const Gemm& gemm, const Operand& x, GemvArgs& args, CudaContext& c) {
  const auto* glu = std::get_if<Glu>(&op);
  if (!glu || !gates_halves(*glu, gemm) || c.dtype(glu->out) != c.dtype(gemm.out) ||
      share_memory(glu->out, x, c))
    return false;
  args.tail = GemvTail::glu, args.act = glu->act;
  args.out = c.at(glu->out), args.out_stride = glu->out.stride;
  return gemv_takes_along(args);
}

// What then remains in the product's tensor of the columns convolved is nothing: plans read no more
// of it.
bool take_conv(const Op& op, const Gemm& gemm, const Operand& x, GemvArgs& args, Conv1dArgs& conv,
               CudaContext& c) {
  const auto* o = std::get_if<Conv1d>(&op);
  if (!o || o->length != 1 || o->x.tensor != gemm.out.tensor || o->x.stride != gemm.out.stride)
    return false;
  const int64_t begin = o->x.offset - gemm.out.offset;
  if (begin < 0 || begin + o->channels > gemm.n || o->width > 4 || share_memory(o->out, x, c))
    return false;
  args.tail = GemvTail::conv, args.conv_begin = small(begin);
  conv = conv1d_args(*o, c);
  return gemv_takes_along(args);
}

bool take_rope(const Op& op, const Gemm& gemm, GemvArgs& args, RopeArgs& rope, CudaContext& c) {
  const auto* o = std::get_if<Rope>(&op);
  if (!o || o->length != 1 || o->batch != 1 || !o->k || o->rotary_dim != o->head_dim ||
      o->rotary_dim / 2 > max_rotary_pairs || o->value_dim % 2 != 0)
    return false;
  const int64_t q_rows = o->heads * o->head_dim, k_rows = o->kv_heads * o->head_dim;
  Operand k = gemm.out, v = gemm.out;
  k.offset += q_rows, v.offset += q_rows + k_rows;
  if (o->q != gemm.out || o->k != k || (o->v && o->v != v) ||
      gemm.n != q_rows + k_rows + o->kv_heads * o->value_dim)
    return false;
  args.tail = GemvTail::rope;
  rope = rope_args(*o, c);
  return gemv_takes_along(args);
}

// The state update takes the gate after it along; a norm with the gate goes into the product.
size_t launch_gated_ssd(const Step& step, size_t index, CudaContext& c) {
  const auto* ssd = node_as<Ssd>(step, index);
  if (!ssd || ssd->length != 1) return 0;
  SsdArgs a = ssd_args(*ssd, c);
  const SsdChoice chosen = choose(*ssd, a, c);
  if (chosen.kernel != SsdKernel::recurrence) return 0;
  if (const auto* glu = node_as<Glu>(step, index + 1)) {
    if (glu->act != Act::silu || glu->up != ssd->out) return 0;
    a.z = c.at(glu->gate), a.z_stride = glu->gate.stride;
    a.out = c.at(glu->out), a.out_stride = glu->out.stride;
    launch_ssd(a, chosen, nullptr, c.queue);
    return 2;
  }
  const auto* norm = node_as<GatedNorm>(step, index + 1);
  const Gemm* gemm = product_of_one_row(step, index + 2);
  if (!norm || !gemm || norm->groups != 1 || norm->norm_before_gate || norm->rows != 1 ||
      norm->x != ssd->out || norm->out != gemm->x || norm->width != gemm->k ||
      gemm->out.tensor == norm->out.tensor || is_read_after(step, index + 2, norm->out.tensor))
    return 0;
  GemvArgs product = gemv_args(gemm_args(*gemm, c));
  product.norm = {.weight = c.at(norm->weight), .eps = norm->eps};
  if (!gemv_takes_along(product)) return 0;
  a.z = c.at(norm->z), a.z_stride = norm->z.stride;
  a.out = c.at(norm->out), a.out_stride = norm->out.stride;
  launch_ssd(a, chosen, nullptr, c.queue);
  launch_gemv(product, choose_gemv(product, c.sm_count), c.queue);
  return 3;
}

}  // namespace

size_t launch_fused(const Step& step, size_t index, CudaContext& c, std::set<size_t>& taken_along) {
  if (const size_t nodes = launch_gated_ssd(step, index, c)) {
    taken_along.insert(index + 1);  // a product after a gated norm is a launch of its own
    return nodes;
  }
  GemvArgs args;
  size_t at = index;
  if (take_norm(step, index, args, c)) {
    ++at;
  } else if (const Gemm* gemm = product_of_one_row(step, index)) {
    args = gemv_args(gemm_args(*gemm, c));
  } else {
    return 0;
  }
  const Gemm& gemm = *product_of_one_row(step, at);
  const Operand& x = at > index ? std::get<Norm>(step.nodes[index].op).x : gemm.x;
  Conv1dArgs conv;
  RopeArgs rope;
  if (at + 1 < step.nodes.size()) {
    const Op& next = step.nodes[at + 1].op;
    const GemvArgs alone = args;
    if ((take_glu(next, gemm, x, args, c)) || (take_conv(next, gemm, x, args, conv, c)) ||
        (take_rope(next, gemm, args, rope, c)))
      ++at;
    else
      args = alone;
  }
  launch_gemv(args, choose_gemv(args, c.sm_count), c.queue, conv, rope);
  for (size_t i = index + 1; i <= at; ++i) taken_along.insert(i);
  return at + 1 - index;
}

bool gains_by_position(const Op& op, CudaContext& c) {
  const auto* attention = std::get_if<Attention>(&op);
  return attention && choose_attention(attention_args(*attention, c), c) == AttentionKernel::cudnn;
}

bool is_position_free(const Op& op) {
  if (const auto* gemm = std::get_if<Gemm>(&op)) return gemm->out_per_past == 0;
  if (const auto* cap = std::get_if<SoftCap>(&op)) return cap->out_per_past == 0;
  if (const auto* argmax = std::get_if<Argmax>(&op)) return argmax->rows_per_past == 0;
  return true;
}

}  // namespace tidemark::cuda
