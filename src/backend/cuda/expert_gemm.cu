// The products of a mixture of experts. Algorithm:
//   few slots (decode): a block per slot and 16 outputs; it finds the slot's expert in `first`, two
//     rows of the weights per warp stream past the L1, 16 bytes a lane;
//   many: tiles of 64 or 128 slots of one expert by 128 outputs (product_tensor.cuh; in fp32 or
//     unaligned product_plain.cuh), rows of x gathered by token while they are copied. As many
//     tiles are launched as any distribution of slots over experts can need; each finds its expert
//     by a running sum over `first`, and those left over end at once.
// So nothing comes back to the host, and one captured launch serves every routing (the grouped
// product of MegaBlocks, arXiv 2211.15841, with tiles found on the device).
// Limits: few: bytes of the weights of the slots' experts; many: tensor cores, and at few slots per
// expert again the bytes of the weights.
#include <algorithm>

#include "backend/cuda/expert_gemm.h"
#include "backend/cuda/product_plain.cuh"
#include "backend/cuda/product_tensor.cuh"
#include "backend/cuda/vector.cuh"

namespace tidemark::cuda {
namespace {

constexpr unsigned all_lanes = 0xffffffffu;

// ------------------------------------------------------------------------------------------- few

constexpr int few_warps = 8, few_rows = 2;

// Of a warp: the expert that owns a slot.
__device__ inline int expert_of(const ExpertGemmArgs& a, int64_t slot) {
  for (int e0 = 0; e0 < a.experts; e0 += 32) {
    const int e = e0 + threadIdx.x % 32;
    const bool mine = e < a.experts && a.first[e * a.first_stride] <= slot &&
                      slot < a.first[(e + 1) * a.first_stride];
    const unsigned found = __ballot_sync(all_lanes, mine);
    if (found != 0) return e0 + __ffs(static_cast<int>(found)) - 1;
  }
  return 0;
}

// Block x: few_warps * few_rows outputs; block y: slot.
template <class T, int kVector>
__global__ void __launch_bounds__(few_warps * 32) few_kernel(ExpertGemmArgs a) {
  let_next_start();
  wait_for_previous();
  const int64_t slot = blockIdx.y;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int n0 = (blockIdx.x * few_warps + warp) * few_rows;
  if (n0 >= a.n) return;
  const int64_t expert = expert_of(a, slot);
  const int64_t from = a.token ? a.token[slot * a.token_stride] : slot;
  const T* const x = static_cast<const T*>(a.x) + from * a.x_stride;
  const T* rows[few_rows];
#pragma unroll
  for (int r = 0; r < few_rows; ++r)
    rows[r] =
        static_cast<const T*>(a.weight) + (expert * a.n + min(n0 + r, a.n - 1)) * a.weight_stride;
  float sum[few_rows] = {};
#pragma unroll 4
  for (int k = lane * kVector; k < a.k; k += 32 * kVector) {
    Vector<T, kVector> weights[few_rows];
#pragma unroll
    for (int r = 0; r < few_rows; ++r) weights[r] = load_vector<T, kVector>(rows[r] + k);
    float v[kVector];
    to_floats(load_vector<T, kVector>(x + k), v);
#pragma unroll
    for (int r = 0; r < few_rows; ++r)
#pragma unroll
      for (int j = 0; j < kVector; ++j) sum[r] = fmaf(to_float(weights[r].value[j]), v[j], sum[r]);
  }
  T* const out = static_cast<T*>(a.out) + slot * a.out_stride;
#pragma unroll
  for (int r = 0; r < few_rows; ++r) {
    const float total = lane_sum(sum[r]);
    if (lane == 0 && n0 + r < a.n) out[n0 + r] = from_float<T>(total);
  }
}

// ------------------------------------------------------------------------------------------ many

struct Tile {
  int expert;                 // -1: left over
  int begin, end, first_row;  // slots: of the expert, and where the tile begins
};

// Of a whole block: which `rows` slots of which expert tile number `tile` is.
__device__ inline Tile find_tile(const ExpertGemmArgs& a, int tile, int rows) {
  __shared__ Tile found;
  if (threadIdx.x == 0) found.expert = -1;
  __syncthreads();
  if (threadIdx.x < 32) {
    const int lane = threadIdx.x;
    int tiles_before = 0;
    for (int e0 = 0; e0 < a.experts; e0 += 32) {
      const int e = e0 + lane;
      const int begin = e < a.experts ? a.first[e * a.first_stride] : 0;
      const int end = e < a.experts ? a.first[(e + 1) * a.first_stride] : 0;
      const int tiles = (end - begin + rows - 1) / rows;
      int through = tiles;  // of the experts up to this lane's
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const int other = __shfl_up_sync(all_lanes, through, step);
        if (lane >= step) through += other;
      }
      const int own = tile - tiles_before - (through - tiles);
      if (own >= 0 && own < tiles) found = {e, begin, end, begin + own * rows};
      tiles_before += __shfl_sync(all_lanes, through, 31);
      if (tiles_before > tile) break;
    }
  }
  __syncthreads();
  return found;
}

int64_t tile_count(const ExpertGemmArgs& a, int rows) {
  const int64_t full = a.slots / rows;
  return full + std::min<int64_t>(a.experts, a.slots);
}

template <int kGroups>
__global__ void __launch_bounds__(tensor_threads<kGroups>) tensor_kernel(ExpertGemmArgs a) {
  let_next_start();
  wait_for_previous();
  const Tile tile = find_tile(a, blockIdx.y, tensor_rows<kGroups>);
  if (tile.expert < 0) return;
  TensorProduct p;
  p.x = static_cast<const bf16*>(a.x) + (a.token ? 0 : tile.begin * a.x_stride);
  if (a.token) p.gather = a.token + tile.begin * a.token_stride;
  p.weight = static_cast<const bf16*>(a.weight) + int64_t{tile.expert} * a.n * a.weight_stride;
  p.out = static_cast<bf16*>(a.out) + tile.begin * a.out_stride;
  p.x_stride = a.x_stride, p.gather_stride = a.token_stride, p.weight_stride = a.weight_stride;
  p.out_stride = a.out_stride;
  p.m = tile.end - tile.begin, p.n = a.n, p.k = a.k;
  tensor_product<kGroups, false>(p, tile.first_row - tile.begin, blockIdx.x * tensor_columns);
}

template <class T>
__global__ void __launch_bounds__(plain_threads) plain_kernel(ExpertGemmArgs a) {
  let_next_start();
  wait_for_previous();
  const Tile tile = find_tile(a, blockIdx.y, plain_tile);
  if (tile.expert < 0) return;
  PlainProduct<T> p;
  p.x = static_cast<const T*>(a.x) + (a.token ? 0 : tile.begin * a.x_stride);
  if (a.token) p.gather = a.token + tile.begin * a.token_stride;
  p.weight = static_cast<const T*>(a.weight) + int64_t{tile.expert} * a.n * a.weight_stride;
  p.out = static_cast<T*>(a.out) + tile.begin * a.out_stride;
  p.x_stride = a.x_stride, p.gather_stride = a.token_stride, p.weight_n = a.weight_stride;
  p.weight_k = 1, p.out_stride = a.out_stride;
  p.m = tile.end - tile.begin, p.n = a.n, p.k = a.k;
  plain_product(p, tile.first_row - tile.begin, int64_t{blockIdx.x} * plain_tile);
}

// ------------------------------------------------------------------------------------- launchers

template <class T, int kVector>
void launch_few(const ExpertGemmArgs& a, const Queue& queue) {
  constexpr int outputs = few_warps * few_rows;
  launch_kernel(
      few_kernel<T, kVector>,
      dim3(static_cast<unsigned>((a.n + outputs - 1) / outputs), static_cast<unsigned>(a.slots)),
      dim3(few_warps * 32), 0, queue, "expert_gemm", a);
}

template <int kGroups>
void launch_tensor(const ExpertGemmArgs& a, const Queue& queue) {
  constexpr int bytes = tensor_shared_bytes<kGroups>;
  check(cudaFuncSetAttribute(tensor_kernel<kGroups>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             bytes),
        "expert_gemm: shared memory");
  launch_kernel(tensor_kernel<kGroups>,
                dim3(static_cast<unsigned>((a.n + tensor_columns - 1) / tensor_columns),
                     static_cast<unsigned>(tile_count(a, tensor_rows<kGroups>))),
                dim3(tensor_threads<kGroups>), bytes, queue, "expert_gemm", a);
}

// Above so many slots tiles share the weights they read.
constexpr int64_t few_slots = 64;

}  // namespace

