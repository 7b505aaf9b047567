#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <map>

#include "app/cell_text.h"
#include "app/commands.h"
#include "app/measure_cell.h"
#include "base/error.h"
#include "base/say.h"
#include "base/units.h"
#include "measure/harness.h"
#include "measure/power.h"
#include "measure/provenance.h"
#include "model/load.h"
#include "plan/plan.h"
#include "report/text.h"
#include "sweep/fake.h"
#include "sweep/run_sweep.h"

namespace tidemark {
namespace {

struct Options {
  std::string file, store = "results.sqlite", shard = "1/1";
  std::vector<std::string> retry;
  bool list = false;
};

// A handler can reach nothing but a global.
volatile std::sig_atomic_t stop_requests = 0;

void ask_to_stop(int signal) {
  // A terminal's Ctrl-C leaves the running cell its time; a scheduler's SIGTERM leaves little.
  stop_requests = signal == SIGINT && stop_requests == 0 ? 1 : 2;
}

void listen_for_stops() {
  struct sigaction action {};
  action.sa_handler = ask_to_stop;
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // who reads the progress may go home before the sweep is done
}

std::set<Outcome> retried_outcomes(const std::vector<std::string>& names) {
  std::set<Outcome> outcomes;
  for (const std::string& text : names) {
    bool known = false;
    for (Outcome outcome :
         {Outcome::out_of_memory, Outcome::unsupported, Outcome::timed_out, Outcome::failed})
      if (text == name(outcome)) {
        outcomes.insert(outcome);
        known = true;
      }
    if (!known)
      fail("--retry: expected out_of_memory, unsupported, timed_out or failed, found '{}'", text);
  }
  return outcomes;
}

// Before the night begins, not in the middle of it.
void check_cells(const std::string& file, const SweepFile& sweep) {
  const auto at = [&](int64_t line) { return fmt::format("{}:{}", file, line); };
  std::map<std::string, ModelSpec> specs;
  for (size_t i = 0; i < sweep.cells.size(); ++i) {
    const Cell& c = sweep.cells[i];
    if (is_fake(c.model)) continue;
    if (!specs.contains(c.model))
      specs[c.model] = with_context(at(sweep.lines[i].model), [&] { return load_spec(c.model); });
    const int64_t most =
        max_context(specs[c.model], {.batch = c.batch, .new_tokens = c.new_tokens});
    if (c.context > most)
      fail("{}: context: expected at most the {} that {} has positions for, found {}",
           at(sweep.lines[i].context), most, c.model, c.context);
  }
  // A cell's process begins as this one has.
  const int64_t least = taken_memory_bytes().value_or(0);
  if (sweep.process_memory_line > 0 && sweep.process_memory_bytes < least)
    fail(
        "{}: sweep.process_memory: expected more than the {} that a process takes before it "
        "measures, found {}",
        at(sweep.process_memory_line), format_bytes(least),
        format_bytes(sweep.process_memory_bytes));
}

void say_why_no_energy(const SweepFile& sweep) {
  const bool on_cpu = std::any_of(sweep.cells.begin(), sweep.cells.end(),
                                  [](const Cell& c) { return c.device == "cpu"; });
  const FoundSensor found = find_power_sensor("/sys", steady_now_s);
  if (on_cpu && !found.sensor) say("energy of the CPU: {}", found.reason);
}

std::string result_text(const Record& r) {
  if (r.outcome != Outcome::ok) return fmt::format("{}: {}", name(r.outcome), r.reason);
  std::string text = "ok";
  if (r.metrics.ttft_s) text += ", TTFT " + time_text(r.metrics.ttft_s->median);
  if (r.metrics.tpot_s) text += ", TPOT " + time_text(r.metrics.tpot_s->median);
  return text;
}

// One line that a terminal overwrites; a log gets only the lines of finished cells.
class ProgressLine {
 public:
  void running(const Job& job, const SweepProgress& p) {
    if (!terminal_) return;
    const std::string line =
        clipped(fmt::format("{} {}", counts(p), cell_text(job.cell)), style_of(stderr).width - 1);
    std::fputs(("\r\x1b[K" + line).c_str(), stderr);
  }
  void finished(const Job& job, const Record& record, const SweepProgress& p) {
    say("{}{} {}: {}", terminal_ ? "\r\x1b[K" : "", counts(p), cell_text(job.cell),
        result_text(record));
  }

