#include "app/measure_model.h"

#include <fmt/format.h>

#include <new>

#include "backend/arena.h"
#include "measure/clocks.h"
#include "measure/energy.h"

namespace tidemark {
namespace {

constexpr const char* sysfs = "/sys";

// The processor's own sensors say nothing about another device.
std::unique_ptr<PowerSensor> sensor_for(const std::string& device) {
  return device == "cpu" ? find_power_sensor(sysfs, steady_now_s).sensor : nullptr;
}

void measure_into(const Model& model, const Plan& plan, Backend& backend,
                  const MeasureRequest& request, Record& record) {
  const Cell& cell = request.cell;
  const auto sensor = request.energy ? sensor_for(cell.device) : nullptr;
  const EnergyOptions energy;
  const auto idle_w = sensor ? idle_power_w(*sensor, energy.idle_window_s) : std::nullopt;
  Executor executor(plan, backend);  // fails with what does not fit, before anything is drawn
  const std::vector<int32_t> prompt =
      request.tokens_file.empty()
          ? random_prompt(cell.batch, cell.context, model.spec.vocab, request.seed)
          : read_prompt(request.tokens_file, cell.batch, cell.context, model.spec.vocab);
  fill_weights(executor, *model.weights);
  executor.set_prompt(prompt);
  const ClockReading before = read_clocks(sysfs);
  measure(executor, request.options, record);
  for (std::string& flag : clock_flags(before, read_clocks(sysfs)))
    record.flags.push_back(std::move(flag));
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
  record.memory.predicted = layout_memory(plan, [&](const Node& node) {
                              return backend->workspace_bytes(node, plan);
                            }).size_bytes;
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
