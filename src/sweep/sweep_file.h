// A sweep file (TOML, docs/sweeps.md): which cells to measure, and how.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "record/record.h"

namespace tidemark {

// How every cell is measured.
struct MeasureSettings {
  double budget_s = 30;    // warm-up and runs of one cell
  bool synthetic = false;  // synthetic weights even where there are real ones
  uint64_t seed = 0;       // of synthetic weights and prompts
  bool operators = true;   // operator-level runs too
  bool energy = true;      // where the machine has a sensor
};

// The lines of the file that a cell's model and context come from.
struct CellLines {
  int64_t model = 0, context = 0;
};

struct SweepFile {
  uint64_t seed = 0;    // of the order of cells
  int64_t repeats = 1;  // child processes per cell
  double timeout_s = 3600;
  int64_t process_memory_bytes = 0;  // that a child may take; 0: the machine's
  int64_t process_memory_line = 0;
  MeasureSettings measure{};
  // As asked: family is empty, threads 0 means all cores. Each cell once, in the file's order.
  std::vector<Cell> cells;
  std::vector<CellLines> lines;  // of each cell
};

// Throws Error as "file:line: key: expected ..., found ...".
SweepFile read_sweep_file(const std::filesystem::path&);
SweepFile parse_sweep_file(std::string_view text, const std::string& file_name);

}  // namespace tidemark
