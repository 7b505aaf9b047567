#include "app/measure_cell.h"

#include <fmt/format.h>

#include <filesystem>

#include "app/measure_model.h"
#include "measure/provenance.h"
#include "sweep/fake.h"

namespace tidemark {

Record measure_cell(const Cell& asked, const MeasureSettings& settings,
                    const std::function<void(const Record&)>& started) {
  const auto tell = [&](Record record) {
    record.outcome = Outcome::failed;
    record.reason = "died without a word";
    started(record);
  };
  if (is_fake(asked.model)) {
    Record record;
    record.cell = asked;
    record.provenance = machine_provenance();
    tell(record);
    run_fake(record);
    return record;
  }
  MeasureRequest request{.cell = asked, .seed = settings.seed, .tokens_file = {}, .started = tell};
  request.energy = settings.energy;
  request.options.stopping.time_budget_s = settings.budget_s;
  if (!settings.operators)
    request.options.prefill_profile_passes = request.options.decode_profile_passes = 0;
  return measure_model(open_model(asked.model, settings.synthetic, settings.seed), request);
}

std::vector<std::string> run_cell_command(const Cell& c, const MeasureSettings& s) {
  // Read once: when the program is replaced while a sweep runs the link says that it was deleted.
  static const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  std::vector<std::string> command = {program, "run-cell", c.model};
  const auto add = [&](const char* option, const auto& value) {
    command.push_back(option);
    command.push_back(fmt::format("{}", value));
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
  if (s.synthetic) command.push_back("--synthetic");
  if (!s.operators) command.push_back("--no-operators");
  if (!s.energy) command.push_back("--no-energy");
  return command;
}

}  // namespace tidemark
