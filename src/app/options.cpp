#include "app/options.h"

#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/units.h"
#include "record/json.h"

namespace tidemark {

void add_workload_options(CLI::App& command, WorkloadOptions& options) {
  command.add_option("--new-tokens", options.new_tokens, "Output tokens per sequence")
      ->capture_default_str();
  command.add_option("--batch", options.batch, "Sequences")->capture_default_str();
  command.add_option("--dtype", options.dtype, std::string(model_dtypes))->capture_default_str();
  command.add_option("--chunk", options.chunk, "Prefill tokens per step, or whole")
      ->capture_default_str();
  command.add_option("--logits", options.logits, "Logits kept by the prefill: last or all")
      ->capture_default_str();
}

Workload workload_of(const WorkloadOptions& options, int64_t context) {
  return {.batch = options.batch,
          .context = context,
          .new_tokens = options.new_tokens,
          .chunk = chunk_option(options.chunk, context),
          .dtype = dtype_option(options.dtype),
          .logits = logits_option(options.logits)};
}

void add_device_options(CLI::App& command, DeviceOptions& options) {
  command.add_option("--device", options.device, "cpu, or cuda:N for the N-th GPU")
      ->capture_default_str();
  command.add_option("--threads", options.threads, "CPU threads; 0: all cores")
      ->capture_default_str();
}

void add_weight_options(CLI::App& command, WeightOptions& options) {
  command.add_flag("--synthetic", options.synthetic,
                   "Draw weights from the seed even where there are real ones");
  // What parses an unsigned number takes -1 for the largest.
  const CLI::Validator from_0(
      [](std::string& text) {
        return text.starts_with('-')
                   ? fmt::format("expected a whole number from 0 up, found '{}'", printable(text))
                   : "";
      },
      "");
  command.add_option("--seed", options.seed, "Of synthetic weights and prompts")
      ->check(from_0)
      ->capture_default_str();
}

DType dtype_option(const std::string& text) {
  const auto dtype = parse_model_dtype(text);
  if (!dtype) fail("--dtype: expected {}, found '{}'", model_dtypes, text);
  return *dtype;
}

LogitsPolicy logits_option(const std::string& text) {
  const auto policy = parse_logits(text);
  if (!policy) fail("--logits: expected last or all, found '{}'", text);
  return *policy;
}

int64_t tokens_option(const std::string& option, const std::string& text) {
  return with_context(option, [&] { return parse_tokens(text); });
}

std::vector<int64_t> token_list_option(const std::string& option, const std::string& text) {
  return with_context(option, [&] { return parse_token_list(text); });
}

int64_t chunk_option(const std::string& text, int64_t context) {
  return text == "whole" ? context : tokens_option("--chunk", text);
}

int64_t bytes_option(const std::string& option, const std::string& text) {
  const int64_t bytes = with_context(option, [&] { return parse_bytes(text); });
  if (bytes < 1) fail("{}: expected at least 1 byte, found '{}'", option, text);
  return bytes;
}

void check_outputs(const std::vector<std::string>& outputs, const std::vector<std::string>& inputs,
                   const std::string& store) {
  const auto place = [](const std::string& output) {
    std::error_code error;
    return output == "-" ? output : std::filesystem::weakly_canonical(output, error).string();
  };
  std::set<std::string> seen;
  if (!store.empty()) seen.insert(place(store));
  for (const std::string& output : outputs) {
    if (output.empty()) continue;
    if (!seen.insert(place(output)).second)
      fail("{}: expected one output to go there, found two",
           output == "-" ? "standard output" : output);
    if (output != "-") check_output(output, inputs);
  }
}

void refuse_empty_values(CLI::App& app) {
  const CLI::Validator not_empty(
      [](std::string& value) { return value.empty() ? "expected a value, found ''" : ""; }, "");
  for (CLI::App* command : app.get_subcommands({}))
    for (CLI::Option* option : command->get_options())
      if (option->get_items_expected_max() > 0) option->check(not_empty);
}

void write_output(const std::string& file, const std::string& text) {
  if (file == "-")
    fmt::print("{}", text);
  else
    write_text(file, text);
}

void write_records(const std::string& file, std::span<const Record> records) {
  write_output(file, records_to_json(records).dump(2) + "\n");
}

}  // namespace tidemark
