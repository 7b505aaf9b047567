#include "backend/cpu/cpu_backend.h"

#include <fmt/format.h>
#include <hwy/highway.h>
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <type_traits>

#include "backend/arena.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/max_isa.h"
#include "backend/cpu/packed_weight.h"
#include "base/cpu_model.h"

namespace tidemark {
namespace {

// What of the instruction set matters to speed: our kernels' target and what oneDNN may add.
std::string isa() {
  std::string text(cpu::simd_target());
#if defined(__x86_64__)
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("flags")) continue;
    line += ' ';
    const cpu::Isa most = cpu::max_isa();
    if (most >= cpu::Isa::avx512_bf16 && line.find(" avx512_bf16 ") != std::string::npos)
      text += " +BF16";
    if (most >= cpu::Isa::all && line.find(" amx_bf16 ") != std::string::npos) text += " +AMX";
    break;
  }
#endif
  return text;
}

// body(element, tensor) with an element of the type that a packed weight has.
template <class Body>
void with_elements(const Tensor& tensor, const Body& body) {
  tensor.dtype == DType::i8 ? body(int8_t{}, tensor) : body(Bf16(), tensor);
}

// The gate that the product before it does along with its own work in steps without an observer, or
// null.
const Glu* gate_taken_along(const Step& step, size_t index, const CpuContext& context) {
  if (index == 0 || index >= step.nodes.size()) return nullptr;
  const auto* gemm = std::get_if<Gemm>(&step.nodes[index - 1].op);
  const auto* glu = std::get_if<Glu>(&step.nodes[index].op);
  return gemm && glu && cpu::takes_along(*gemm, *glu, context) ? glu : nullptr;
}

}  // namespace

CpuBackend::CpuBackend(int threads, int64_t memory_limit_bytes, const cpu::Bf16Unit* bf16)
    : threads_(threads > 0 ? threads : omp_get_num_procs()),
      memory_limit_bytes_(memory_limit_bytes),
      bf16_(bf16) {
  cpu::apply_max_isa();
}

BackendInfo CpuBackend::info() const {
  return {.device = "cpu",
          .name = this_cpu(),
          .isa = isa(),
          .threads = threads_,
          .libraries = {"oneDNN " + OneDnnGemms::version(),
                        fmt::format("Highway {}.{}.{}", HWY_MAJOR, HWY_MINOR, HWY_PATCH)},
          .memory_bytes = host_memory_bytes()};
}

bool CpuBackend::supports(DType dtype) const {
  return is_model_dtype(dtype);
}

CpuContext CpuBackend::context(const Plan& plan) const {
  // oneDNN takes its threads from OpenMP's current setting, when making and when running.
  omp_set_num_threads(threads_);
  return {.plan = &plan,
          .layout = &layout_,
          .arenas = &arenas_,
          .gemms = &gemms_,
          .bf16 = bf16_,
          .packed = &plan == &plan_ && !packed_.empty() ? &packed_ : nullptr,
          .threads = threads_};
}

int64_t CpuBackend::workspace_bytes(const Node& node, const Plan& plan) const {
  const CpuContext c = context(plan);
  return std::visit([&](const auto& op) { return cpu::workspace_bytes(op, c); }, node.op);
}

void CpuBackend::attach(const Plan& plan, const MemoryLayout& layout) {
  detach();
  int64_t available_bytes = available_host_bytes();
  if (memory_limit_bytes_ > 0) available_bytes = std::min(available_bytes, memory_limit_bytes_);
  check_fits(layout.size_bytes, available_bytes);
  for (const Tag tag : all_tags)
    arenas_[static_cast<size_t>(tag)] = Arena(tag, layout.size_bytes[tag], threads_);
  plan_ = plan;
  layout_ = layout;
  packed_ = cpu::packed_weights(context(plan_));
  // Makes every primitive now.
  for (const Step& step : plan_.steps)
    for (const Node& node : step.nodes) workspace_bytes(node, plan_);
}

void CpuBackend::detach() {
  for (Arena& arena : arenas_) arena = Arena();
  packed_.clear();
}

