#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/limit.h"
#include "app/measure_cell.h"
#include "app/options.h"
#include "app/prediction.h"
#include "app/session.h"
#include "backend/arena.h"
#include "backend/cuda_devices.h"
#include "backend/cuda_plan.h"
#include "backend/executor.h"
#include "base/error.h"
#include "base/units.h"
#include "device/profile.h"
#include "measure/provenance.h"
#include "report/table.h"
#include "sweep/run_sweep.h"

namespace tidemark {
namespace {

struct Options {
  std::string model, memory, on;
  WorkloadOptions workload{.new_tokens = 1};
  DeviceOptions device;
  bool measure = false, json = false;
};

constexpr int64_t table_chunk = 512;

// One row: how the prefill is done, and what that reaches.
struct Policy {
  std::string title;
  LimitRequest request;
  EngineModel engine = EngineModel::own;
  Limit limit{};
};

std::string policy_title(const LimitRequest& r) {
  return fmt::format(
      "{}, logits of {}",
      r.whole_chunk ? "whole sequence in one step" : fmt::format("chunks of {}", r.workload.chunk),
      r.workload.logits == LogitsPolicy::all ? "all positions" : "the last position");
}

bool same_policy(const Policy& x, const Policy& y) {
  return x.request.whole_chunk == y.request.whole_chunk &&
         (x.request.whole_chunk || x.request.workload.chunk == y.request.workload.chunk) &&
         x.request.workload.logits == y.request.workload.logits && x.engine == y.engine;
}

// What was asked for, chunked prefill with the last position's logits, a whole pass with all
// logits, and the latter as a framework runs it.
std::vector<Policy> policies(const ModelSpec& spec, const LimitRequest& asked) {
  LimitRequest chunked = asked, whole = asked;
  chunked.whole_chunk = false;
  chunked.workload.chunk = table_chunk;
  chunked.workload.logits = LogitsPolicy::last;
  whole.whole_chunk = true;
  whole.workload.logits = LogitsPolicy::all;
  LimitRequest eager = whole;
  eager.workload = eager_workload(whole.workload);
  std::vector<Policy> rows;
  for (Policy row : {Policy{policy_title(asked), asked}, Policy{policy_title(chunked), chunked},
                     Policy{policy_title(whole), whole},
                     Policy{fmt::format("{}, engine model {}", policy_title(eager),
                                        name(EngineModel::eager_full)),
                            eager, EngineModel::eager_full}}) {
    if (!unknown_part(row.engine, spec, row.request.workload.dtype).empty()) continue;
    bool seen = false;
    for (const Policy& earlier : rows) seen = seen || same_policy(earlier, row);
    if (!seen) rows.push_back(std::move(row));
  }
  return rows;
}

std::string context_text(const Limit& limit) {
  if (limit.unbounded) return fmt::format("{}, all it can take", limit.context);
  return fmt::format("{}", limit.context);
}

void print_table(const std::vector<Policy>& rows) {
  Table table;
  table.columns = {{"prefill", Align::left},
                   {"largest context"},
                   {"memory there"},
                   {"broken by", Align::left},
                   {"of it"}};
  for (const Policy& row : rows) {
    const Limit& l = row.limit;
    const MemoryByTag& memory = l.context > 0 ? l.fits : l.beyond;
    table.rows.push_back({row.title, context_text(l), format_bytes(memory.total()),
                          l.unbounded ? "" : std::string(name(l.broken_by)),
                          l.unbounded ? "" : format_bytes(memory[l.broken_by])});
  }
  fmt::print("{}", render(table, style_of(stdout)));
}

nlohmann::ordered_json to_json(const MemoryByTag& memory) {
  nlohmann::ordered_json json;
  for (const Tag tag : all_tags) json[std::string(name(tag))] = memory[tag];
  return json;
}

nlohmann::ordered_json to_json(const Policy& row) {
  nlohmann::ordered_json json = {{"prefill", row.title},
                                 {"logits", name(row.request.workload.logits)},
                                 {"logits_dtype", name(row.request.workload.logits_dtype)},
                                 {"engine_model", name(row.engine)},
                                 {"context", row.limit.context}};
  if (row.request.whole_chunk) {
    json["chunk"] = "whole";
  } else {
    json["chunk"] = row.request.workload.chunk;
  }
  if (!row.limit.unbounded) json["broken_by"] = name(row.limit.broken_by);
  json["memory_at_limit"] = to_json(row.limit.fits);
  json["memory_beyond"] = to_json(row.limit.beyond);
  return json;
}

// --memory, or what the device of --on has.
int64_t budget_bytes(const Options& options) {
  if (options.memory.empty() == options.on.empty())
    fail("limit: expected either --memory or --on, found {}", options.on.empty() ? "none" : "both");
  if (options.on.empty()) return bytes_option("--memory", options.memory);
  return static_cast<int64_t>(load_profile(options.on).memory_bytes.value);
}

// Runs children under the budget, which their arenas enforce.
class Prober {
 public:
  Prober(const Options& options, const LimitRequest& request)
      : options_(options), request_(request) {}

