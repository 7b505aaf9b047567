// A Backend runs plans on one device. It sees Plans and memory, never models, costs or records.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/device_time.h"
#include "plan/memory.h"
#include "plan/plan.h"

namespace tidemark {

struct BackendInfo {
  std::string device;  // "cpu", "cuda:0"
  std::string name;    // "AMD EPYC ...", "NVIDIA H200"
  std::string isa;     // what the kernels were dispatched to: "AVX3 +BF16", "sm_90"
  int threads = 1;
  std::vector<std::string> libraries;  // "oneDNN 2.6.3", "Highway 1.0.3"
  int64_t memory_bytes = 0;            // of the device
  std::string bus_id{};                // of a GPU on PCI, "0000:81:00.0": what its sensors go by
  bool integrated = false;             // a GPU on the processor's chip, with its memory
};

// Called around every node of a step; used to time operators and to look at tensors between them.
class NodeObserver {
 public:
  virtual ~NodeObserver() = default;
  virtual void before(const Node&, size_t index) = 0;
  virtual void after(const Node&, size_t index) = 0;
};

// When a node of a watched step began, from the start of the step, and how long it took.
struct NodeTime {
  double start_s = 0, time_s = 0;
};
struct StepProfile {
  std::vector<NodeTime> nodes;  // in the step's order
  double wall_s = 0;
  // What wall_s is made of, where `nodes` are by the device's own clock.
  std::optional<DeviceTime> device{};
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual BackendInfo info() const = 0;
  virtual bool supports(DType) const = 0;
  // Sets what a plan leaves to the device although it changes what operators cost: the form, and
  // its chunk, in which recurrences over many tokens are computed. The plan's own stand otherwise.
  virtual void choose_forms(Plan&) const {}
  // Scratch bytes a node needs while it runs; planned under Tag::workspace. `step` is at the past
  // that needs most.
  virtual int64_t workspace_bytes(const Node&, const Plan&) const = 0;
  // Takes the memory for a laid-out plan; throws OutOfMemory (arena.h) when the device lacks it.
  virtual void attach(const Plan&, const MemoryLayout&) = 0;
  virtual void detach() = 0;
  // Copies between host and a tensor.
  virtual void upload(TensorId, std::span<const std::byte>, int64_t offset_bytes) = 0;
  virtual void download(TensorId, std::span<std::byte>, int64_t offset_bytes) const = 0;
  // What the device holds beside the arenas: context, kernels and libraries, and whatever other
  // programs took of a device that is not this one's alone. 0: the memory limit does not count it.
  virtual int64_t overhead_bytes() const { return 0; }
  // Measured high-water mark of every arena, by tag.
  virtual MemoryByTag high_water() const = 0;
  // Runs one step at `past`. Returns when the work is queued; synchronize() waits for it.
  virtual void run_step(StepKind, int64_t past, NodeObserver* observer) = 0;
  virtual void synchronize() = 0;
  // Runs a step node by node, none along with another, and times each: by the device's own clock
  // where it has one that can be read, else by `now_s` with the device idle before and after.
  // `out.nodes` has as many as the step.
  virtual void profile_step(StepKind, int64_t past, const std::function<double()>& now_s,
                            StepProfile& out);
  // How many steps beyond the one that is waited for may be queued, so that the device need not
  // stand still while the host learns of its end; 0 where run_step() does the work itself.
  virtual int steps_ahead() const { return 0; }
  // Waits until no more than the last `running` queued steps, at most steps_ahead(), are
  // unfinished.
  virtual void wait_for_steps(int running) {
    if (running == 0) synchronize();
  }
  // Which kernel variant or library runs a node of the attached plan under an observer, for the
  // records; and whether steps without one have it done along with a node before.
  virtual std::string implementation(StepKind, size_t node) const = 0;
};

// Where every tensor of a plan and the scratch of this backend's kernels lie.
inline MemoryLayout layout_on(const Backend& backend, const Plan& plan) {
  return layout_memory(plan, [&](const Node& n) { return backend.workspace_bytes(n, plan); });
}

// What a run of a plan takes there, in the forms that the backend gives it.
inline MemoryByTag memory_on(const Backend& backend, Plan plan) {
  backend.choose_forms(plan);
  return layout_on(backend, plan).size_bytes;
}

// threads 0: all cores. With a memory limit the arenas of a plan must fit in that many bytes.
std::unique_ptr<Backend> make_cpu_backend(int threads, int64_t memory_limit_bytes);

}  // namespace tidemark
