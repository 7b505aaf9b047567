#include "backend/cuda/cuda_backend.h"

#include <algorithm>
#include <utility>

#include "backend/arena.h"
#include "backend/cuda/profile.h"
#include "backend/cuda_devices.h"
#include "base/error.h"

namespace tidemark::cuda {
namespace {

constexpr int max_batch = 4096;
// A library's plan for a position takes some 10 ms to make, once.
constexpr int64_t max_tailored_positions = 64;

int attribute(cudaDeviceAttr which, int index) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, index), "device attribute");
  return value;
}

// One line on why there is no GPU, or empty.
std::string driver_problem() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) return "no NVIDIA driver is loaded";
    return fmt::format("the NVIDIA driver supports CUDA {}.{}, this build needs {}.{}",
                       driver / 1000, driver / 10 % 100, runtime / 1000, runtime / 10 % 100);
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
    return "no NVIDIA GPU is visible";
  if (status != cudaSuccess)
    return fmt::format("{} ({})", cudaGetErrorString(status), cudaGetErrorName(status));
  return {};
}

struct DeviceMemory {
  int64_t free_bytes, total_bytes;
};
DeviceMemory memory_info() {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "free memory");
  return {static_cast<int64_t>(free), static_cast<int64_t>(total)};
}

BackendInfo describe(int index) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "device properties");
  BackendInfo info;
  info.device = fmt::format("cuda:{}", index);
  info.name = properties.name;
  info.isa = fmt::format("sm_{}{}", properties.major, properties.minor);
  info.threads = properties.multiProcessorCount;
  info.memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  info.integrated = properties.integrated != 0;
  std::array<char, 32> bus_id{};
  check(cudaDeviceGetPCIBusId(bus_id.data(), static_cast<int>(bus_id.size()), index), "bus id");
  info.bus_id = bus_id.data();
  int driver = 0, runtime = 0;
  check(cudaDriverGetVersion(&driver), "driver version");
  check(cudaRuntimeGetVersion(&runtime), "runtime version");
  info.libraries = {fmt::format("CUDA {}.{}", runtime / 1000, runtime / 10 % 100),
                    fmt::format("CUDA driver {}.{}", driver / 1000, driver / 10 % 100),
                    GemmLibrary::version()};
  return info;
}

}  // namespace

CudaBackend::CudaBackend(int index, int64_t memory_limit_bytes)
    : index_(index), memory_limit_bytes_(memory_limit_bytes) {
  check(cudaSetDevice(index), "device");
  CudaContext& c = context_;
  check(cudaStreamCreateWithFlags(&c.queue.stream, cudaStreamNonBlocking), "stream");
  c.sm_count = attribute(cudaDevAttrMultiProcessorCount, index);
  check(cudaMalloc(reinterpret_cast<void**>(&c.past), sizeof(int64_t)), "position");
  check(cudaMalloc(reinterpret_cast<void**>(&c.lengths), 2 * max_batch * sizeof(int32_t)),
        "position");
  check(cudaMalloc(reinterpret_cast<void**>(&c.argmax_slots), max_batch * sizeof(ArgmaxSlot)),
        "argmax");
  check(cudaMemset(c.argmax_slots, 0, max_batch * sizeof(ArgmaxSlot)), "argmax");
  // A device that this build has no code for shows at the first launch.
  const cudaError_t status = [&] {
    launch_set_position({.past = c.past, .lengths = c.lengths, .batch = 1, .length = 1}, 0,
                        c.queue);
    return cudaStreamSynchronize(c.queue.stream);
  }();
  check(status, "first launch");
  // Kernels compiled for less, which the driver translated for this device, do not wait for what
  // they overlap.
  c.queue.overlap =
      attribute(cudaDevAttrComputeCapabilityMajor, index) >= 9 && code_version() >= 90;
  for (cudaEvent_t& end : step_end_)
    check(cudaEventCreateWithFlags(&end, cudaEventDisableTiming), "event");
}

