
#include "app/commands.h"
#include "app/options.h"
#include "app/session.h"
#include "app/trace_pass.h"
#include "base/error.h"
#include "base/file.h"

namespace tidemark {
namespace {

struct Options {
  std::string model, context = "512", chunk = "512", dtype = "bf16", logits = "last";
  std::string device = "cpu", output = "trace.json";
  int64_t batch = 1, new_tokens = 2;
  int threads = 0;
  uint64_t seed = 0;
  bool synthetic = false;
};

int run(const Options& options) {
  const Model model = open_model(options.model, options.synthetic, options.seed);
  const int64_t context = tokens_option("--context", options.context);
  const Plan plan = build_plan(model.spec, {.batch = options.batch,
                                            .context = context,
                                            .new_tokens = options.new_tokens,
                                            .chunk = chunk_option(options.chunk, context),
                                            .dtype = dtype_option(options.dtype),
                                            .logits = logits_option(options.logits)});
  const auto backend = open_backend(options.device, options.threads, 0);
  Executor executor(plan, *backend);
  fill_weights(executor, *model.weights);
  executor.set_prompt(random_prompt(options.batch, context, model.spec.vocab, options.seed));
  const std::vector<Trace> traces = trace_pass(executor);
  write_text(options.output, trace_to_json(traces).dump() + "\n");
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
  command->add_option("-o,--output", options->output, "Trace file")->capture_default_str();
  command->add_option("--new-tokens", options->new_tokens, "1: the prefill alone")
      ->capture_default_str();
  command->add_option("--batch", options->batch, "Sequences")->capture_default_str();
  command->add_option("--dtype", options->dtype, "f32 or bf16")->capture_default_str();
  command->add_option("--chunk", options->chunk, "Prefill tokens per step, or whole")
      ->capture_default_str();
  command->add_option("--logits", options->logits, "Logits kept by the prefill: last or all")
      ->capture_default_str();
  command->add_option("--device", options->device, "cpu")->capture_default_str();
  command->add_option("--threads", options->threads, "CPU threads; 0: all cores")
      ->capture_default_str();
  command->add_flag("--synthetic", options->synthetic,
                    "Draw weights from the seed even where there are real ones");
  command->add_option("--seed", options->seed, "Of synthetic weights and the prompt")
      ->capture_default_str();
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace tidemark
