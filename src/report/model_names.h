// Records name a model as it was asked for: a preset, or the path of a folder. Short forms of such
// paths, for figures and for who asks for a model of a store.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "report/study.h"

namespace tidemark {

// Of every path its last parts, as few as tell it from the other models.
std::map<std::string, std::string> short_model_names(const std::set<std::string>& models);

// The study as figures show it: every model by its short name.
Study with_short_model_names(Study);

// The model that `asked` means: its name in any case, or the end of its path. Fails when that could
// be several.
std::optional<std::string> model_meant(const std::string& asked,
                                       const std::set<std::string>& models);

}  // namespace tidemark