CudaBackend::~CudaBackend() {
  // After a kernel fault every call fails; there is nothing left to release then.
  try {
    detach();
  } catch (const Error&) {
  }
  for (cudaEvent_t end : step_end_) cudaEventDestroy(end);
  cudaFree(context_.argmax_slots);
  cudaFree(context_.lengths);
  cudaFree(context_.past);
  cudaStreamDestroy(context_.queue.stream);
}

BackendInfo CudaBackend::info() const {
  BackendInfo info = describe(index_);
  if (const std::string version = context_.cudnn.version(); !version.empty())
    info.libraries.push_back(version);
  return info;
}

bool CudaBackend::supports(DType dtype) const {
  return dtype == DType::f32 || dtype == DType::bf16;
}

void CudaBackend::choose_forms(Plan& plan) const {
  const Plan* attached = std::exchange(context_.plan, &plan);
  for (Step& step : plan.steps)
    for (Node& node : step.nodes) cuda::choose_form(node.op, context_);
  context_.plan = attached;
}

int64_t CudaBackend::workspace_bytes(const Node& node, const Plan& plan) const {
  const Plan* attached = std::exchange(context_.plan, &plan);
  const int64_t bytes = cuda::workspace_bytes(node.op, context_);
  context_.plan = attached;
  return bytes;
}

void CudaBackend::attach(const Plan& plan, const MemoryLayout& layout) {
  detach();
  if (plan.workload.batch > max_batch)
    fail("batch: expected at most {} on CUDA, found {}", max_batch, plan.workload.batch);
  // Under a limit this stands for a device of that size, of which driver and libraries take their
  // part.
  const int64_t free = memory_info().free_bytes;
  const auto available = [&] {
    return memory_limit_bytes_ > 0 ? std::min(free, memory_limit_bytes_ - overhead_bytes()) : free;
  };
  check_fits(layout.size_bytes, available());
  int64_t wanted = 0;
  for (const Tag tag : all_tags) {
    const int64_t bytes = layout.size_bytes[tag];
    wanted += bytes;
    if (bytes == 0) continue;
    std::byte*& arena = context_.arenas[static_cast<size_t>(tag)];
    const cudaError_t status =
        cudaMalloc(reinterpret_cast<void**>(&arena), static_cast<size_t>(bytes));
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // it is dealt with here
      detach();
      throw OutOfMemory(tag, wanted, available());
    }
    check(status, "arena");
    arena_bytes_ += bytes;
    // All ones are NaNs: a kernel that reads what nobody wrote shows.
    check(cudaMemsetAsync(arena, 0xff, static_cast<size_t>(bytes), context_.queue.stream), "arena");
  }
  plan_ = plan;
  taken_along_ = {};
  context_.plan = &plan_;
  context_.offset_bytes = layout.offset_bytes;
  context_.scratch_bytes = layout.size_bytes[Tag::workspace];
  for (const Step& step : plan_.steps) {
    if (step.nodes.empty()) continue;
    set_position(step, 0);
    bool& gains = gains_by_position_[static_cast<size_t>(step.kind)];
    gains = false;
    for (const Node& node : step.nodes) {
      prepare(node.op, context_);
      gains = gains || cuda::gains_by_position(node.op, context_);
    }
  }
  synchronize();
  try {
    check_fits(layout.size_bytes, available());  // libraries have loaded their kernels since
  } catch (const OutOfMemory&) {
    detach();
    throw;
  }
  context_.high_water = {};
}

void CudaBackend::detach() {
  cudaStreamSynchronize(context_.queue.stream);
  for (CapturedStep& step : captured_) {
    if (step.executable) cudaGraphExecDestroy(step.executable);
    if (step.graph) cudaGraphDestroy(step.graph);
    step = {};
  }
  for (std::byte*& arena : context_.arenas) {
    if (arena) cudaFree(arena);
    arena = nullptr;
  }
  arena_bytes_ = 0;
  context_.plan = nullptr;
  context_.offset_bytes.clear();
}

std::byte* CudaBackend::bytes(TensorId id, size_t count, int64_t offset_bytes) const {
  const Tensor& tensor = plan_.tensors[static_cast<size_t>(id)];
  if (offset_bytes < 0 || offset_bytes + static_cast<int64_t>(count) > size_bytes(tensor))
    fail("tensor '{}': {} bytes at {} lie outside its {}", tensor.name, count, offset_bytes,
         size_bytes(tensor));
  return static_cast<std::byte*>(context_.at(Operand{id, 0, 0})) + offset_bytes;
}

