#include "app/measure_cell.h"

#include <new>

#include "app/session.h"
#include "backend/arena.h"
#include "measure/harness.h"
#include "measure/provenance.h"
#include "sweep/fake.h"

namespace tidemark {
namespace {

void measure_model(const Cell& asked, const MeasureSettings& settings, Record& record,
                   const std::function<void(const Record&)>& started) {
  const Model model = open_model(asked.model, settings.synthetic, settings.seed);
  const Plan plan = build_plan(model.spec, {.batch = asked.batch,
                                            .context = asked.context,
                                            .new_tokens = asked.new_tokens,
                                            .chunk = asked.chunk,
                                            .dtype = asked.dtype,
                                            .logits = asked.logits});
  const auto backend =
      open_backend(asked.device, static_cast<int>(asked.threads), asked.memory_limit_bytes);
  record = start_record(plan, backend->info());
  record.cell.family = model.spec.family;
  record.cell.memory_limit_bytes = asked.memory_limit_bytes;
  record.weights = model.weights->description();
  record.prompt = fmt::format("random, seed {}", settings.seed);
  record.memory.predicted = layout_memory(plan, [&](const Node& node) {
                              return backend->workspace_bytes(node, plan);
                            }).size_bytes;
  record.outcome = Outcome::failed;
  record.reason = "died without a word";
  started(record);

  if (!backend->supports(asked.dtype)) {
    record.outcome = Outcome::unsupported;
    record.reason = fmt::format("{} has no {} kernels", asked.device, name(asked.dtype));
    return;
  }
  Executor executor(plan, *backend);
  fill_weights(executor, *model.weights);
  executor.set_prompt(random_prompt(asked.batch, asked.context, model.spec.vocab, settings.seed));
  MeasureOptions options;
  options.stopping.time_budget_s = settings.budget_s;
  if (!settings.operators) options.prefill_profile_passes = options.decode_profile_passes = 0;
  measure(executor, options, record);
  record.outcome = Outcome::ok;
  record.reason.clear();
}

}  // namespace

Record measure_cell(const Cell& asked, const MeasureSettings& settings,
                    const std::function<void(const Record&)>& started) {
  Record record;
  record.cell = asked;
  record.provenance = machine_provenance();
  try {
    if (is_fake(asked.model)) {
      record.outcome = Outcome::failed;
      started(record);
      const Provenance provenance = record.provenance;
      record = run_fake(asked);
      record.provenance = provenance;
    } else {
      measure_model(asked, settings, record, started);
    }
  } catch (const OutOfMemory& error) {
    record.outcome = Outcome::out_of_memory;
    record.reason = error.what();
  } catch (const std::bad_alloc&) {
    record.outcome = Outcome::out_of_memory;
    record.reason = "the process got no more memory from the system";
  }
  return record;
}

std::vector<std::string> run_cell_arguments(const Cell& c, const MeasureSettings& s) {
  std::vector<std::string> arguments = {"run-cell", c.model};
  const auto add = [&](const char* option, const auto& value) {
    arguments.push_back(option);
    arguments.push_back(fmt::format("{}", value));
  };
  add("--device", c.device);
  add("--dtype", name(c.dtype));
  add("--batch", c.batch);
  add("--context", c.context);
  add("--new-tokens", c.new_tokens);
  add("--chunk", c.chunk);
  add("--logits", name(c.logits));
  add("--threads", c.threads);
  add("--memory-limit", c.memory_limit_bytes);
  add("--budget", s.budget_s);
  add("--seed", s.seed);
  if (s.synthetic) arguments.push_back("--synthetic");
  if (!s.operators) arguments.push_back("--no-operators");
  if (!s.energy) arguments.push_back("--no-energy");
  return arguments;
}

}  // namespace tidemark
