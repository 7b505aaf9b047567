#include "app/measure_model.h"

#include <fmt/format.h>

#include <new>

#include "backend/arena.h"
#include "base/units.h"
#include "measure/clocks.h"
#include "measure/energy.h"
#include "measure/gpu.h"

namespace tidemark {
namespace {

constexpr const char* sysfs = "/sys";

// What marks a result and what counts its energy: of a GPU its own sensors, else the processor's.
class Sensors {
 public:
  explicit Sensors(const BackendInfo& info) {
    if (!info.bus_id.empty()) gpu_ = std::make_shared<GpuSensors>(info.bus_id);
  }
  std::unique_ptr<PowerSensor> power() const {
    return gpu_ ? gpu_power_sensor([gpu = gpu_] { return gpu->read(); }, steady_now_s)
                : find_power_sensor(sysfs, steady_now_s).sensor;
  }
  void before() {
    clocks_ = read_clocks(sysfs);
    if (gpu_) state_ = gpu_->read();
  }
  std::vector<std::string> flags_after() const {
    if (!gpu_) return clock_flags(clocks_, read_clocks(sysfs));
    const auto state = gpu_->read();
    return state && state_ ? gpu_flags(*state_, *state) : std::vector<std::string>{};
  }

 private:
  std::shared_ptr<GpuSensors> gpu_;
  ClockReading clocks_;
  std::optional<GpuState> state_;
};

void measure_into(const Model& model, const Plan& plan, Backend& backend,
                  const MeasureRequest& request, Record& record) {
  const Cell& cell = request.cell;
  Sensors sensors(backend.info());
  const auto sensor = request.energy ? sensors.power() : nullptr;
  const EnergyOptions energy;
  const auto idle_w = sensor ? idle_power_w(*sensor, energy.idle_window_s) : std::nullopt;
  Executor executor(plan, backend);  // fails with what does not fit, before anything is drawn
  const std::vector<int32_t> prompt =
      request.tokens_file.empty()
          ? random_prompt(cell.batch, cell.context, model.spec.vocab, request.seed)
          : read_prompt(request.tokens_file, cell.batch, cell.context, model.spec.vocab);
  fill_weights(executor, *model.weights);
  executor.set_prompt(prompt);
  sensors.before();
  measure(executor, request.options, record);
  const std::vector<std::string> flags = sensors.flags_after();
  const int64_t taken = record.memory.predicted.total() + record.memory.driver_bytes.value_or(0);
  if (cell.memory_limit_bytes > 0 && record.memory.driver_bytes && taken > cell.memory_limit_bytes)
    record.flags.push_back(fmt::format("driver and libraries grew {} over the memory limit",
                                       format_bytes(taken - cell.memory_limit_bytes)));
  record.flags.insert(record.flags.end(), flags.begin(), flags.end());
  if (sensor) measure_energy(executor, *sensor, idle_w, energy, request.options.now_s, record);
}

}  // namespace

Record measure_model(const Model& model, const MeasureRequest& request) {
  const Cell& cell = request.cell;
  const Plan plan = build_plan(model.spec, {.batch = cell.batch,
                                            .context = cell.context,
                                            .new_tokens = cell.new_tokens,
                                            .chunk = cell.chunk,
                                            .dtype = cell.dtype,
                                            .logits = cell.logits});
  const auto backend =
      open_backend(cell.device, static_cast<int>(cell.threads), cell.memory_limit_bytes);
  Record record = start_record(plan, backend->info());
  record.cell.family = model.spec.family;
  record.cell.memory_limit_bytes = cell.memory_limit_bytes;
  record.weights = model.weights->description();
  record.prompt = request.tokens_file.empty() ? fmt::format("random, seed {}", request.seed)
                                              : request.tokens_file;
  if (!backend->supports(cell.dtype)) {
    record.outcome = Outcome::unsupported;
    record.reason = fmt::format("{} has no {} kernels", cell.device, name(cell.dtype));
    return record;
  }
  record.memory.predicted = layout_on(*backend, plan).size_bytes;
  if (request.started) request.started(record);
  try {
    measure_into(model, plan, *backend, request, record);
  } catch (const OutOfMemory& error) {
    record.outcome = Outcome::out_of_memory;
    record.reason = error.what();
  } catch (const std::bad_alloc&) {
    record.outcome = Outcome::out_of_memory;
    record.reason = "the system gave the process no more memory";
  }
  return record;
}

}  // namespace tidemark