void CudaBackend::upload(TensorId id, std::span<const std::byte> from, int64_t offset_bytes) {
  check(cudaMemcpyAsync(bytes(id, from.size(), offset_bytes), from.data(), from.size(),
                        cudaMemcpyHostToDevice, context_.queue.stream),
        "upload");
  synchronize();
}

void CudaBackend::download(TensorId id, std::span<std::byte> to, int64_t offset_bytes) const {
  check(cudaMemcpyAsync(to.data(), bytes(id, to.size(), offset_bytes), to.size(),
                        cudaMemcpyDeviceToHost, context_.queue.stream),
        "download");
  check(cudaStreamSynchronize(context_.queue.stream), "download");
}

int64_t CudaBackend::overhead_bytes() const {
  const DeviceMemory memory = memory_info();
  return memory.total_bytes - memory.free_bytes - arena_bytes_;
}

MemoryByTag CudaBackend::high_water() const {
  MemoryByTag marks = context_.high_water;  // in whole units of a tensor's alignment, as planned
  constexpr int64_t whole = tensor_alignment_bytes;
  for (const Tag tag : all_tags) marks[tag] = (marks[tag] + whole - 1) / whole * whole;
  return marks;
}

void CudaBackend::set_position(const Step& step, int64_t past) {
  launch_set_position({.past = context_.past,
                       .lengths = context_.lengths,
                       .batch = static_cast<int32_t>(plan_.workload.batch),
                       .length = static_cast<int32_t>(step.length)},
                      past, context_.queue);
}

void CudaBackend::launch_nodes(const Step& step) {
  std::set<size_t>& taken_along = taken_along_[static_cast<size_t>(step.kind)];
  for (size_t i = 0; i < step.nodes.size();) {
    const size_t fused = launch_fused(step, i, context_, taken_along);
    if (fused == 0) launch(step.nodes[i].op, context_);
    i += std::max<size_t>(fused, 1);
  }
}

bool CudaBackend::gains_by_position(StepKind kind) const {
  return gains_by_position_[static_cast<size_t>(kind)] &&
         plan_.body_count <= max_tailored_positions;
}

int64_t CudaBackend::graph_position(StepKind kind) const {
  if (!gains_by_position(kind)) return -1;
  if (kind == StepKind::tail) return plan_.body_count * plan_.workload.chunk;
  return kind == StepKind::body && plan_.body_count == 1 ? 0 : -1;
}

void CudaBackend::capture(StepKind kind) {
  CapturedStep& captured = captured_[static_cast<size_t>(kind)];
  const Step& step = plan_.step(kind);
  const cudaStream_t stream = context_.queue.stream;
  // Relaxed: libraries may load kernels on their first launch.
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "capture");
  try {
    set_position(step, 0);
    context_.position = graph_position(kind);
    launch_nodes(step);
    context_.position = -1;
  } catch (...) {
    context_.position = -1;
    cudaGraph_t broken = nullptr;
    cudaStreamEndCapture(stream, &broken);
    if (broken) cudaGraphDestroy(broken);
    throw;
  }
  check(cudaStreamEndCapture(stream, &captured.graph), "capture");
  size_t roots = 1;
  check(cudaGraphGetRootNodes(captured.graph, &captured.position_node, &roots), "capture");
  check(cudaGraphInstantiate(&captured.executable, captured.graph, 0), "graph");
}

// One launch a node, of the kernels that the step runs when nobody looks.
void CudaBackend::launch_watched(StepKind kind, int64_t past, NodeObserver& observer, bool alone) {
  Step& step = plan_.step(kind);
  set_past(step, past);
  set_position(step, past);
  context_.position = gains_by_position(kind) ? past : -1;
  for (size_t i = 0; i < step.nodes.size(); ++i) {
    if (alone) synchronize();
    observer.before(step.nodes[i], i);
    launch(step.nodes[i].op, context_);
    if (alone) synchronize();
    observer.after(step.nodes[i], i);
  }
  context_.position = -1;
}

