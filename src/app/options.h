// Options that several commands take, parsed and checked the same way everywhere.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/vocab.h"
#include "plan/plan.h"
#include "record/record.h"

namespace tidemark {

// What is asked of a model, but for the context, which some commands take one of and some many.
struct WorkloadOptions {
  std::string chunk = "512", dtype = "bf16", logits = "last";
  int64_t batch = 1, new_tokens = 32;
};
void add_workload_options(CLI::App& command, WorkloadOptions& options);
Workload workload_of(const WorkloadOptions& options, int64_t context);

// Where it is computed.
struct DeviceOptions {
  std::string device = "cpu";
  int threads = 0;
};
void add_device_options(CLI::App& command, DeviceOptions& options);

// What it is computed with.
struct WeightOptions {
  bool synthetic = false;
  uint64_t seed = 0;
};
void add_weight_options(CLI::App& command, WeightOptions& options);

// Each names the option in its error.
DType dtype_option(const std::string& text);
LogitsPolicy logits_option(const std::string& text);
int64_t tokens_option(const std::string& option, const std::string& text);
std::vector<int64_t> token_list_option(const std::string& option, const std::string& text);
// "whole" is `context`.
int64_t chunk_option(const std::string& text, int64_t context);
// Of at least one byte: 0 stands for no limit elsewhere.
int64_t bytes_option(const std::string& option, const std::string& text);

// Before the work begins: whether each of `outputs` (a file, "-", or "" for none) can be written,
// is none of `inputs` (check_output), and goes somewhere of its own, which `store`, if any, has
// not.
void check_outputs(const std::vector<std::string>& outputs,
                   const std::vector<std::string>& inputs = {}, const std::string& store = "");
// Of options of all commands: "" stands for what was not asked for, so an output given so, by a
// variable without a value, would silently go nowhere.
void refuse_empty_values(CLI::App& app);
// To a file, or with "-" to standard output.
void write_output(const std::string& file, const std::string& text);
// Records as one JSON document, the same from every command (docs/measuring.md).
void write_records(const std::string& file, std::span<const Record> records);

}  // namespace tidemark
