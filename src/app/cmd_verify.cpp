#include <cmath>

#include "app/commands.h"
#include "app/options.h"
#include "app/session.h"
#include "app/verify.h"
#include "base/error.h"

namespace tidemark {
namespace {

struct Options {
  std::vector<std::string> folders;
  std::string dtype = "f32", chunk = "whole";
  DeviceOptions device;
  double tolerance = 0;
  bool quiet = false;
};

void print(const VerifyResult& result, bool quiet) {
  const TensorError* worst = nullptr;
  for (const TensorError& t : result.tensors) {
    if (!worst || t.relative > worst->relative) worst = &t;
    if (quiet && t.ok()) continue;
    const std::string judged = t.tolerance == 0
                                   ? "(not judged)"
                                   : fmt::format("{} {:.0e}", t.ok() ? "<=" : "> ", t.tolerance);
    fmt::print("  {:<16} {:.2e} {}\n", t.tensor, t.relative, judged);
  }
  fmt::print("{}: {}, worst {} {:.2e}, decode ids {}/{}{} : {}\n", result.folder.string(),
             result.model_type, worst->tensor, worst->relative, result.decode_ids_equal,
             result.decode_ids, result.decode_judged ? "" : " (not judged)",
             result.ok() ? "ok" : "FAILED");
}

int run(const Options& options) {
  const VerifyOptions verify{.dtype = dtype_option(options.dtype),
                             .chunk = chunk_option(options.chunk, 0),
                             .tolerance = options.tolerance};
  const auto backend = open_backend(options.device.device, options.device.threads, 0);
  bool all_ok = true;
  for (const std::string& folder : options.folders) {
    const VerifyResult result = verify_folder(folder, *backend, verify);
    print(result, options.quiet);
    all_ok = all_ok && result.ok();
  }
  return all_ok ? exit_ok : exit_negative;
}

}  // namespace

void add_verify_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "verify", "Compare reference checkpoints with what their golden.safetensors records");
  command
      ->add_option("folder", options->folders,
                   "Folders with config.json, weights and "
                   "golden.safetensors")
      ->required();
  add_device_options(*command, options->device);
  command->add_option("--dtype", options->dtype, std::string(model_dtypes))->capture_default_str();
  command->add_option("--chunk", options->chunk, "Prefill tokens per step, or whole")
      ->capture_default_str();
  command->add_option(
      "--tolerance", options->tolerance,
      "Relative error allowed; default in f32 1e-5, of qwen3_next 5e-5, on a GPU 1e-4; on logits "
      "3e-2 in bf16 and w8a16, 8e-2 in w8a8");
  command->add_flag("--quiet", options->quiet, "One line per folder, and tensors that fail");
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace tidemark
