// One cell from its name to its record, the way of `run-cell`, which sweeps start for every cell.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "record/record.h"
#include "sweep/sweep_file.h"

namespace tidemark {

// As measure_model, and for the hidden fakes. `started` hears of the record before anything is
// allocated, with the outcome `failed`: what is to be kept should the process die.
Record measure_cell(const Cell& asked, const MeasureSettings&,
                    const std::function<void(const Record&)>& started);

// This program with the arguments that make it measure this cell: cmd_run_cell.cpp reads them back.
std::vector<std::string> run_cell_command(const Cell&, const MeasureSettings&);

}  // namespace tidemark
