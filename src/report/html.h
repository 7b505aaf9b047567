// The report: one self-contained page that fetches nothing.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "report/study.h"

namespace tidemark {

// The page's own files and, in vendor/, those of the Vega libraries (scripts/web fetches them).
struct WebAssets {
  std::string page, style, script;  // page.html, page.css, page.js
  std::string vega, vega_lite, vega_embed, licences;
};

// The first of `candidates` that holds the page's files.
std::filesystem::path find_web_folder(std::span<const std::filesystem::path> candidates);
// Throws Error saying how to fetch what is missing.
WebAssets load_web_assets(const std::filesystem::path& folder);

std::string html_report(const Study&, const WebAssets&);

}  // namespace tidemark
