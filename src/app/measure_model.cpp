#include "app/measure_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <new>

#include "backend/arena.h"
#include "base/units.h"
#include "measure/clocks.h"
#include "measure/energy.h"
#include "measure/gpu.h"
#include "measure/processor_wait.h"

namespace tidemark {
namespace {

namespace fs = std::filesystem;

constexpr const char* sysfs = "/sys";

// What marks a result and what counts its energy: of a GPU its own sensors, else the system's.
// Those count a GPU that shares the processor's chip (Jetson), too, which may have none of its own.
class Sensors {
 public:
  explicit Sensors(const BackendInfo& info)
      : gpu_(info.bus_id.empty() ? nullptr : std::make_shared<GpuSensors>(info.bus_id)),
        system_(!gpu_ || info.integrated),
        threads_(gpu_ ? 1 : info.threads) {}
  std::unique_ptr<PowerSensor> power() const {
    std::unique_ptr<PowerSensor> sensor;
    if (gpu_) sensor = gpu_power_sensor([gpu = gpu_] { return gpu->read(); }, steady_now_s);
    if (!sensor && system_) sensor = find_power_sensor(sysfs, steady_now_s).sensor;
    return sensor;
  }
  void before() {
    start_s_ = steady_now_s();
    waited_s_ = processor_wait_s();
    clocks_ = read_clocks(sysfs, threads_);
    if (gpu_) state_ = gpu_->read();
  }
  std::vector<std::string> flags_after() const {
    std::vector<std::string> flags;
    if (system_) flags = clock_flags(clocks_, read_clocks(sysfs, threads_));
    if (const auto waited_s = processor_wait_s(); waited_s && waited_s_)
      if (const auto flag = wait_flag(*waited_s - *waited_s_, steady_now_s() - start_s_, threads_))
        flags.push_back(*flag);
    const auto state = gpu_ ? gpu_->read() : std::nullopt;
    if (state && state_) std::ranges::move(gpu_flags(*state_, *state), std::back_inserter(flags));
    return flags;
  }

 private:
  std::shared_ptr<GpuSensors> gpu_;
  bool system_;
  int64_t threads_;
  double start_s_ = 0;
  std::optional<double> waited_s_;
  ClockReading clocks_;
  std::optional<GpuState> state_;
};

// Shares of passes that took another time than those without a clock in them say little.
void flag_slow_profile(const std::optional<OperatorProfile>& profile, std::string_view what,
                       Record& record) {
  if (profile && profile->overhead && std::abs(std::log(*profile->overhead)) > std::log(1.25))
    record.flags.push_back(fmt::format("{} took {:.3g} times as long while operators were timed",
                                       what, *profile->overhead));
}

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
  if (backend.steps_ahead() == 0) {  // else operators run one after the other in a profile alone
    flag_slow_profile(record.prefill, "prefills", record);
    flag_slow_profile(record.decode, "decode steps", record);
  } else if (record.prefill &&
             !(record.prefill->device && (!record.decode || record.decode->device))) {
    record.flags.push_back("operators are timed with launching and waiting: no CUPTI");
  }
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
  if (cell.memory_limit_bytes > 0) record.memory.budget_bytes = cell.memory_limit_bytes;
  record.weights = model.weights->description();
  record.prompt = request.tokens_file.empty() ? fmt::format("random, seed {}", request.seed)
                                              : fs::path(request.tokens_file).filename().string();
  if (const auto flag = positions_flag(model.spec, cell.context, cell.new_tokens))
    record.flags.push_back(*flag);
  if (!backend->supports(cell.dtype)) {
    record.outcome = Outcome::unsupported;
    record.reason = fmt::format("{} has no {} kernels", cell.device, name(cell.dtype));
    return record;
  }
  record.memory.predicted = memory_on(*backend, plan);
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
