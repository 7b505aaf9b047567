#include "backend/cuda/profile.h"

#include <cupti.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>

#include "backend/cuda/cuda_backend.h"
#include "base/error.h"

namespace tidemark {
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

template <class Function>
bool resolve(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

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
  const Functions* f = nullptr;
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
  while (valid > 0 && all.f->next(buffer, valid, &record) == CUPTI_SUCCESS) {
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
  Marker(const Functions& f, std::vector<NodeProfile>& nodes) : f_(f), nodes_(nodes) {}
  void before(const Node&, size_t index) override {
    f_.push(correlation_kind, index);
    f_.timestamp(&start_ns_);
  }
  void after(const Node&, size_t index) override {
    uint64_t end_ns = 0, popped = 0;
    f_.timestamp(&end_ns);
    f_.pop(correlation_kind, &popped);
    nodes_[index].host_s = static_cast<double>(end_ns - start_ns_) * 1e-9;
  }

 private:
  const Functions& f_;
  std::vector<NodeProfile>& nodes_;
  uint64_t start_ns_ = 0;
};

}  // namespace

struct GpuProfiler::Recorder {
  void* file = nullptr;
  Functions f;
  std::string problem;
};

GpuProfiler::GpuProfiler(Backend& backend)
    : backend_(backend), recorder_(std::make_unique<Recorder>()) {
  Recorder& r = *recorder_;
  for (const char* name : {"libcupti.so.13", "libcupti.so.12", "libcupti.so"})
    if (!r.file) r.file = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!r.file) {
    r.problem = "CUPTI (libcupti.so) is not there";
  } else if (!resolve_all(r.file, r.f)) {
    r.problem = "libcupti.so lacks a function of the activity API";
  } else {
    records().f = &r.f;
    if (r.f.register_callbacks(give_buffer, take_buffer) != CUPTI_SUCCESS)
      r.problem = "CUPTI refuses to record: another profiler may be attached";
  }
}

// The library stays loaded: CUPTI keeps threads and callbacks of its own.
GpuProfiler::~GpuProfiler() {
  if (recorder_->problem.empty()) recorder_->f.flush(1);
}

StepProfile GpuProfiler::profile(StepKind kind, int64_t past) {
  StepProfile result;
  const Recorder& r = *recorder_;
  if (!r.problem.empty()) {
    result.problem = r.problem;
    return result;
  }
  auto& backend = dynamic_cast<cuda::CudaBackend&>(backend_);
  backend.synchronize();
  Records& all = records();
  {
    const std::lock_guard lock(all.mutex);
    all.intervals.clear();
    all.node_of_call.clear();
  }
  for (const CUpti_ActivityKind k : kinds)
    if (r.f.enable(k) != CUPTI_SUCCESS)
      fail("CUPTI: activity kind {} cannot be recorded", static_cast<int>(k));
  result.nodes.resize(backend.node_count(kind));
  Marker marker(r.f, result.nodes);
  uint64_t begin_ns = 0, dispatched_ns = 0, end_ns = 0;
  r.f.timestamp(&begin_ns);
  backend.run_step_plain(kind, past, marker);
  r.f.timestamp(&dispatched_ns);
  backend.synchronize();
  r.f.timestamp(&end_ns);
  for (const CUpti_ActivityKind k : kinds) r.f.disable(k);
  r.f.flush(1);

  const std::lock_guard lock(all.mutex);
  std::sort(
      all.intervals.begin(), all.intervals.end(),
      [](const DeviceInterval& a, const DeviceInterval& b) { return a.start_ns < b.start_ns; });
  // Time with nothing on the device, before and after the host was done launching.
  uint64_t covered_ns = begin_ns, gap_ns = 0, gap_dispatching_ns = 0;
  const auto add_gap = [&](uint64_t from, uint64_t to) {
    if (to <= from) return;
    gap_ns += to - from;
    if (from < dispatched_ns) gap_dispatching_ns += std::min(to, dispatched_ns) - from;
  };
  for (const DeviceInterval& interval : all.intervals) {
    add_gap(covered_ns, interval.start_ns);
    covered_ns = std::max(covered_ns, interval.end_ns);
    const auto node = all.node_of_call.find(interval.correlation);
    if (node == all.node_of_call.end() || node->second >= result.nodes.size()) continue;
    NodeProfile& n = result.nodes[node->second];
    n.device_s += static_cast<double>(interval.end_ns - interval.start_ns) * 1e-9;
    ++n.launches;
  }
  add_gap(covered_ns, end_ns);
  result.wall_s = static_cast<double>(end_ns - begin_ns) * 1e-9;
  result.host_dispatch_s = static_cast<double>(gap_dispatching_ns) * 1e-9;
  result.idle_s = static_cast<double>(gap_ns - gap_dispatching_ns) * 1e-9;
  result.device_s = result.wall_s - result.host_dispatch_s - result.idle_s;
  return result;
}

}  // namespace tidemark