  // Really prefills `context` tokens. Anything but ok and out of memory says nothing about either.
  Record probe(int64_t context) const {
    const Workload& w = request_.workload;
    const Job job{{},
                  {.model = options_.model,
                   .device = options_.device.device,
                   .dtype = w.dtype,
                   .batch = w.batch,
                   .context = context,
                   .new_tokens = w.new_tokens,
                   .chunk = request_.whole_chunk ? context : w.chunk,
                   .logits = w.logits,
                   .threads = options_.device.threads,
                   .memory_limit_bytes = budget_bytes(options_)}};
    MeasureSettings settings;
    settings.budget_s = 1e-3;  // one warm-up and one run
    settings.operators = settings.energy = false;
    static const StopRequests nobody_stops = 0;
    const ChildResult child = run_child(run_cell_command(job.cell, settings), {}, nobody_stops);
    const auto record = record_of(job, child, {}, machine_provenance());
    if (!record) fail("--measure: at {} tokens: the process was killed", context);
    if (record->outcome != Outcome::ok && record->outcome != Outcome::out_of_memory)
      fail("--measure: at {} tokens: {}: {}", context, name(record->outcome), record->reason);
    return *record;
  }

 private:
  const Options& options_;
  const LimitRequest& request_;
};

// What the arenas say to a limit.
struct Confirmation {
  std::vector<Record> probes;  // at the limit, and one token above it
  bool confirmed = true;
  int64_t context = 0;  // what really runs
};

std::string probe_text(const Record& r) {
  std::string text(name(r.outcome));
  if (r.memory.high_water && r.outcome == Outcome::ok)
    text += ", high-water mark " + format_bytes(r.memory.high_water->total());
  if (!r.reason.empty()) text += ": " + r.reason;
  return fmt::format("  measured at {} tokens: {}\n", r.cell.context, text);
}

Confirmation confirm(const ModelSpec& spec, const Options& options, const LimitRequest& request,
                     const Limit& limit) {
  const Prober prober(options, request);
  Confirmation found{.probes = {}, .context = limit.context};
  const auto check = [&](int64_t context, Outcome expected) {
    if (context < 1) return;
    found.probes.push_back(prober.probe(context));
    if (!options.json) fmt::print("{}", probe_text(found.probes.back()));
    found.confirmed = found.confirmed && found.probes.back().outcome == expected;
  };
  check(limit.context, Outcome::ok);
  if (!limit.unbounded) check(limit.context + 1, Outcome::out_of_memory);
  if (found.confirmed) return found;
  found.context =
      find_measured_limit(limit.context, max_context(spec, request.workload), [&](int64_t context) {
        for (const Record& probed : found.probes)
          if (probed.cell.context == context) return probed.outcome == Outcome::ok;
        return prober.probe(context).outcome == Outcome::ok;
      });
  return found;
}

nlohmann::ordered_json to_json(const Confirmation& c) {
  nlohmann::ordered_json json = {{"confirmed", c.confirmed}, {"context", c.context}};
  for (const Record& r : c.probes) {
    nlohmann::ordered_json probe = {{"context", r.cell.context}, {"outcome", name(r.outcome)}};
    if (!r.reason.empty()) probe["reason"] = r.reason;
    if (r.memory.high_water) probe["high_water"] = to_json(*r.memory.high_water);
    json["probes"].push_back(std::move(probe));
  }
  return json;
}

// What driver and libraries take of a device with the plan attached that fits beside them: how much
// that is shows when kernels are loaded and arenas taken.
int64_t overhead_at_limit(Backend& backend, const ModelSpec& spec, const LimitRequest& asked) {
  constexpr int most_rounds = 4;  // the second mostly finds what the first did
  const auto planned = [&](const Plan& plan) { return memory_on(backend, plan); };
  int64_t overhead_bytes = backend.overhead_bytes();
  for (int i = 0; overhead_bytes > 0 && i < most_rounds; ++i) {
    LimitRequest beside = asked;
    beside.budget_bytes -= overhead_bytes;
    const Limit limit = find_limit(spec, beside, planned);
    if (limit.context < 1) break;
    try {
      const Executor attached(plan_at(spec, beside, limit.context), backend);
      if (backend.overhead_bytes() <= overhead_bytes) break;
      overhead_bytes = backend.overhead_bytes();
    } catch (const OutOfMemory&) {  // the budget is more than is there
      break;
    }
  }
  return overhead_bytes;
}

int run(const Options& options) {
  const ModelSpec spec = load_spec(options.model);
  LimitRequest asked;
  asked.budget_bytes = budget_bytes(options);
  asked.workload = workload_of(options.workload, table_chunk);  // each step sets its context
  asked.whole_chunk = options.workload.chunk == "whole";

  auto backend = open_backend(options.device.device, options.device.threads, 0);
  require_support(*backend, asked.workload.dtype);
  const DeviceProfile profile =
      options.on.empty()
          ? typical_profile(options.device.device == "cpu" ? DeviceKind::cpu : DeviceKind::gpu)
          : load_profile(options.on);
  // A GPU that is not here.
  const bool on_gpu = !options.on.empty() && options.device.device == "cpu" && !options.measure &&
                      profile.kind == DeviceKind::gpu;
  // What the arenas get of it.
  const int64_t overhead_bytes = overhead_at_limit(*backend, spec, asked);
  asked.budget_bytes -= overhead_bytes;
  const auto planned = [&](const Plan& plan) {
    return on_gpu ? layout_on_cuda(plan).size_bytes : memory_on(*backend, plan);
  };
  const auto framework = [&](const Plan& plan) {
    return predicted_memory(spec, plan, EngineModel::eager_full, profile);
  };
  std::vector<Policy> rows = policies(spec, asked);
  for (Policy& row : rows)
    row.limit = find_limit(spec, row.request,
                           row.engine == EngineModel::eager_full ? MemoryOf(framework) : planned);
  const Limit& limit = rows.front().limit;
  if (options.measure && options.device.device != "cpu") {  // what that runs needs the device whole
    backend.reset();
    release_cuda_device();
  }

  if (options.measure && options.device.device == "cpu" &&
      limit.fits.total() > available_host_bytes())
    fail("--measure: {} are wanted, this machine has {} to give", format_bytes(limit.fits.total()),
         format_bytes(available_host_bytes()));
  if (options.json) {
    nlohmann::ordered_json json = {{"model", spec.name},
                                   {"device", on_gpu ? options.on : options.device.device},
                                   {"dtype", name(asked.workload.dtype)},
                                   {"batch", asked.workload.batch},
                                   {"new_tokens", asked.workload.new_tokens},
                                   {"budget_bytes", budget_bytes(options)}};
    if (overhead_bytes > 0) json["driver_bytes"] = overhead_bytes;
    for (const Policy& row : rows) json["limits"].push_back(to_json(row));
    std::optional<Confirmation> measured;
    if (options.measure)
      json["measured"] = to_json(*(measured = confirm(spec, options, asked, limit)));
    fmt::print("{}\n", json.dump(2));
    if (measured && !measured->confirmed) return exit_negative;
  } else {
    fmt::print("{} in {}, {}, batch {}, with the scratch memory of the {} backend\n\n", spec.name,
               options.on.empty()
                   ? options.memory
                   : fmt::format("the {} of {}", format_bytes(budget_bytes(options)), options.on),
               name(asked.workload.dtype), asked.workload.batch,
               on_gpu ? "cuda" : options.device.device);
    const std::string missing =
        missing_kernels(on_gpu ? DeviceKind::gpu : DeviceKind::cpu, asked.workload.dtype);
    if (!missing.empty()) fmt::print("There are {}\n", missing);
    if (on_gpu)
      fmt::print("Driver and libraries are not counted: on an H200 they take half a GiB\n\n");
    if (overhead_bytes > 0)
      fmt::print("Driver and libraries take {} of it\n\n", format_bytes(overhead_bytes));
    print_table(rows);
    fmt::print("\n");
    if (options.measure) {
      const Confirmation measured = confirm(spec, options, asked, limit);
      fmt::print(
          "{}\n",
          measured.confirmed
              ? std::string("Confirmed by measurement")
              : fmt::format("NOT confirmed: what really runs is {} tokens{}", measured.context,
                            overhead_bytes > 0 ? "; what driver and libraries take differs from "
                                                 "process to process"
                                               : ""));
      if (!measured.confirmed) return exit_negative;
    }
  }
  return limit.context > 0 ? exit_ok : exit_negative;
}

}  // namespace

void add_limit_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("limit", "Find the largest context that fits a memory budget");
  command->add_option("model", options->model, "Preset name or folder with config.json")
      ->required();
  command->add_option("--memory", options->memory, "Budget for everything the plan holds: 24GiB");
  command->add_option("--on", options->on,
                      "Instead of --memory: all of this device's, a profile's name or file");
  add_workload_options(*command, options->workload);
  add_device_options(*command, options->device);
  command->add_flag("--measure", options->measure,
                    "Run at the limit and one token above it, in processes under that budget");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace tidemark
