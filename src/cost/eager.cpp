#include "cost/eager.h"

#include <algorithm>
#include <set>

#include "base/error.h"

namespace tidemark {
namespace {

// Bytes per element of what a kernel reads and writes: bf16 2, f32 4.
constexpr double cast_to_f32 = 2 + 4, in_f32 = 4 + 4, reduce_f32 = 4, cast_back = 4 + 2;
constexpr double one_in = 2 + 2, two_in = 2 + 2 + 2;

// Of MambaInnerFn: they move nothing, and take the host as long as a kernel's launch.
constexpr double rearrangements = 9;

template <class T, class... Of>
constexpr bool is_one_of = (std::is_same_v<T, Of> || ...);

// One kernel there as here.
template <class T>
constexpr bool is_one_kernel = is_one_of<T, Add, Activation, Conv1d, SelectLast, Argmax>;
// Loops over experts or over time, whose kernels nothing here counts.
template <class T>
constexpr bool is_refused = is_one_of<T, BlockGemm, Route, ExpertGemm, Combine, RgLru, GatedDelta>;

class Kernels {
 public:
  Kernels(const DeviceProfile& profile, const EagerOptions& options, const Node& node,
          const Plan& plan)
      : profile_(profile), options_(options), own_(work(node.op, plan)) {
    std::visit(
        [&]<class T>(const T& o) {
          if constexpr (!is_refused<T>) add(o, node.role);
        },
        node.op);
  }
  std::vector<Launch> take() { return std::move(launches_); }

 private:
  void library(const Work& work) { launches_.push_back({work, profile_.host_launch_s.value}); }
  void jit(const Work& work) { launches_.push_back({work, profile_.host_jit_launch_s.value}); }
  static Work pass(double elements, double bytes_per_element) {
    return {.kind = KernelClass::stream, .warm_bytes = elements * bytes_per_element};
  }
  void elementwise(double elements, std::initializer_list<double> bytes_per_element) {
    for (const double bytes : bytes_per_element) library(pass(elements, bytes));
  }
  // `parts` equal shares of the operator's own kernel.
  void shares(int parts) {
    for (int i = 0; i < parts; ++i) library(own_ * (1.0 / parts));
  }
  double elements(int64_t rows, int64_t width) const {
    return static_cast<double>(rows) * static_cast<double>(width);
  }
  // to f32, square, mean, + eps, rsqrt, x *, to 16 bits, weight *
  void rms_norm(double n, double vectors) {
    elementwise(n, {cast_to_f32, in_f32, reduce_f32});
    elementwise(vectors, {in_f32, in_f32});
    elementwise(n, {in_f32, cast_back, one_in});
  }

  template <class T>
  requires is_one_kernel<T>
  void add(const T&, Role) { library(own_); }

  void add(const Embedding& o, Role) {
    library(own_);
    if (o.scale != 1.0F) elementwise(elements(o.batch * o.length, o.width), {one_in});
  }

  void add(const Norm& o, Role role) {
    const double n = elements(o.rows * o.groups, o.width);
    if (options_.fused_norms) {
      // with the residual, which is kept in f32
      jit(pass(n, role == Role::ssm_norm || role == Role::final_norm ? 2 + 4 + 4 + 2 : one_in));
    } else if (o.kind == NormKind::layer) {
      library(own_);
    } else {
      rms_norm(n, elements(o.rows, o.groups));
    }
  }
  void add(const GatedNorm& o, Role) {
    const double n = elements(o.rows * o.groups, o.width);
    if (options_.fused_norms) return jit(own_);
    elementwise(n, {cast_to_f32, in_f32, 4 + 4 + 4});  // silu(z) in f32, times x
    rms_norm(n, elements(o.rows, o.groups));
  }

