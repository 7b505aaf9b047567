// Time to the first token and time per output token against context.
#include "report/figures/chart.h"
#include "report/figures/lines.h"
#include "report/text.h"

namespace tidemark {

FigureContent ttft_figure(const Study& study) {
  return line_figure(study, {.title = "TTFT",
                             .unit = "s",
                             .missing = "No record holds a time to first token.",
                             .of = [](const Record& r) { return r.metrics.ttft_s; },
                             .text = time_text,
                             .label = std::string(seconds_label)});
}

FigureContent tpot_figure(const Study& study) {
  return line_figure(study,
                     {.title = "TPOT",
                      .unit = "s",
                      .missing = "No record holds a time per output token: it takes at least "
                                 "two new tokens (--new-tokens 2).",
                      .of = [](const Record& r) { return r.metrics.tpot_s; },
                      .text = time_text,
                      .of_decode = true,
                      .label = std::string(seconds_label)});
}

}  // namespace tidemark