std::byte* CpuBackend::bytes(TensorId id, size_t count, int64_t offset_bytes) const {
  const Tensor& tensor = plan_.tensors.at(static_cast<size_t>(id));
  const int64_t end = offset_bytes + static_cast<int64_t>(count);
  if (offset_bytes < 0 || end > size_bytes(tensor))
    fail("tensor '{}': bytes [{}, {}) wanted of {}", tensor.name, offset_bytes, end,
         size_bytes(tensor));
  const int64_t begin = layout_.offset_bytes[static_cast<size_t>(id)] + offset_bytes;
  return arenas_[static_cast<size_t>(tensor.tag)].at(begin, static_cast<int64_t>(count));
}

void CpuBackend::upload(TensorId id, std::span<const std::byte> from, int64_t offset_bytes) {
  std::byte* to = bytes(id, from.size(), offset_bytes);
  if (!packed_[static_cast<size_t>(id)]) {
    std::memcpy(to, from.data(), from.size());
    return;
  }
  with_elements(plan_.tensors[static_cast<size_t>(id)], [&](auto element, const Tensor& tensor) {
    using T = decltype(element);
    constexpr auto size = static_cast<int64_t>(sizeof(T));
    cpu::pack(reinterpret_cast<const T*>(from.data()), offset_bytes / size,
              static_cast<int64_t>(from.size()) / size, tensor.rows, tensor.cols,
              reinterpret_cast<T*>(to - offset_bytes));
  });
}

void CpuBackend::download(TensorId id, std::span<std::byte> to, int64_t offset_bytes) const {
  const std::byte* from = bytes(id, to.size(), offset_bytes);
  if (!packed_[static_cast<size_t>(id)]) {
    std::memcpy(to.data(), from, to.size());
    return;
  }
  with_elements(plan_.tensors[static_cast<size_t>(id)], [&](auto element, const Tensor& tensor) {
    using T = decltype(element);
    constexpr auto size = static_cast<int64_t>(sizeof(T));
    cpu::unpack(reinterpret_cast<const T*>(from - offset_bytes), offset_bytes / size,
                static_cast<int64_t>(to.size()) / size, tensor.rows, tensor.cols,
                reinterpret_cast<T*>(to.data()));
  });
}

MemoryByTag CpuBackend::high_water() const {
  MemoryByTag marks;
  for (const Tag tag : all_tags) marks[tag] = arenas_[static_cast<size_t>(tag)].high_water_bytes();
  return marks;
}

void CpuBackend::run_step(StepKind kind, int64_t past, NodeObserver* observer) {
  Step& step = plan_.step(kind);
  set_past(step, past);
  const CpuContext c = context(plan_);
  for (size_t i = 0; i < step.nodes.size(); ++i) {
    const Node& node = step.nodes[i];
    const Glu* gate = observer ? nullptr : gate_taken_along(step, i + 1, c);
    if (gate) {
      cpu::run_gated(std::get<Gemm>(node.op), gate->act, c);
      ++i;
      continue;
    }
    if (observer) observer->before(node, i);
    std::visit([&](const auto& op) { cpu::run(op, c); }, node.op);
    if (observer) observer->after(node, i);
  }
}

std::string CpuBackend::implementation(StepKind kind, size_t node) const {
  const CpuContext c = context(plan_);
  const Step& step = plan_.step(kind);
  const auto variant =
      std::visit([&](const auto& op) { return cpu::variant(op, c); }, step.nodes[node].op);
  if (gate_taken_along(step, node, c))
    return fmt::format("{}; unobserved: part of the product before", cpu::simd_target());
  if (variant.find(':') != std::string_view::npos) return fmt::format("oneDNN {}", variant);
  return variant.empty() ? std::string(cpu::simd_target())
                         : fmt::format("{} {}", variant, cpu::simd_target());
}

std::unique_ptr<Backend> make_cpu_backend(int threads, int64_t memory_limit_bytes) {
  return std::make_unique<CpuBackend>(threads, memory_limit_bytes);
}

}  // namespace tidemark