  // The residual is added by a kernel of its own, or by the fused norm.
  void add(const Gemm& o, Role role) {
    if (o.accumulate) own_.warm_bytes -= elements(o.m, o.n) * 2;
    const bool stacked = role == Role::qkv_proj || role == Role::mlp_up;
    shares(role == Role::qkv_proj ? 3 : stacked ? 2 : 1);
    if (o.scale != 1.0F) elementwise(elements(o.m, o.n), {one_in});
    if (o.accumulate && !options_.fused_norms) elementwise(elements(o.m, o.n), {two_in});
    if (options_.multiplies) multiply(o, role);
  }
  // modeling_falcon_h1.py: ssm_in and mup_vector, attention_in, attention_out and ssm_out, and of
  // the MLP gate and down. The key's is with its rotation.
  void multiply(const Gemm& o, Role role) {
    const double in = elements(o.m, o.k), out = elements(o.m, o.n);
    if (role == Role::in_proj || role == Role::qkv_proj) elementwise(in, {one_in});
    if (role == Role::mlp_up) elementwise(out / 2, {one_in});
    if (role == Role::in_proj || role == Role::o_proj || role == Role::out_proj ||
        role == Role::mlp_down)
      elementwise(out, {one_in});
  }
  void add(const Glu& o, Role) { elementwise(elements(o.rows, o.width), {one_in, two_in}); }
  void add(const RowGate& o, Role) { elementwise(elements(o.rows, o.width), {one_in, two_in}); }
  void add(const SoftCap& o, Role) {
    elementwise(elements(o.rows, o.width), {one_in, one_in, one_in});
  }

  // x cos + rotate_half(x) sin: two products, negate a half, join, add
  void rotate(double n) { elementwise(n, {one_in, one_in / 2, one_in, one_in, two_in}); }
  void add(const Rope& o, Role) {
    const int64_t rows = o.batch * o.length;
    rotate(elements(rows, o.heads * o.head_dim));
    if (o.k) rotate(elements(rows, o.kv_heads * o.head_dim));
    if (options_.multiplies) elementwise(elements(rows, o.kv_heads * o.head_dim), {one_in});
    if (o.k_cache) join_cache(o);
  }
  void add(const KvAppend& o, Role) { join_cache(o); }
  // By whichever operator writes the cache: it grows by joining what was there and what is new.
  void join_cache(const auto& o) {
    if (o.past == 0) return;
    for (const int64_t width : {o.head_dim, o.value_dim})
      elementwise(elements(o.batch * (o.past + o.length), o.kv_heads * width), {one_in});
  }

  void add(const Attention& o, Role) {
    const int64_t rows = o.batch * o.length, keys = o.past + o.length;
    // Keys and values are repeated for every head of their group.
    if (o.kv_heads != o.heads)
      for (const int64_t width : {o.head_dim, o.value_dim})
        elementwise(elements(o.batch * keys, o.heads * width), {one_in});
    // Heads to the front, and back.
    elementwise(elements(rows, o.heads * o.head_dim), {one_in});
    const bool masked = options_.masked_from > 0 && keys >= options_.masked_from;
    library(masked ? over_all_pairs(o) : own_);
    elementwise(elements(rows, o.heads * o.value_dim), {one_in});
  }
  // Every pair is computed, and the mask is read. One query per head keeps one multiprocessor busy.
  Work over_all_pairs(const Attention& o) const {
    const double pairs = static_cast<double>(o.batch * o.heads) * static_cast<double>(o.length) *
                         static_cast<double>(o.past + o.length);
    Work w = own_;
    w.kind = KernelClass::masked_attention;
    w.matrix_ops = pairs * static_cast<double>(2 * o.head_dim + 2 * o.value_dim);
    w.special_ops = pairs;
    w.vector_ops = pairs * 5;  // as attention's, and the mask
    w.cold_bytes = static_cast<double>(o.batch * o.heads * (o.past + o.length)) *
                   static_cast<double>(o.head_dim + o.value_dim) * 2;
    w.warm_bytes += pairs / static_cast<double>(o.heads) * 2;
    if (o.length == 1 && profile_.multiprocessors) {
      const double busy = static_cast<double>(o.batch * o.heads) / profile_.multiprocessors->value;
      if (busy < 1) w.cold_bytes /= busy;
    }
    return w;
  }

