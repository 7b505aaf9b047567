
#include "app/commands.h"
#include "app/options.h"
#include "app/session.h"
#include "app/trace_pass.h"
#include "base/error.h"

namespace tidemark {
namespace {

struct Options {
  std::string model, context = "512", output = "trace.json";
  WorkloadOptions workload{.new_tokens = 2};  // with 1 there is no decode step
  DeviceOptions device;
  WeightOptions weights;
};

int run(const Options& options) {
  check_outputs({options.output}, {options.model});
  const Model model = open_model(options.model, options.weights.synthetic, options.weights.seed);
  const int64_t context = tokens_option("--context", options.context);
  const Plan plan = build_plan(model.spec, workload_of(options.workload, context));
  const auto backend = open_backend(options.device.device, options.device.threads, 0);
  Executor executor(plan, *backend);
  fill_weights(executor, *model.weights);
  executor.set_prompt(
      random_prompt(options.workload.batch, context, model.spec.vocab, options.weights.seed));
  const std::vector<Trace> traces = trace_pass(executor);
  write_output(options.output, trace_to_json(traces).dump() + "\n");
  if (options.output == "-") return exit_ok;
  size_t slices = 0;
  for (const Trace& trace : traces) slices += trace.slices.size();
  fmt::print("{}: {} operators; open it in ui.perfetto.dev or chrome://tracing\n", options.output,
             slices);
  return exit_ok;
}

}  // namespace

void add_trace_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "trace", "Write a Chrome/Perfetto trace of one prefill and one decode step");
  command->add_option("model", options->model, "Preset name, or folder with config.json")
      ->required();
  command->add_option("--context", options->context, "Prompt tokens")->capture_default_str();
  command->add_option("-o,--output", options->output, "Trace file, or -")->capture_default_str();
  add_workload_options(*command, options->workload);
  add_device_options(*command, options->device);
  add_weight_options(*command, options->weights);
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace tidemark
