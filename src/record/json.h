// Records as JSON. Absent values are left out; names are the fields of record.h.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "record/record.h"

namespace tidemark {

// Raised whenever a field changes its meaning or goes; readers refuse other versions.
inline constexpr int record_schema_version = 1;

nlohmann::ordered_json to_json(const Record&);
// Throws Error naming the key when something is missing or of the wrong type.
Record record_from_json(const nlohmann::ordered_json&);

// {"schema": 1, "records": [...]}
nlohmann::ordered_json records_to_json(std::span<const Record>);
std::vector<Record> records_from_json(const nlohmann::ordered_json&);

}  // namespace tidemark
