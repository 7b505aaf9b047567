// What the block lowerings in blocks/ write operators with.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace tidemark {

// The K/V cache of one layer, and of the later layers that read it too.
struct KvCache {
  int64_t window = 0, sinks = 0;  // the widest that any of its readers needs; window 0: everything
  int32_t last_reader = -1;
  // In the running step: this step's k and v, and the caches.
  Operand k, v, k_cache, v_cache;
};

// Where a block's last projection goes: out (+)= scale * ...
struct Into {
  Operand out;
  bool accumulate = true;
  float scale = 1;
};

class Builder {
 public:
  Builder(const ModelSpec& spec, Plan& plan);

  void begin_step(StepKind kind, int64_t length);
  void begin_layer(int32_t layer) { layer_ = layer; }

  const ModelSpec& spec() const { return spec_; }
  const Workload& workload() const { return plan_.workload; }
  Step& step() { return *step_; }
  int32_t layer() const { return layer_; }
  int64_t batch() const { return plan_.workload.batch; }
  int64_t length() const { return step_->length; }
  int64_t rows() const { return batch() * step_->length; }  // B * L
  // Positions a cache must hold, the meta tokens' included: the last new token is never fed back.
  int64_t positions() const {
    return spec_.meta_tokens + plan_.workload.context + plan_.workload.new_tokens - 1;
  }
  KvCache& kv_cache(int32_t layer) { return kv_caches_.at(layer); }

  // What activations, caches and the other weights are held in beside 8-bit ones.
  DType dtype() const { return activation_dtype(plan_.workload.dtype); }
  bool int8_x() const { return plan_.workload.dtype == DType::w8a8; }

  // A weight as operand (no_weight gives an empty one); shared weights share their tensor.
  Operand weight(WeightId id);
  // A weight that is held in 8 bits where the workload asks for it, and then its scales.
  struct Projection {
    Operand weight, scales;
    int64_t group;  // columns of a scale
  };
  Projection projection(WeightId id);
  // A tensor of this step only.
  Operand activation(const std::string& name, int64_t rows, int64_t cols);
  Operand activation(const std::string& name, int64_t rows, int64_t cols, DType dtype);
  // A tensor that lives as long as the plan, found again by name.
  Operand persistent(Tag tag, const std::string& name, int64_t rows, int64_t cols, DType dtype);
  // Per-layer state of the current layer, named "layer.<i>.<what>".
  Operand state(Tag tag, const std::string& what, int64_t rows, int64_t cols, DType dtype);

  void emit(Op op, Role role);
  // out (+)= scale * (x W^T + bias)
  void gemm(Operand x, int64_t m, WeightId weight, WeightId bias, Operand out, bool accumulate,
            Role role, float scale = 1.0F);
  void gemm(Operand x, int64_t m, WeightId weight, WeightId bias, const Into& into, Role role) {
    gemm(x, m, weight, bias, into.out, into.accumulate, role, into.scale);
  }
  Operand norm(const NormSpec& norm, Operand x, int64_t rows, int64_t width,
               const std::string& name, Role role);
  // Normalises `groups` vectors of `width` in place.
  void norm_in_place(const NormSpec& norm, Operand x, int64_t rows, int64_t groups, int64_t width,
                     Role role);
  // Adds the adapter's share of the projection of x to `out`.
  void adapt(const Adapter& adapter, Operand x, Operand out);

 private:
  void note_cache(const AttentionBlock& block, int32_t layer);

  const ModelSpec& spec_;
  Plan& plan_;
  Step* step_ = nullptr;
  int32_t layer_ = -1;
  std::vector<TensorId> weight_tensors_, scale_tensors_;
  std::map<int32_t, KvCache> kv_caches_;  // by the layer that fills it
};

// The convolution in front of a recurrence: SiLU, state carried per layer. Returns [rows,
// channels].
Operand convolve(Builder& b, Operand x, WeightId weight, WeightId bias, int64_t channels,
                 int64_t width, bool silu);
// Attention between its projections; k and v are empty when the layer reads another layer's cache.
// Returns [rows, heads * value_dim].
Operand attend(const AttentionBlock&, Builder&, Operand q, Operand k, Operand v);
// Mamba-1 between its projections: x before the convolution, and the gate z. Returns [rows, inner].
Operand scan(const Mamba1Block&, Builder&, Operand x, Operand z);
// The projections' width in columns: q and gate, and k and v unless another layer gives them.
int64_t qkv_width(const AttentionBlock&);

// Each writes one block's operators; `x` is the normalised input.
void lower(const AttentionBlock&, Builder&, Operand x, const Into&);
void lower(const MlpBlock&, Builder&, Operand x, const Into&);
void lower(const Mamba1Block&, Builder&, Operand x, const Into&);
void lower(const Mamba2Block&, Builder&, Operand x, const Into&);
void lower(const MoeBlock&, Builder&, Operand x, const Into&);
void lower(const ParallelHeadsBlock&, Builder&, Operand x, const Into&);
void lower(const GatedDeltaBlock&, Builder&, Operand x, const Into&);
void lower(const RgLruBlock&, Builder&, Operand x, const Into&);
void lower(const ShortConvBlock&, Builder&, Operand x, const Into&);

// `stream_and_embedding` [rows, 2D] holds the embedding in its right half. Returns the stream with
// the side transformer's output added, apart from the residual.
Operand lower(const SideTransformer&, Builder&, Operand residual, Operand stream_and_embedding);

}  // namespace tidemark
