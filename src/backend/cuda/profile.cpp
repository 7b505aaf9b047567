#include "backend/cuda/profile.h"

#include <cupti.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>

#include "backend/cuda/cuda_backend.h"
#include "backend/resolve.h"

namespace tidemark::cuda {
namespace {

struct Functions {
  decltype(&cuptiActivityRegisterCallbacks) register_callbacks = nullptr;
  decltype(&cuptiActivityEnable) enable = nullptr;
  decltype(&cuptiActivityDisable) disable = nullptr;
  decltype(&cuptiActivityFlushAll) flush = nullptr;
  decltype(&cuptiActivityGetNextRecord) next = nullptr;
  decltype(&cuptiActivityPushExternalCorrelationId) push = nullptr;
  decltype(&cuptiActivityPopExternalCorrelationId) pop = nullptr;
  decltype(&cuptiGetTimestamp) timestamp = nullptr;
};

bool resolve_all(void* library, Functions& f) {
  return resolve(library, "cuptiActivityRegisterCallbacks", f.register_callbacks) &&
         resolve(library, "cuptiActivityEnable", f.enable) &&
         resolve(library, "cuptiActivityDisable", f.disable) &&
         resolve(library, "cuptiActivityFlushAll", f.flush) &&
         resolve(library, "cuptiActivityGetNextRecord", f.next) &&
         resolve(library, "cuptiActivityPushExternalCorrelationId", f.push) &&
         resolve(library, "cuptiActivityPopExternalCorrelationId", f.pop) &&
         resolve(library, "cuptiGetTimestamp", f.timestamp);
}

struct DeviceInterval {
  uint32_t correlation;
  uint64_t start_ns, end_ns;
};

// CUPTI hands buffers to plain functions and has one set of callbacks a process: what they fill.
struct Records {
  std::mutex mutex;
  Functions f;
  std::vector<DeviceInterval> intervals;
  std::map<uint32_t, uint64_t> node_of_call;  // correlation id -> external id
};
Records& records() {
  static Records all;
  return all;
}

constexpr size_t buffer_bytes = 4 << 20;

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* size, size_t* max_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(64, buffer_bytes));
  *size = *buffer ? buffer_bytes : 0;
  *max_records = 0;
}

// The kernel, copy and fill records begin alike in all their versions up to these fields; the
// versions named below are those of CUDA 12.4.
template <class Record>
void keep(const CUpti_Activity* activity, Records& all) {
  const auto* r = reinterpret_cast<const Record*>(activity);
  all.intervals.push_back({r->correlationId, r->start, r->end});
}

void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  Records& all = records();
  const std::lock_guard lock(all.mutex);
  CUpti_Activity* record = nullptr;
  while (valid > 0 && all.f.next(buffer, valid, &record) == CUPTI_SUCCESS) {
    switch (record->kind) {
      case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL:
        keep<CUpti_ActivityKernel9>(record, all);
        break;
      case CUPTI_ACTIVITY_KIND_MEMCPY:
        keep<CUpti_ActivityMemcpy5>(record, all);
        break;
      case CUPTI_ACTIVITY_KIND_MEMSET:
        keep<CUpti_ActivityMemset4>(record, all);
        break;
      case CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION: {
        const auto* r = reinterpret_cast<const CUpti_ActivityExternalCorrelation*>(record);
        all.node_of_call[r->correlationId] = r->externalId;
        break;
      }
      default:
        break;
    }
  }
  std::free(buffer);
}

constexpr CUpti_ActivityKind kinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
                                        CUPTI_ACTIVITY_KIND_MEMCPY,
                                        CUPTI_ACTIVITY_KIND_MEMSET,
                                        CUPTI_ACTIVITY_KIND_RUNTIME,
                                        CUPTI_ACTIVITY_KIND_DRIVER,
                                        CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION};
constexpr auto correlation_kind = CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0;

// Marks every launch with its node's index.
class Marker : public NodeObserver {
 public:
  explicit Marker(const Functions& f) : f_(f) {}
  void before(const Node&, size_t index) override { f_.push(correlation_kind, index); }
  void after(const Node&, size_t) override {
    uint64_t popped = 0;
    f_.pop(correlation_kind, &popped);
  }

 private:
  const Functions& f_;
};

// Once a process. The library stays loaded: CUPTI keeps threads and callbacks of its own.
bool load() {
  void* file = nullptr;
  for (const char* name : {"libcupti.so.13", "libcupti.so.12", "libcupti.so"})
    if (!file) file = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  Functions& f = records().f;
  // Refused where another profiler is attached.
  return file && resolve_all(file, f) &&
         f.register_callbacks(give_buffer, take_buffer) == CUPTI_SUCCESS;
}

bool start_recording(const Functions& f) {
  for (const CUpti_ActivityKind k : kinds)
    if (f.enable(k) != CUPTI_SUCCESS) {
      for (const CUpti_ActivityKind enabled : kinds) f.disable(enabled);
      return false;
    }
  return true;
}

double seconds(uint64_t from_ns, uint64_t to_ns) {
  return to_ns > from_ns ? static_cast<double>(to_ns - from_ns) * 1e-9 : 0;
}

}  // namespace

bool profile_on_device(CudaBackend& backend, StepKind kind, int64_t past, StepProfile& out) {
  static const bool loaded = load();
  if (!loaded) return false;
  Records& all = records();
  const Functions& f = all.f;
  backend.synchronize();
  {
    const std::lock_guard lock(all.mutex);
    all.intervals.clear();
    all.node_of_call.clear();
  }
  if (!start_recording(f)) return false;
  Marker marker(f);
  uint64_t begin_ns = 0, dispatched_ns = 0, end_ns = 0;
  f.timestamp(&begin_ns);
  backend.run_step_plain(kind, past, marker);
  f.timestamp(&dispatched_ns);
  backend.synchronize();
  f.timestamp(&end_ns);
  for (const CUpti_ActivityKind k : kinds) f.disable(k);
  f.flush(1);

  const std::lock_guard lock(all.mutex);
  std::sort(
      all.intervals.begin(), all.intervals.end(),
      [](const DeviceInterval& a, const DeviceInterval& b) { return a.start_ns < b.start_ns; });
  // Time with nothing on the device, before and after the host was done launching.
  DeviceTime device;
  uint64_t covered_ns = begin_ns;
  const auto add_gap = [&](uint64_t from, uint64_t to) {
    const double gap_s = seconds(from, to),
                 dispatching_s = seconds(from, std::min(to, dispatched_ns));
    device.host_dispatch_s += dispatching_s;
    device.idle_s += gap_s - dispatching_s;
  };
  std::vector<bool> seen(out.nodes.size());
  for (const DeviceInterval& interval : all.intervals) {
    add_gap(covered_ns, interval.start_ns);
    covered_ns = std::max(covered_ns, interval.end_ns);
    const auto node = all.node_of_call.find(interval.correlation);
    if (node == all.node_of_call.end() || node->second >= out.nodes.size()) continue;
    NodeTime& time = out.nodes[node->second];
    if (!seen[node->second]) time.start_s = seconds(begin_ns, interval.start_ns);
    seen[node->second] = true;
    time.time_s += seconds(interval.start_ns, interval.end_ns);
  }
  add_gap(covered_ns, end_ns);
  out.wall_s = seconds(begin_ns, end_ns);
  device.busy_s = out.wall_s - device.host_dispatch_s - device.idle_s;
  out.device = device;
  return true;
}

}  // namespace tidemark::cuda
