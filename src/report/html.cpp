#include "report/html.h"

#include <map>

#include "base/error.h"
#include "base/file.h"
#include "record/json.h"
#include "report/model_names.h"
#include "report/summary.h"

namespace tidemark {
namespace {

JsonValue table_json(const DataTable& table) {
  return {{"columns", table.columns}, {"rows", table.rows}};
}

// Figures and tables have short names of models, the records to save their own.
JsonValue page_data(const Study& study, const std::string& licences) {
  const Study shown = with_short_model_names(study);
  const StudySummary summary = summarize(shown);
  JsonValue figures = JsonValue::array();
  for (const Figure& figure : all_figures()) {
    const FigureContent content = figure.make(shown);
    figures.push_back({{"id", figure.id},
                       {"title", figure.title},
                       {"how", figure.how},
                       {"remarks", content.remarks},
                       {"empty", content.empty},
                       {"spec", content.spec},
                       {"table", table_json(content.table)}});
  }
  return {{"summary",
           {{"lines", summary.lines},
            {"machines", table_json(summary.machines)},
            {"failures", table_json(summary.failures)},
            {"flagged", table_json(summary.flagged)}}},
          {"figures", std::move(figures)},
          {"records", records_to_json(study.records)},
          {"licences", licences}};
}

// JSON inside <script>: no "</script>" or "<!--" can end it, whatever the names in the data.
std::string script_json(const JsonValue& value) {
  const std::string text = value.dump(-1, ' ', false, JsonValue::error_handler_t::replace);
  std::string escaped;
  escaped.reserve(text.size());
  for (char c : text) {
    if (c == '<')
      escaped += "\\u003c";
    else
      escaped += c;
  }
  return escaped;
}

std::string html_text(const std::string& text) {
  std::string escaped;
  for (char c : text) {
    if (c == '<')
      escaped += "&lt;";
    else if (c == '&')
      escaped += "&amp;";
    else
      escaped += c;
  }
  return escaped;
}

// "@@name@@" stands for parts.at("name"), once through: what is inserted is not searched again.
std::string filled_page(const std::string& page, const std::map<std::string, std::string>& parts) {
  std::string out;
  size_t at = 0;
  for (size_t open; (open = page.find("@@", at)) != std::string::npos;) {
    const size_t close = page.find("@@", open + 2);
    const std::string key = page.substr(open + 2, close - open - 2);
    const auto part = parts.find(key);
    if (close == std::string::npos || part == parts.end())
      fail("page.html: unknown place '@@{}@@'", printable(key));
    out.append(page, at, open - at);
    out += part->second;
    at = close + 2;
  }
  return out.append(page, at);
}

}  // namespace

std::filesystem::path find_web_folder(std::span<const std::filesystem::path> candidates) {
  for (const std::filesystem::path& folder : candidates)
    if (std::filesystem::exists(folder / "page.html")) return folder;
  std::string tried;
  for (const std::filesystem::path& folder : candidates)
    tried += (tried.empty() ? "" : ", ") + folder.string();
  fail("report: page.html not found; looked in {}", tried);
}

WebAssets load_web_assets(const std::filesystem::path& folder) {
  const std::filesystem::path vendor = folder / "vendor";
  const auto vendored = [&](const char* file) {
    if (!std::filesystem::exists(vendor / file))
      fail("report: {} is missing; scripts/web in Tidemark's source folder fetches it (needs npm)",
           (vendor / file).string());
    std::string text = read_text(vendor / file);
    if (text.find("</script") != std::string::npos)
      fail("report: {} contains '</script' and cannot be part of a page", (vendor / file).string());
    return text;
  };
  return {.page = read_text(folder / "page.html"),
          .style = read_text(folder / "page.css"),
          .script = read_text(folder / "page.js"),
          .vega = vendored("vega.min.js"),
          .vega_lite = vendored("vega-lite.min.js"),
          .vega_embed = vendored("vega-embed.min.js"),
          .licences = vendored("licences.txt")};
}

std::string html_report(const Study& study, const WebAssets& assets) {
  return filled_page(assets.page,
                     {{"title", html_text(study.title.empty() ? "Tidemark report" : study.title)},
                      {"style", assets.style},
                      {"data", script_json(page_data(study, assets.licences))},
                      {"vega", assets.vega},
                      {"vega_lite", assets.vega_lite},
                      {"vega_embed", assets.vega_embed},
                      {"script", assets.script}});
}

}  // namespace tidemark
