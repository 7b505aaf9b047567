// The text of schema.sql.
#pragma once

namespace tidemark {

extern const char* const store_schema;

}  // namespace tidemark
