// Records of a store as text for other programs and for documents.
#pragma once

#include <span>
#include <string>

#include "store/store.h"

namespace tidemark {

// RFC 4180, one line per record, every column of the store but the JSON.
std::string to_csv(const Rows&);

// A Markdown table: cell, outcome, medians, memory. Columns in which all records agree are left out
// and said once above it.
std::string to_markdown(std::span<const StoredRecord>);

}  // namespace tidemark