 private:
  // "[12/40, 1 not ok, 28 left, about 14 min]"
  static std::string counts(const SweepProgress& p) {
    std::string text = fmt::format("[{}/{}", p.done, p.total);
    if (p.not_ok > 0) text += fmt::format(", {} not ok", p.not_ok);
    text += fmt::format(", {} left", p.total - p.done);
    if (p.left_s && p.done < p.total) text += ", about " + duration(*p.left_s);
    return text + "]";
  }
  static std::string duration(double seconds) {
    if (seconds < 90) return fmt::format("{:.0f} s", seconds);
    if (seconds < 5400) return fmt::format("{:.0f} min", seconds / 60);
    return fmt::format("{:.1f} h", seconds / 3600);
  }
  bool terminal_ = can_redraw(stderr);
};

int sweep(const Options& options) {
  const SweepFile file = read_sweep_file(options.file);
  const Shard shard = parse_shard(options.shard);
  const std::set<Outcome> retry = retried_outcomes(options.retry);
  check_cells(options.file, file);
  const std::vector<Job> jobs = schedule(file, shard);
  if (options.list) {
    for (const Job& job : jobs) fmt::print("{} repeat={}\n", job.place.request, job.place.repeat);
    return exit_ok;
  }

  listen_for_stops();
  if (file.measure.energy) say_why_no_energy(file);
  Store store(options.store, Store::Open::create);
  ProgressLine line;
  SweepOptions run;
  run.provenance = machine_provenance();
  run.retry = retry;
  run.command = [&](const Cell& cell) { return run_cell_command(cell, file.measure); };
  run.limits = [&](const Cell& cell) {
    ChildLimits limits{.time_s = file.timeout_s, .memory_bytes = 0};
    // A GPU's driver reserves far more address space than it uses.
    if (cell.device == "cpu")
      limits.memory_bytes =
          file.process_memory_bytes > 0 ? file.process_memory_bytes : run.provenance.memory_bytes;
    return limits;
  };
  run.before = [&](const Job& job, const SweepProgress& p) { line.running(job, p); };
  run.after = [&](const Job& job, const Record& record, const SweepProgress& p) {
    line.finished(job, record, p);
  };
  const bool complete = run_sweep(store, jobs, run, stop_requests);
  // Other sweeps' results, too.
  const std::set<SweepPlace> finished = finished_places(store, commit_label(run.provenance));
  say("{}: {} of {} cells have a result{}", options.store,
      std::ranges::count_if(jobs, [&](const Job& job) { return finished.contains(job.place); }),
      jobs.size(), complete ? "" : "; the same command goes on from here");
  return complete ? exit_ok : exit_negative;
}

}  // namespace

void add_sweep_command(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "sweep", "Measure every cell of a sweep file into a store; goes on where it stopped");
  command->add_option("file", options->file, "Sweep file (docs/sweeps.md)")->required();
  command->add_option("--store", options->store, "Store of results")->capture_default_str();
  command->add_option("--shard", options->shard, "I/N: the I-th of N shares of the cells")
      ->capture_default_str();
  command
      ->add_option("--retry", options->retry,
                   "Measure again what ended so: out_of_memory, unsupported, timed_out, failed")
      ->delimiter(',');
  command->add_flag("--list", options->list, "Print the cells of the share, measure nothing");
  command->callback([options, &exit_code] { exit_code = sweep(*options); });
}

}  // namespace tidemark