void CudaBackend::run_step_plain(StepKind kind, int64_t past, NodeObserver& between) {
  const bool overlap = std::exchange(context_.queue.overlap, false);
  launch_watched(kind, past, between, false);
  context_.queue.overlap = overlap;
}

void CudaBackend::profile_step(StepKind kind, int64_t past, const std::function<double()>& now_s,
                               StepProfile& out) {
  if (!profile_on_device(*this, kind, past, out)) Backend::profile_step(kind, past, now_s, out);
}

void CudaBackend::run_step(StepKind kind, int64_t past, NodeObserver* observer) {
  if (observer) return launch_watched(kind, past, *observer, true);
  queue_step(kind, past);
  std::swap(step_end_[0], step_end_[1]);
  check(cudaEventRecord(step_end_[0], context_.queue.stream), "step");
}

void CudaBackend::queue_step(StepKind kind, int64_t past) {
  Step& step = plan_.step(kind);
  // One graph for all positions, unless launches depend on the position, or gain by being made for
  // it and the few positions of the prefill are no burden.
  const bool bound = std::any_of(step.nodes.begin(), step.nodes.end(),
                                 [](const Node& node) { return !is_position_free(node.op); });
  const bool gains = gains_by_position(kind);
  if (bound || (gains && past != graph_position(kind))) {
    set_past(step, past);
    set_position(step, past);
    context_.position = gains ? past : -1;
    launch_nodes(step);
    context_.position = -1;
    return;
  }
  CapturedStep& captured = captured_[static_cast<size_t>(kind)];
  if (!captured.executable) capture(kind);
  cudaKernelNodeParams params{};
  check(cudaGraphKernelNodeGetParams(captured.position_node, &params), "position");
  StepPosition position{.past = context_.past,
                        .lengths = context_.lengths,
                        .batch = static_cast<int32_t>(plan_.workload.batch),
                        .length = static_cast<int32_t>(step.length)};
  std::array<void*, 2> arguments = {&position, &past};
  params.kernelParams = arguments.data();
  check(cudaGraphExecKernelNodeSetParams(captured.executable, captured.position_node, &params),
        "position");
  check(cudaGraphLaunch(captured.executable, context_.queue.stream), "step");
}

void CudaBackend::synchronize() {
  check(cudaStreamSynchronize(context_.queue.stream), "step");
}

void CudaBackend::wait_for_steps(int running) {
  if (running == 0) return synchronize();
  check(cudaEventSynchronize(step_end_[1]), "step");
}

std::string CudaBackend::implementation(StepKind kind, size_t node) const {
  const std::string name = cuda::implementation(plan_.step(kind).nodes[node].op, context_);
  const bool is_fused = taken_along_[static_cast<size_t>(kind)].contains(node);
  return is_fused ? name + "; unobserved: part of the launch before" : name;
}

}  // namespace tidemark::cuda

namespace tidemark {

std::vector<BackendInfo> list_cuda_devices() {
  std::vector<BackendInfo> devices;
  int count = 0;
  if (!cuda::driver_problem().empty() || cudaGetDeviceCount(&count) != cudaSuccess) return devices;
  for (int i = 0; i < count; ++i) devices.push_back(cuda::describe(i));
  return devices;
}

std::string cuda_absence() {
  return cuda::driver_problem();
}

void release_cuda_device() {
  if (cuda::driver_problem().empty()) cuda::check(cudaDeviceReset(), "release");
}

std::unique_ptr<Backend> make_cuda_backend(int index, int64_t memory_limit_bytes) {
  if (const std::string problem = cuda::driver_problem(); !problem.empty())
    fail("device cuda:{}: {}", index, problem);
  int count = 0;
  cuda::check(cudaGetDeviceCount(&count), "devices");
  if (index < 0 || index >= count) fail("device cuda:{}: expected an index below {}", index, count);
  return with_context(fmt::format("device cuda:{}", index), [&] {
    return std::make_unique<cuda::CudaBackend>(index, memory_limit_bytes);
  });
}

}  // namespace tidemark