  // A = -exp(float(a_log)): three small kernels.
  void decay() { elementwise(1, {in_f32, in_f32, in_f32}); }
  void add(const SelectiveScan& o, Role) {
    decay();
    const double n = elements(o.batch * o.length, o.state_size);
    if (o.length == 1) return jit(own_);
    elementwise(n, {one_in, one_in});  // B and C position by position
    library(own_);
    launches_.back().host_s *= 1 + rearrangements;
  }
  // mamba_ssm: running sums, states of blocks, their recurrence, C B^T, outputs; the kernels
  // compute whole blocks and hand states and C B^T on through memory.
  void add(const Ssd& o, Role) {
    decay();
    if (o.form == SsdForm::recurrence) return jit(own_);
    const double rows = elements(o.batch, o.length), blocks = rows / static_cast<double>(o.chunk);
    const double states = blocks * elements(o.heads * o.head_dim, o.state_size);
    const double products = rows * elements(o.groups, o.chunk);
    jit(pass(rows * static_cast<double>(o.heads), 2 + 4 + 4));
    Work half = own_ * 0.5;
    half.warm_bytes = own_.warm_bytes + states * 4;
    half.cold_bytes = own_.cold_bytes;
    jit(half);
    jit(pass(states, 4 + 2));
    jit(pass(products, 4));
    half.warm_bytes += products * 4;
    jit(half);
  }

  const DeviceProfile& profile_;
  const EagerOptions& options_;
  Work own_;
  std::vector<Launch> launches_;
};

}  // namespace

EagerOptions eager_options(const ModelSpec& spec) {
  const auto is_one_of_families = [&](std::initializer_list<std::string_view> families) {
    return std::ranges::find(families, spec.family) != families.end();
  };
  EagerOptions options{.masked_from = spec.declared_window, .fused_norms = true};
  const auto visit = [&](const Block& block) {
    const auto* attention = std::get_if<AttentionBlock>(&block);
    const auto* parallel = std::get_if<ParallelHeadsBlock>(&block);
    if (parallel) attention = &parallel->attention;
    if (!attention && !std::holds_alternative<Mamba1Block>(block) &&
        !std::holds_alternative<Mamba2Block>(block)) {
      options.fused_norms = false;
      return;
    }
    if (!attention) return;
    options.fused_norms = false;
    if (options.masked_from > 0 || attention->window == 0) return;
    options.masked_from = attention->window;
    options.mask_making_bytes = parallel ? 9 : 7;
  };
  for (const LayerSpec& layer : spec.layers)
    for (const Sublayer& sublayer : layer.sublayers) {
      if (sublayer.side) options.fused_norms = false;
      for (const Block& block : sublayer.parallel) visit(block);
    }
  if (is_one_of_families({"jamba", "nemotron_h", "zamba2"})) {
    options.masked_from = 1;
    options.mask_making_bytes = 5;
  }
  options.keeps_cache =
      !options.fused_norms && !is_one_of_families({"bamba", "falcon_h1", "granitemoehybrid",
                                                   "hymba", "jamba", "nemotron_h"});
  options.multiplies = spec.family == "falcon_h1";
  return options;
}

std::string missing_eager_kernels(const Plan& plan) {
  std::set<std::string_view> refused;
  for (const Step& step : plan.steps)
    for (const Node& node : step.nodes)
      if (std::visit([]<class T>(const T&) { return is_refused<T>; }, node.op))
        refused.insert(name(node.op));
  if (refused.empty()) return "";
  return fmt::format("eager-full has no kernels for {} of {}", fmt::join(refused, ", "),
                     plan.model);
}

Launches eager_launches(const DeviceProfile& profile, const EagerOptions& options) {
  return [profile, options](const Node& node, const Plan& plan) {
    return Kernels(profile, options, node, plan).take();
  };
}

Workload eager_workload(Workload workload) {
  workload.chunk = workload.context;
  workload.logits = LogitsPolicy::all;
  workload.logits_dtype = DType::bf16;
  return workload;
}

}  // namespace tidemark
