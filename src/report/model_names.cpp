#include "report/model_names.h"

#include <algorithm>
#include <cctype>
#include <functional>

#include "base/error.h"
#include "base/file.h"

namespace tidemark {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool ends_path(const std::string& path, const std::string& end) {
  return path == end || path.ends_with("/" + end);
}

}  // namespace

std::map<std::string, std::string> short_model_names(const std::set<std::string>& models) {
  std::map<std::string, std::string> names;
  for (const std::string& model : models) {
    const auto shared = [&](const std::string& end) {
      return std::ranges::any_of(
          models, [&](const std::string& m) { return m != model && ends_path(m, end); });
    };
    size_t slash = model.rfind('/');
    std::string name = model.substr(slash + 1);  // all of it where there is none
    while (name != model && shared(name)) {
      slash = slash == 0 ? std::string::npos : model.rfind('/', slash - 1);
      name = model.substr(slash + 1);
    }
    names[model] = name;
  }
  return names;
}

Study with_short_model_names(Study study) {
  std::set<std::string> models;
  for (const Record& r : study.records) models.insert(r.cell.model);
  const std::map<std::string, std::string> names = short_model_names(models);
  const auto shorten = [&](std::string& model) {
    if (const auto found = names.find(model); found != names.end()) model = found->second;
  };
  for (Record& r : study.records) shorten(r.cell.model);
  for (ContextLimit& limit : study.limits) shorten(limit.model);
  for (Accuracy& accuracy : study.accuracies) shorten(accuracy.model);
  for (ModelCrossover& crossover : study.crossovers) {
    shorten(crossover.a);
    shorten(crossover.b);
  }
  return study;
}

std::optional<std::string> model_meant(const std::string& asked,
                                       const std::set<std::string>& models) {
  const std::string name = normal_path(asked);
  for (const std::string& exact : {asked, name})
    if (models.contains(exact)) return exact;
  const auto those = [&](const std::function<bool(const std::string&)>& fits) {
    std::vector<std::string> found;
    std::ranges::copy_if(models, std::back_inserter(found), fits);
    return found;
  };
  std::vector<std::string> found =
      those([&](const std::string& m) { return lower(m) == lower(name); });
  if (found.empty()) found = those([&](const std::string& m) { return ends_path(m, name); });
  // Older stores call a folder by the last part of its path.
  if (found.empty()) found = those([&](const std::string& m) { return ends_path(name, m); });
  if (found.size() > 1)
    fail("model '{}': expected one model of the store, found {}", printable(asked),
         fmt::join(found, ", "));
  if (found.empty()) return std::nullopt;
  return found.front();
}

}  // namespace tidemark
