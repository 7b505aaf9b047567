// Data files that CMake put into the program.
#pragma once

#include <span>
#include <string_view>

namespace tidemark {

struct CompiledIn {
  std::string_view name;  // of the file, without .json
  std::string_view text;
};
std::span<const CompiledIn> devices_files();  // data/devices/, sorted by name
std::span<const CompiledIn> typical_files();  // data/typical/

}  // namespace tidemark
