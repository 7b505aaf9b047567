// Tiles of bf16 in shared memory and the tensor-core products on them.
//
// A panel is 64 rows of 64 bf16 (8 KiB, 1024-byte aligned); the 16-byte piece c of row r lies at
// piece c ^ (r & 7). That is the 128-byte swizzle that wgmma reads, and ldmatrix reads it without
// bank conflicts. A tile of more than 64 columns is several panels.
//
// Products are of a warpgroup (128 threads), 64 rows at a time, and accumulate in fp32 registers
// laid out alike on both paths: thread `lane` of warp w holds in acc[4 t + i] row 16 w + lane / 4 +
// 8 (i / 2), column 8 t + 2 (lane % 4) + i % 2. On sm_90a they are wgmma and asynchronous until
// wait_products(); elsewhere mma.sync m16n8k16 and done on return.
#pragma once

#include "backend/cuda/device.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define TIDEMARK_WGMMA 1
#else
#define TIDEMARK_WGMMA 0
#endif

namespace tidemark::cuda {

inline constexpr int panel_bytes = 8192;

__device__ inline uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
// Byte offset of the 16-byte piece `piece` of row `row` in a panel.
__device__ inline int swizzled(int row, int piece) {
  return row * 128 + ((piece ^ (row & 7)) << 4);
}

// 16 bytes from global to shared memory, or zeros.
__device__ inline void copy_async(uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}
__device__ inline void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int pending>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}
// Makes this thread's writes to shared memory visible to wgmma; before the barrier.
__device__ inline void fence_for_products() {
#if TIDEMARK_WGMMA
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
__device__ inline void warpgroup_barrier(int group) {
  asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
}

__device__ inline void load_matrix(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
__device__ inline void load_matrix_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// Two neighbouring 8-column tiles of a warp's 16 rows, as load_matrix reads them: word i belongs to
// row row0 + lane / 4 + 8 (i % 2), columns 8 (t + i / 2) + 2 (lane % 4), + 1.
__device__ inline uint32_t tile_pair_address(uint32_t panel, int row0, int t) {
  const int lane = threadIdx.x % 32;
  return panel + swizzled(row0 + lane % 16, t + lane / 16);
}
__device__ inline void store_tile_pair(uint32_t panel, int row0, int t, const uint32_t (&r)[4]) {
#if __CUDA_ARCH__ >= 900
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                   tile_pair_address(panel, row0, t)),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
#else
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(
                     panel + swizzled(row0 + lane / 4 + i % 2 * 8, t + i / 2) + lane % 4 * 4),
                 "r"(r[i])
                 : "memory");
#endif
}

#if TIDEMARK_WGMMA

__device__ inline void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int pending>
__device__ inline void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}
// Keeps the compiler from moving accesses of accumulators across wgmma's asynchronous life.
template <int n>
__device__ inline void pin(float (&acc)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) asm volatile("" : "+f"(acc[i])::"memory");
}

// PTX ISA, "Matrix descriptor": address, byte strides in units of 16, 128-byte swizzle.
__device__ inline uint64_t describe(uint32_t address) {
  constexpr uint64_t leading = panel_bytes >> 4, stride = 1024 >> 4, swizzle_128 = 1;
  return (static_cast<uint64_t>(address & 0x3ffff) >> 4) | (leading << 16) | (stride << 32) |
         (swizzle_128 << 62);
}

#define TIDEMARK_ACC_32                                                                         \
  "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3]), "+f"(acc[4]), "+f"(acc[5]),           \
      "+f"(acc[6]), "+f"(acc[7]), "+f"(acc[8]), "+f"(acc[9]), "+f"(acc[10]), "+f"(acc[11]),     \
      "+f"(acc[12]), "+f"(acc[13]), "+f"(acc[14]), "+f"(acc[15]), "+f"(acc[16]), "+f"(acc[17]), \
      "+f"(acc[18]), "+f"(acc[19]), "+f"(acc[20]), "+f"(acc[21]), "+f"(acc[22]), "+f"(acc[23]), \
      "+f"(acc[24]), "+f"(acc[25]), "+f"(acc[26]), "+f"(acc[27]), "+f"(acc[28]), "+f"(acc[29]), \
      "+f"(acc[30]), "+f"(acc[31])

// acc (+)= A B^T: A, B panels of [64, 64] with the summed index along the row.
template <bool accumulate_first>
__device__ inline void add_product(float (&acc)[32], uint32_t a, uint32_t b) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int add = accumulate_first || k > 0 ? 1 : 0;
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "%32, %33, p, 1, 1, 0, 0;\n}"
        : TIDEMARK_ACC_32
        : "l"(describe(a + k * 32)), "l"(describe(b + k * 32)), "r"(add));
  }
}
// acc += A B: A [64, 64] in registers, a[k] the fragments of columns 16 k..; B a panel whose rows
// are the summed index.
__device__ inline void add_product(float (&acc)[32], const uint32_t (&a)[4][4], uint32_t b) {
#pragma unroll
  for (int k = 0; k < 4; ++k)
    asm volatile(
        "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "{%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}"
        : TIDEMARK_ACC_32
        : "r"(a[k][0]), "r"(a[k][1]), "r"(a[k][2]), "r"(a[k][3]), "l"(describe(b + k * 2048)));
}
#undef TIDEMARK_ACC_32

#else

__device__ inline void begin_products() {}
__device__ inline void commit_products() {}
template <int pending>
__device__ inline void wait_products() {}
template <int n>
__device__ inline void pin(float (&)[n]) {}

__device__ inline void mma(float* acc, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <bool accumulate_first>
__device__ inline void add_product(float (&acc)[32], uint32_t a, uint32_t b) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  if constexpr (!accumulate_first) {
#pragma unroll
    for (int i = 0; i < 32; ++i) acc[i] = 0;
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    uint32_t af[4];
    load_matrix(af, a + swizzled(16 * warp + lane % 16, 2 * k + lane / 16));
#pragma unroll
    for (int t = 0; t < 8; t += 2) {
      uint32_t bf[4];
      load_matrix(bf, b + swizzled(8 * t + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
      mma(acc + 4 * t, af, bf[0], bf[1]);
      mma(acc + 4 * t + 4, af, bf[2], bf[3]);
    }
  }
}
__device__ inline void add_product(float (&acc)[32], const uint32_t (&a)[4][4], uint32_t b) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < 4; ++k)
#pragma unroll
    for (int t = 0; t < 8; t += 2) {
      uint32_t bf[4];
      load_matrix_transposed(bf, b + swizzled(16 * k + lane % 16, t + lane / 16));
      mma(acc + 4 * t, a[k], bf[0], bf[1]);
      mma(acc + 4 * t + 4, a[k], bf[2], bf[3]);
    }
}

#endif

}  // namespace tidemark::cuda
