#include "sweep/run_sweep.h"

#include <chrono>
#include <cstring>
#include <deque>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "record/json.h"
#include "sweep/claims.h"

namespace tidemark {
namespace {

// The last record a child has printed; a line cut off by its death is none.
std::optional<Record> last_record(const std::string& output) {
  std::optional<Record> last;
  std::istringstream lines(output);
  std::string line;
  while (std::getline(lines, line)) {
    try {
      last = record_from_json(nlohmann::ordered_json::parse(line));
    } catch (const std::exception&) {
      continue;
    }
  }
  return last;
}

// What is known of a cell whose process did not end well: what it had said, else what was asked.
Record known_of(const Job& job, const ChildResult& child, const Provenance& own) {
  if (const std::optional<Record> spoken = last_record(child.output)) return *spoken;
  Record record;
  record.cell = job.cell;
  record.provenance = own;
  return record;
}

std::string signal_name(int signal) {
  const char* abbreviation = sigabbrev_np(signal);
  return abbreviation ? fmt::format("SIG{} ({})", abbreviation, sigdescr_np(signal))
                      : fmt::format("signal {}", signal);
}

std::string with_tail(std::string reason, const std::string& error_tail) {
  return error_tail.empty() ? reason : fmt::format("{}: {}", reason, error_tail);
}

bool sent_by_somebody(int signal) {
  return signal == SIGKILL || signal == SIGTERM || signal == SIGINT || signal == SIGHUP;
}

}  // namespace

std::optional<Record> record_of(const Job& job, const ChildResult& child, const ChildLimits& limits,
                                const Provenance& own) {
  const std::optional<Record> spoken = last_record(child.output);
  if (child.end == ChildEnd::exited && child.status == 0 && spoken) return spoken;

  Record record = known_of(job, child, own);
  switch (child.end) {
    case ChildEnd::stopped:
      return std::nullopt;
    case ChildEnd::timed_out:
      record.outcome = Outcome::timed_out;
      record.reason = fmt::format("took longer than {:g} s", limits.time_s);
      return record;
    case ChildEnd::signalled:
      if (child.kernel_oom) {
        record.outcome = Outcome::out_of_memory;
        record.reason = "killed by the kernel's out-of-memory killer";
        return record;
      }
      if (sent_by_somebody(child.status)) return std::nullopt;
      record.outcome = Outcome::failed;
      record.reason =
          with_tail(fmt::format("crashed: {}", signal_name(child.status)), child.error_tail);
      return record;
    case ChildEnd::exited:
      break;
  }
  record.outcome = Outcome::failed;
  record.reason =
      child.status == 0 ? "ended without a result" : fmt::format("exit status {}", child.status);
  record.reason = with_tail(record.reason, child.error_tail);
  return record;
}

bool run_sweep(Store& store, const std::vector<Job>& jobs, const SweepOptions& options,
               const StopRequests& stop_requests) {
  using Clock = std::chrono::steady_clock;
  const std::string commit = commit_label(options.provenance);
  Claims claims(store.path(), commit);
  const int64_t newest_before = newest_id(store);
  const std::set<SweepPlace> finished = finished_places(store, commit, options.retry);
  // Places whose old result is to give way.
  std::set<SweepPlace> retried = finished_places(store, commit);
  std::deque<const Job*> left;
  for (const Job& job : jobs)
    if (!finished.contains(job.place)) left.push_back(&job);

  SweepProgress progress{.total = static_cast<int64_t>(jobs.size()),
                         .done = static_cast<int64_t>(jobs.size() - left.size())};
  int64_t measured = 0;
  size_t passed_over = 0;  // cells in a row that other sweeps are measuring
  const auto start = Clock::now();
  std::set<const Job*> killed_once;
  while (!left.empty() && stop_requests == 0) {
    const Job& job = *left.front();
    left.pop_front();
    if (!claims.take(job.place)) {
      left.push_back(&job);
      if (++passed_over < left.size()) continue;
      passed_over = 0;
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      continue;
    }
    passed_over = 0;
    if (has_result_since(store, job.place, commit, newest_before)) {  // of another sweep
      claims.release(job.place);
      ++progress.done;
      continue;
    }
    if (options.before) options.before(job, progress);
    const ChildLimits limits = options.limits(job.cell);
    const ChildResult child = run_child(options.command(job.cell), limits, stop_requests);
    std::optional<Record> record = record_of(job, child, limits, options.provenance);
    if (!record && (stop_requests > 0 || killed_once.insert(&job).second)) {
      claims.release(job.place);
      left.push_back(&job);
      continue;
    }
    if (!record) {
      record = known_of(job, child, options.provenance);
      record->outcome = Outcome::failed;
      record->reason = fmt::format("killed twice: {}", signal_name(child.status));
    }
    if (retried.contains(job.place)) {
      replace(store, job.place, *record);
    } else {
      insert_once(store, job.place, *record);
    }
    claims.release(job.place);
    ++progress.done;
    ++measured;
    if (record->outcome != Outcome::ok) ++progress.not_ok;
    progress.elapsed_s = std::chrono::duration<double>(Clock::now() - start).count();
    progress.left_s =
        progress.elapsed_s / static_cast<double>(measured) * static_cast<double>(left.size());
    if (options.after) options.after(job, *record, progress);
  }
  return left.empty();
}

}  // namespace tidemark
