// The ModelSpec of a config written in a test, and the line that refuses one.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "model/families/families.h"

namespace tidemark {

inline ModelSpec spec_of(const nlohmann::json& config) {
  return make_spec(Json::parse(config.dump(), "config.json"));
}

inline std::string error_of(const nlohmann::json& config) {
  try {
    spec_of(config);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace tidemark
