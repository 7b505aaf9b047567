#include "report/figures/figure.h"

#include <array>

#include "base/error.h"

namespace tidemark {
namespace {

constexpr std::array figures = {
    Figure{"ttft", "Time to first token",
           "One prefill of the whole context, to the first token. Median; bars are its interval. A "
           "cross marks a cell that ran out of memory or did not finish.",
           ttft_figure},
    Figure{"tpot", "Time per output token",
           "Per token after the first, at the depth of the context. Median; bars are its interval.",
           tpot_figure},
    Figure{"short_long", "What a long context costs",
           "Each model at a short and at a long context, and how many times longer the long one "
           "takes.",
           short_long_figure},
    Figure{"throughput", "Throughput", "Prompt tokens read and output tokens written per second.",
           throughput_figure},
    Figure{"memory", "Memory by purpose",
           "Bars stack what the arenas held at most, by tag; pale where only planned. The tick is "
           "the plan's total, the dashed line the budget, a cross a cell that did not fit or "
           "finish.",
           memory_figure},
    Figure{"limits", "Longest context under a memory budget",
           "What fits by the plan when logits of all positions are kept or the last only, and when "
           "the prompt is prefilled whole or in chunks.",
           limits_figure},
    Figure{"timeline", "Memory over one pass", "Bytes in use by tag from operator to operator.",
           timeline_figure},
    Figure{"energy", "Energy per prefill",
           "Everything the sensor covers, the idle share within; the table has both.",
           energy_figure},
    Figure{
        "operators", "Where a prefill spends its time",
        "Share of each group of operators in a profiled pass, whose length stands above. The gap "
        "is time no operator accounts for.",
        prefill_operators_figure},
    Figure{"operators_decode", "Where a decode step spends its time",
           "As above, for one step at the depth of the context.", decode_operators_figure},
    Figure{"devices", "Where a prefill spends its time, across devices",
           "The same model at the same context on several devices.", devices_figure},
    Figure{"roofline", "Roofline of operators",
           "What operators reach against what their operations per byte allow; a point gathers one "
           "role over all layers, its area is the share of the pass.",
           roofline_figure},
    Figure{"crossovers", "Crossovers",
           "The context from which one model beats another, and the range in which their intervals "
           "overlap.",
           crossovers_figure},
    Figure{"prediction", "Predicted against measured",
           "One is exact; the band is ten per cent to either side.", prediction_figure},
    Figure{"accuracy", "Accuracy against time to first token",
           "Scores as given to this report, beside the measured time at one context.",
           accuracy_figure},
};

}  // namespace

std::span<const Figure> all_figures() {
  return figures;
}

const Figure& figure_named(std::string_view id) {
  std::string names;
  for (const Figure& figure : figures) {
    if (figure.id == id) return figure;
    names += (names.empty() ? "" : ", ") + std::string(figure.id);
  }
  fail("--figure: expected one of {}; found '{}'", names, id);
}

}  // namespace tidemark
