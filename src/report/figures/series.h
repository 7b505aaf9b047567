// What all figures agree on: which records are drawn, what a configuration is called, and the
// order of models, which fixes their colours.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "report/study.h"
#include "report/text.h"

namespace tidemark {

// Which fields of a cell, beside model and context, differ within the study. Only those are
// spelled out when a configuration is named.
class Configurations {
 public:
  explicit Configurations(const Study&);
  std::string of(const Cell&) const;  // "cpu, bf16, chunk 512"; "" when nothing differs

 private:
  // The chunk lengths that cells alike in all but model, context and chunk were run with.
  struct Chunks {
    std::set<int64_t> stepped;  // of cells that take more than one step
    bool whole_apart = false;   // longer contexts than all of these were run whole, too
  };
  std::string chunk_text(const Cell&) const;

  bool device_ = false, dtype_ = false, batch_ = false, new_tokens_ = false, chunk_ = false,
       logits_ = false, threads_ = false, limit_ = false;
  std::map<std::string, Chunks> chunks_;  // by chunk_peers()
};

// Of each cell and source the newest record, ordered by model, configuration, source and context.
std::vector<const Record*> newest_records(const Study&);
// How many records newest_records leaves out.
int64_t superseded_records(const Study&);

// Every model of the study, by family, then name.
std::vector<std::string> model_names(const Study&);

// "model" or "model, configuration": the title of a panel.
std::string panel_title(const Record&, const Configurations&);

// Chunk and logits policy in words: "chunk 512, last logits".
std::string policy_text(int64_t chunk, LogitsPolicy logits);

// "8K" and "1M" where 1024 divides it, "57,300" elsewhere.
std::string tokens_text(double tokens);

// "12.1 ms - 12.6 ms (95.1 %)": the interval of the median and its coverage, which a prediction,
// of no runs, has not.
template <class Text>
std::string interval_text(const Summary& s, Text text) {
  if (s.n == 1) return "none: one run";
  return text(s.ci_low) + " \u2013 " + text(s.ci_high) + " (" +
         (s.n == 0 ? "predicted" : percent_text(s.ci_coverage)) + ")";
}

}  // namespace tidemark