ExpertGemmKernel choose_expert_gemm(const ExpertGemmArgs& a) {
  const int64_t full = a.dtype == DType::bf16 ? 8 : 4;
  const bool aligned = is_multiple_of(a.x, 16) && is_multiple_of(a.weight, 16) &&
                       a.x_stride % full == 0 && a.weight_stride % full == 0 && a.k % full == 0;
  if (a.slots <= few_slots)
    return aligned ? ExpertGemmKernel::few : ExpertGemmKernel::few_unaligned;
  if (a.dtype != DType::bf16 || !aligned) return ExpertGemmKernel::plain;
  return a.slots >= int64_t{96} * a.experts ? ExpertGemmKernel::tensor128
                                            : ExpertGemmKernel::tensor64;
}

std::string_view name(ExpertGemmKernel kernel) {
  switch (kernel) {
    case ExpertGemmKernel::few:
      return "expert gemv";
    case ExpertGemmKernel::few_unaligned:
      return "expert gemv, unaligned";
    case ExpertGemmKernel::plain:
      return "expert gemm plain";
    case ExpertGemmKernel::tensor64:
      return "expert gemm 64x128";
    case ExpertGemmKernel::tensor128:
      return "expert gemm 128x128";
  }
  return {};
}

void launch_expert_gemm(const ExpertGemmArgs& a, ExpertGemmKernel kernel, const Queue& queue) {
  const bool is_bf16 = a.dtype == DType::bf16;
  switch (kernel) {
    case ExpertGemmKernel::few:
      return is_bf16 ? launch_few<bf16, 8>(a, queue) : launch_few<float, 4>(a, queue);
    case ExpertGemmKernel::few_unaligned:
      return is_bf16 ? launch_few<bf16, 1>(a, queue) : launch_few<float, 1>(a, queue);
    case ExpertGemmKernel::tensor64:
      return launch_tensor<1>(a, queue);
    case ExpertGemmKernel::tensor128:
      return launch_tensor<2>(a, queue);
    case ExpertGemmKernel::plain:
      break;
  }
  launch_kernel(is_bf16 ? plain_kernel<bf16> : plain_kernel<float>,
                dim3(static_cast<unsigned>((a.n + plain_tile - 1) / plain_tile),
                     static_cast<unsigned>(tile_count(a, plain_tile))),
                dim3(plain_threads), 0, queue, "expert_gemm", a);
}

}  // namespace tidemark::cuda
