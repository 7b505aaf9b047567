// Rows of docs/performance-cpu.md, a group at a time, so that what fails takes no other row along
// (bench/cpu calls this and puts the page together):
//   tidemark_bench_cpu machine             the page's head: processor, threads, libraries, commit
//   tidemark_bench_cpu limits              rows of what the machine can do
//   tidemark_bench_cpu GROUP BUDGET_S      rows; GROUP: kernels, or a preset of the table; the
//                                          budget is a row's of a model
//   tidemark_bench_cpu kernels 1 TEXT      of the kernels those whose name has TEXT in it
// Times of models are those of `tidemark run`: synthetic weights, batch 1, bf16, last-position
// logits, all cores that the process may use.
#include <omp.h>

#include <cmath>
#include <map>

#include "app/session.h"
#include "backend/arena.h"
#include "backend/cpu/context.h"
#include "backend/cpu/onednn.h"
#include "base/units.h"
#include "kernel_steps.h"
#include "limits.h"
#include "measure/harness.h"
#include "measure/operator_rows.h"
#include "measure/stats.h"
#include "page.h"

namespace tidemark {
namespace {

constexpr int64_t chunk = 512;
constexpr double prefill_bar = 0.60, decode_bar = 0.85;  // of oneDNN's GEMM rate, of reading memory

// What the machine can do: bytes, operations, exponentials per second.
struct Limits {
  double read, gemm, fma, exp;
};

int threads() {
  return omp_get_num_procs();
}

// Samples of `run`, in seconds per unit of what it returns: after a warm-up of the same length, 15
// of at least 10 ms, within `budget_s` in all.
template <class Run>
Summary sample(double budget_s, const Run& run) {
  std::vector<double> seconds;
  const double start = steady_now_s();
  for (double warm = start; warm - start < budget_s / 4; warm = steady_now_s()) run();
  while (seconds.size() < 15 && (seconds.size() < 3 || steady_now_s() - start < budget_s)) {
    double done = 0;
    const double begin = steady_now_s();
    do done += static_cast<double>(run());
    while (steady_now_s() - begin < 0.01);
    seconds.push_back((steady_now_s() - begin) / done);
  }
  return summarize(std::move(seconds));
}

// ---- limits ----

// A oneDNN product on memory of its own, its weight laid out once as oneDNN likes best.
class OneDnnProduct {
 public:
  OneDnnProduct(int64_t m, int64_t n, int64_t k, DType dtype)
      : shape_{.m = m,
               .n = n,
               .k = k,
               .x_stride = k,
               .weight_stride = k,
               .out_stride = n,
               .dtype = dtype,
               .out_dtype = dtype == DType::i8 ? DType::i32 : dtype,
               .bias = false,
               .accumulate = false,
               .scale = 1,
               .own_layout = true} {
    omp_set_num_threads(threads());
    if (gemms_.implementation(shape_).empty())
      fail("oneDNN has no optimised product of {} here", name(dtype));
    const std::array<int64_t, 4> bytes = {m * k * size_bytes(dtype), gemms_.weight_bytes(shape_),
                                          m * n * size_bytes(shape_.out_dtype),
                                          gemms_.scratch_bytes(shape_)};
    int64_t total = 0;
    for (const int64_t size : bytes) total += round_up(size, 64);
    arena_ = Arena(Tag::workspace, total, threads());
    std::byte* at = arena_.at(0, total);
    std::fill(at, at + total, std::byte{0});  // zero: its time does not depend on values
    for (size_t i = 0; i < part_.size(); ++i) part_[i] = at, at += round_up(bytes[i], 64);
  }
  double operations() const { return 2.0 * static_cast<double>(shape_.m * shape_.n * shape_.k); }
  void run() { gemms_.run(shape_, part_[0], part_[1], nullptr, part_[2], part_[3]); }
  double seconds(double budget_s) {
    return sample(budget_s, [&] { return run(), 1; }).median;
  }
  // Operations a second over some 20 ms.
  double rate_now() {
    omp_set_num_threads(threads());
    double done = 0;
    const double begin = steady_now_s();
    do run(), done += operations();
    while (steady_now_s() - begin < 0.02);
    return done / (steady_now_s() - begin);
  }

