// What `report` is asked to show, read and worked out: records from a store or a file, crossovers
// between their models, the longest contexts under a budget.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "report/study.h"

namespace tidemark {

// A store (SQLite), or JSON: what `run --json` or `export --json` wrote. `commit`: only records of
// it, by its beginning; "" takes all.
std::vector<Record> read_study_records(const std::filesystem::path&, const std::string& commit);

// Where the measured records of a device, "cpu", are of more machines than one, each says which:
// "cpu (AMD EPYC)". Else a figure would draw them as one curve.
void tell_machines_apart(std::vector<Record>&);

// A CSV file with the header model,task,score; task may be missing.
std::vector<Accuracy> read_accuracies(const std::filesystem::path&);

// "DEVICE,DTYPE,GFLOP/s,GB/s"
Ceiling parse_ceiling(const std::string& text);

// "MACHINE=DEVICE"
SameDevice parse_same_device(const std::string& text);

// Of every two models within a configuration, for every metric that both have at two contexts or
// more: as `crossover` finds them, within the contexts measured.
std::vector<ModelCrossover> crossovers_of(const std::vector<Record>&);

// Planned limits of every model of the records that is a preset or a folder still there: logits of
// the last and of all positions, in chunks and whole, under `budget_bytes` and the memory limits of
// the records.
std::vector<ContextLimit> limits_of(const std::vector<Record>&, int64_t budget_bytes);

}  // namespace tidemark