 private:
  GemmShape shape_;
  OneDnnGemms gemms_;
  Arena arena_;
  std::array<std::byte*, 4> part_{};
};

// What the projections of a model are multiplied as.
DType product_dtype(DType model) {
  return model == DType::w8a8 ? DType::i8 : DType::bf16;
}

// The better of two square products: the larger of them may leave the caches.
std::unique_ptr<OneDnnProduct> large_product(DType dtype) {
  std::unique_ptr<OneDnnProduct> best;
  double best_rate = 0;
  for (const int64_t side : {1024, 2048}) {
    auto product = std::make_unique<OneDnnProduct>(side, side, side, dtype);
    const double rate = product->operations() / product->seconds(0.25);
    if (rate > best_rate) best = std::move(product), best_rate = rate;
  }
  return best;
}

// oneDNN over the projections of one whole chunk of a plan, each by its time: operations a second.
double own_gemm_rate(const Plan& plan) {
  std::map<std::tuple<int64_t, int64_t, int64_t>, int64_t> count;
  for (const Node& node : plan.step(StepKind::tail).nodes)
    if (const auto* gemm = std::get_if<Gemm>(&node.op); gemm && gemm->m > 8)
      ++count[{gemm->m, gemm->n, gemm->k}];
  double operations = 0, seconds = 0;
  for (const auto& [shape, layers] : count) {
    const auto [m, n, k] = shape;
    operations += static_cast<double>(2 * m * n * k * layers);
    seconds += static_cast<double>(layers) *
               OneDnnProduct(m, n, k, product_dtype(plan.workload.dtype)).seconds(0.4);
  }
  return operations / seconds;
}

double rate(int64_t (*work)(int), double budget_s) {
  return 1 / sample(budget_s, [&] { return work(threads()); }).median;
}

Limits measure_limits(double budget_s) {
  const auto product = large_product(DType::bf16);
  return {rate(cpu::read_memory, budget_s), product->operations() / product->seconds(budget_s),
          rate(cpu::multiply_adds, budget_s), rate(cpu::exponentials, budget_s)};
}

void print_limits() {
  const Limits l = measure_limits(2);
  fmt::print("| reading 256 MiB | {:.1f} GB/s |\n", l.read * 1e-9);
  fmt::print("| a bf16 product of 1024 or 2048 cubed, oneDNN | {:.0f} GFLOP/s |\n", l.gemm * 1e-9);
  fmt::print("| multiply-adds of fp32 in registers | {:.0f} GFLOP/s |\n", l.fma * 1e-9);
  fmt::print("| 2^x, the kernels' own to fp32 precision | {:.1f} * 10^9/s |\n", l.exp * 1e-9);
}

// ---- whole models ----

// What the project asks for on two cores of a machine with AMX, in tokens a second.
struct Bar {
  double tokens_per_s = 0;  // 0: none
  const char* peers = "-";  // llama.cpp; the fork ik_llama.cpp
};

struct ModelRow {
  const char* preset;
  const char* title;
  int64_t context, new_tokens, runs;  // runs 0: as many as settle; of few the first is measured too
  Bar prefill, decode{};
  DType dtype = DType::bf16;
};

const std::vector<ModelRow>& model_rows() {
  constexpr auto int8_512 = "519; 490 (Q8_0)", int8 = "47; 42 (Q8_0)";
  static const std::vector<ModelRow> rows = {
      {"qwen2.5-0.5b", "Qwen2.5-0.5B", 512, 65, 0, {1600, "178; 230"}, {26, "17.3; 22.9"}},
      {"qwen2.5-0.5b", "Qwen2.5-0.5B", 2048, 1, 0, {1400, "144; 208"}},
      {"qwen2.5-0.5b", "Qwen2.5-0.5B", 8192, 33, 2, {800, "81; 149"}, {22, "12.4"}},
      {"qwen2.5-0.5b", "Qwen2.5-0.5B w8a16", 512, 65, 0, {0, int8_512}, {0, int8}, DType::w8a16},
      {"qwen2.5-0.5b", "Qwen2.5-0.5B w8a8", 512, 65, 0, {0, int8_512}, {0, int8}, DType::w8a8},
      {"mamba-130m", "Mamba-130m", 512, 129, 0, {2500, "331"}, {95, "51"}},
      {"mamba-130m", "Mamba-130m", 8192, 1, 3, {2500, "347"}},
      {"mamba-130m", "Mamba-130m", 65536, 1, 1, {2500}},
      {"mamba2-130m", "Mamba2-130m", 512, 129, 0, {2500}},
      {"mamba2-130m", "Mamba2-130m", 8192, 1, 3, {2500}},
      {"falcon-h1-0.5b", "Falcon-H1-0.5B", 2048, 65, 0, {1000}},
  };
  return rows;
}

std::string number(double value) {
  return fmt::format("{:.{}f}", value, value < 100 ? 1 : 0);
}

std::string verdict(bool met) {
  return met ? "met" : "**not met**";
}

void print_row(const std::string& what, const Summary& s, double fraction, double bar,
               const Bar& absolute, const std::string& limit) {
  std::string spread = "-", wanted = "-", verdict_of_fraction = "-";
  if (bar > 0)
    verdict_of_fraction = fmt::format("{:.0f} %: {}", 100 * bar, verdict(fraction >= bar));
  if (s.n > 1) spread = number(s.p5) + " - " + number(s.p95);
  if (absolute.tokens_per_s > 0)
    wanted =
        fmt::format("{:g}: {}", absolute.tokens_per_s, verdict(s.median >= absolute.tokens_per_s));
  fmt::print("| {} | {} | {} | {} | {:.0f} % | {} | {} | {} | {} |\n", what, number(s.median),
             spread, s.n, 100 * fraction, verdict_of_fraction, wanted, absolute.peers, limit);
  std::fflush(stdout);
}

// Operations of the pass: projections, and with them attention's and SSD's products.
struct MatrixWork {
  double gemm = 0, all = 0;
};

MatrixWork matrix_work(const Plan& plan) {
  MatrixWork work;
  for (const OperatorRow& row : phase_rows(plan, Phase::prefill).rows) {
    const auto operations = static_cast<double>(row.ops);
    if (row.category == Category::gemm) work.gemm += operations;
    if (row.category == Category::gemm || row.category == Category::attention || row.op == "ssd")
      work.all += operations;
  }
  return work;
}

// Operations a second of the projections of whole passes, as a fraction of the large product's rate
// right before and after every step: other programs on the machine change it within seconds.
struct PrefillRates {
  Summary fraction, limit;
};

PrefillRates prefill_rates(Executor& executor, double operations, double budget_s) {
  const auto product = large_product(product_dtype(executor.plan().workload.dtype));
  std::vector<double> fractions, limits;
  const double start = steady_now_s();
  do {
    double could = 0;  // operations that the product had done in the time of the steps
    double before = product->rate_now();
    for (int64_t i = 0; i <= executor.plan().body_count; ++i) {
      const double begin = steady_now_s();
      executor.prefill_step(i);
      executor.backend().synchronize();
      const double seconds = steady_now_s() - begin, after = product->rate_now();
      could += seconds * (before + after) / 2;
      limits.push_back((before + after) / 2);
      before = after;
    }
    fractions.push_back(operations / could);
  } while (fractions.size() < 9 && steady_now_s() - start < budget_s);
  return {summarize(std::move(fractions)), summarize(std::move(limits))};
}

void print_prefill(const ModelRow& row, const Plan& plan, const Summary& tokens_per_s,
                   Executor& executor, double budget_s) {
  const MatrixWork work = matrix_work(plan);
  const double per_s = tokens_per_s.median / static_cast<double>(row.context);
  const PrefillRates rates = prefill_rates(executor, work.gemm, budget_s / 2);
  const double own = own_gemm_rate(plan);
  print_row(
      fmt::format("{} prefill {}", row.title, row.context), tokens_per_s, rates.fraction.median,
      has_int8_weights(row.dtype) ? 0 : prefill_bar, row.prefill,
      fmt::format("steps and the large product in turn: {:.0f} GFLOP/s of it, {:.0f} - {:.0f} % of "
                  "it; projections {:.0f}, with attention and SSD {:.0f}; oneDNN at these shapes "
                  "{:.0f}",
                  rates.limit.median * 1e-9, 100 * rates.fraction.p5, 100 * rates.fraction.p95,
                  work.gemm * per_s * 1e-9, work.all * per_s * 1e-9, own * 1e-9));
}

// Bytes a second of steps of 10 ms, and of reading memory right before and after them: other
// programs, and where the host runs this one, change the memory's rate within seconds.
struct DecodeRates {
  Summary moved, read, fraction;
};

DecodeRates decode_rates(Executor& executor, int64_t past, double bytes) {
  const auto read = [] {
    const double begin = steady_now_s();
    const auto count = static_cast<double>(cpu::read_memory(threads()));
    return count / (steady_now_s() - begin);
  };
  std::vector<double> moved, reads, fractions;
  read();
  for (double before = read(); fractions.size() < 100;) {
    double steps = 0;
    const double begin = steady_now_s();
    do executor.decode(past), ++steps;
    while (steady_now_s() - begin < 0.01);
    const double rate = bytes * steps / (steady_now_s() - begin), after = read();
    moved.push_back(rate);
    reads.push_back((before + after) / 2);
    fractions.push_back(rate / reads.back());
    before = after;
  }
  return {summarize(std::move(moved)), summarize(std::move(reads)),
          summarize(std::move(fractions))};
}

void print_decode(const ModelRow& row, const Plan& plan, const Summary& tokens_per_s,
                  Executor& executor) {
  double bytes = 0;
  for (const OperatorRow& op : phase_rows(plan, Phase::decode).rows)
    bytes += static_cast<double>(op.bytes_read + op.bytes_written);
  const DecodeRates rates = decode_rates(executor, row.context, bytes);
  print_row(fmt::format("{} decode at {}", row.title, row.context), tokens_per_s,
            rates.fraction.median, has_int8_weights(row.dtype) ? 0 : decode_bar, row.decode,
            fmt::format(
                "{:.3f} GB a token; steps and reading in turn: {:.1f} GB/s, {:.1f} GB/s, {:.0f} - "
                "{:.0f} % of it",
                bytes * 1e-9, rates.moved.median * 1e-9, rates.read.median * 1e-9,
                100 * rates.fraction.p5, 100 * rates.fraction.p95));
}

void print_model(const std::string& preset, double budget_s) {
  const Model model = open_model(preset, true, 0);
  bool known = false;
  for (const ModelRow& row : model_rows()) {
    if (preset != row.preset) continue;
    known = true;
    MeasureOptions options;
    options.prefill_profile_passes = options.decode_profile_passes = 0;
    const bool hurried = budget_s < 10;
    options.stopping.max_runs = row.runs == 0 ? 12 : hurried ? 1 : row.runs;
    options.stopping.warm_up = row.runs == 0;
    options.stopping.time_budget_s = row.runs > 0 ? 300 : budget_s;
    const Plan plan = build_plan(
        model.spec,
        {.context = row.context, .new_tokens = row.new_tokens, .chunk = chunk, .dtype = row.dtype});
    const auto backend = open_backend("cpu", threads(), 0);
    Record record = start_record(plan, backend->info());
    Executor executor(plan, *backend);
    fill_weights(executor, *model.weights);
    executor.set_prompt(random_prompt(1, row.context, model.spec.vocab, 0));
    measure(executor, options, record);
    if (record.outcome != Outcome::ok) fail("{}: {}", name(record.outcome), record.reason);
    print_prefill(row, executor.plan(), *record.metrics.prefill_tokens_per_s, executor, budget_s);
    if (row.new_tokens > 1)
      print_decode(row, executor.plan(), *record.metrics.decode_tokens_per_s, executor);
  }
  if (!known) fail("'{}' is no group of the table", preset);
}

// ---- kernels alone ----

// What bounds a kernel beside its bytes: products at the better of oneDNN's rate and multiply-adds
// in fp32, or a number of exponentials.
enum class Bound { bytes, products, exponentials };

struct KernelTable {
  Limits limits;
  std::string only;  // rows that have this in their name
};

void print_kernel(const std::string& what, int copies, int64_t past, const Build& build,
                  const KernelTable& table, Bound bound, double exponentials = 0,
                  DType dtype = DType::bf16) {
  if (what.find(table.only) == std::string::npos) return;
  const Limits& limits = table.limits;
  const KernelStep step = make_step(dtype, threads(), copies, past, build);
  const Summary s = sample(0.8, [&] {
    step.run();
    return copies;
  });
  const double bytes_s = static_cast<double>(step.cost.bytes()) / copies / limits.read;
  double limit_s = bytes_s;
  const char* limited = "bytes";
  const auto consider = [&](double seconds, const char* name) {
    if (seconds > limit_s) limit_s = seconds, limited = name;
  };
  if (bound == Bound::products)
    consider(static_cast<double>(step.cost.ops) / copies / std::max(limits.gemm, limits.fma),
             "products");
  if (bound == Bound::exponentials) consider(exponentials / limits.exp, "exponentials");
  fmt::print("| {} | {:.1f} | {:.1f} - {:.1f} | {} | {} | {:.1f} | {:.0f} % | {} |\n", what,
             s.median * 1e6, s.p5 * 1e6, s.p95 * 1e6, s.n, limited, limit_s * 1e6,
             100 * limit_s / s.median, step.backend->implementation(StepKind::tail, 0));
  std::fflush(stdout);
}

void print_kernels(const std::string& only) {
  const KernelTable table = {measure_limits(1), only};
  print_kernel("GEMV 4864 x 896", 24, 0, gemm(1, 4864, 896), table, Bound::bytes);
  print_kernel("GEMV 896 x 4864", 24, 0, gemm(1, 896, 4864), table, Bound::bytes);
  print_kernel("GEMV 3072 x 768", 48, 0, gemm(1, 3072, 768), table, Bound::bytes);
  print_kernel("GEMV 151936 x 896", 1, 0, gemm(1, 151936, 896), table, Bound::bytes);
  for (const DType dtype : {DType::w8a16, DType::w8a8})
    print_kernel(fmt::format("GEMV 4864 x 896, {}", name(dtype)), 48, 0, gemm(1, 4864, 896), table,
                 Bound::bytes, 0, dtype);
  print_kernel("attention, 14:2 heads x 64, 1 token at 8191", 16, 8191,
               attention(1, 1, 8191, 14, 2, 64, 0), table, Bound::bytes);
  print_kernel("attention, 14:2 heads x 64, 512 tokens at 0", 4, 0,
               attention(1, 512, 0, 14, 2, 64, 0), table, Bound::products);
  print_kernel("attention, 14:2 heads x 64, 512 tokens at 7680", 1, 7680,
               attention(1, 512, 7680, 14, 2, 64, 0), table, Bound::products);
  print_kernel("SSD, 24 heads x 64, state 128, 512 tokens in blocks of 256", 4, 512,
               ssd(SsdForm::chunked, 1, 512, 24, 128, 256), table, Bound::products);
  print_kernel("SSD, 24 heads x 64, state 128, 512 tokens in blocks of 128", 4, 512,
               ssd(SsdForm::chunked, 1, 512, 24, 128, 128), table, Bound::products);
  print_kernel("SSD, 24 heads x 64, state 128, 1 token", 96, 512,
               ssd(SsdForm::recurrence, 1, 1, 24, 128, 256), table, Bound::bytes);
  print_kernel("selective scan, 1536 channels x 16, 512 tokens", 4, 512, scan(1, 512, 1536), table,
               Bound::exponentials, 512.0 * 1536 * 16);
  print_kernel("selective scan, 1536 channels x 16, 1 token", 192, 512, scan(1, 1, 1536), table,
               Bound::exponentials, 1536.0 * 16 * 2);
  print_kernel("causal conv1d, 1536 channels, 512 tokens", 16, 512, conv(512, 1536), table,
               Bound::exponentials, 512.0 * 1536);
  print_kernel("RMS norm, 512 x 896", 32, 0, norm(512, 896), table, Bound::bytes);
  print_kernel("gated RMS norm, 512 x 1536", 16, 0, gated_norm(512, 1536), table,
               Bound::exponentials, 512.0 * 1536);
}

// ---- the page's head ----

void print_machine() {
  const BackendInfo info = make_cpu_backend(threads(), 0)->info();
  const Provenance p = machine_provenance();
  fmt::print("{}, {}, {} thread{}, {}; {}; {}. {}\n", info.name, info.isa, info.threads,
             info.threads == 1 ? "" : "s", format_bytes(info.memory_bytes), joined(info.libraries),
             p.os, origin(p));
}

void run(int argc, char** argv) {
  const std::string group = argc > 1 ? argv[1] : "";
  if (group == "machine") return print_machine();
  if (group == "limits") return print_limits();
  if (argc == 4 && group == "kernels") return print_kernels(argv[3]);
  if (argc != 3) fail("expected: machine | limits | GROUP BUDGET_S | kernels BUDGET_S TEXT");
  if (group == "kernels") return print_kernels("");
  print_model(group, std::stod(argv[2]));
}

}  // namespace
}  // namespace tidemark

int main(int argc, char** argv) {
  return tidemark::run_page_program([&] { tidemark::run(argc, argv); });
}
