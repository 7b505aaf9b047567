#include "store/store.h"

#include <sqlite3.h>

#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "record/json.h"
#include "store/schema.h"

namespace tidemark {
namespace {

static_assert(record_schema_version == 1,
              "records changed: raise store_version and say how old stores are read");
constexpr int application_id = 0x54644d6b;  // "TdMk", so that file(1) and we know our files

[[noreturn]] void fail_with(const Store& store) {
  fail("{}: {}", store.path().string(), sqlite3_errmsg(store.handle()));
}

void execute(const Store& store, const char* sql) {
  if (sqlite3_exec(store.handle(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) fail_with(store);
}

// One prepared statement: bind() the parameters in order, step() to the next row, read columns.
class Statement {
 public:
  Statement(const Store& store, const char* sql) : store_(store) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(store.handle(), sql, -1, &statement, nullptr) != SQLITE_OK)
      fail_with(store);
    statement_.reset(statement);
  }
  Statement& bind(std::string_view text) {
    sqlite3_bind_text(get(), ++bound_, text.data(), static_cast<int>(text.size()),
                      SQLITE_TRANSIENT);
    return *this;
  }
  Statement& bind(int64_t number) {
    sqlite3_bind_int64(get(), ++bound_, number);
    return *this;
  }
  template <class T>
  Statement& bind(const std::optional<T>& value) {
    if (value) return bind(*value);
    sqlite3_bind_null(get(), ++bound_);
    return *this;
  }
  bool step() {
    const int code = sqlite3_step(get());
    if (code != SQLITE_ROW && code != SQLITE_DONE) fail_with(store_);
    return code == SQLITE_ROW;
  }
  void reset() {
    sqlite3_reset(get());
    bound_ = 0;
  }
  bool is_null(int column) const { return sqlite3_column_type(get(), column) == SQLITE_NULL; }
  int columns() const { return sqlite3_column_count(get()); }
  std::string column_name(int column) const { return sqlite3_column_name(get(), column); }
  Rows::Value value(int column) const {
    switch (sqlite3_column_type(get(), column)) {
      case SQLITE_INTEGER:
        return integer(column);
      case SQLITE_FLOAT:
        return sqlite3_column_double(get(), column);
      case SQLITE_NULL:
        return std::monostate{};
      default:
        return text(column);
    }
  }
  int64_t integer(int column) const { return sqlite3_column_int64(get(), column); }
  std::string text(int column) const {
    const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(get(), column));
    return {data, static_cast<size_t>(sqlite3_column_bytes(get(), column))};
  }

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
  };
  sqlite3_stmt* get() const { return statement_.get(); }
  const Store& store_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int bound_ = 0;
};

// Rolls back unless commit() was reached.
class Transaction {
 public:
  explicit Transaction(const Store& store) : store_(store) { execute(store, "BEGIN IMMEDIATE"); }
  ~Transaction() {
    if (!done_) sqlite3_exec(store_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit() {
    execute(store_, "COMMIT");
    done_ = true;
  }

 private:
  const Store& store_;
  bool done_ = false;
};

// From the write-ahead log into the file itself, which then is the whole store, to be copied alone,
// though the process be killed. Where others read, the log keeps it until they are done; within a
// transaction nothing happens.
void into_the_file(const Store& store) {
  sqlite3_wal_checkpoint_v2(store.handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
}

int64_t pragma(const Store& store, const char* sql) {
  Statement statement(store, sql);
  statement.step();
  return statement.integer(0);
}

void check_version(const Store& store) {
  if (pragma(store, "PRAGMA application_id") != application_id)
    fail("{}: a SQLite file, but not a store of Tidemark", store.path().string());
  const int64_t version = pragma(store, "PRAGMA user_version");
  if (version != store_version)
    fail("{}: store version: expected {}, found {}", store.path().string(), store_version, version);
}

// Two processes may come to a new file at once: the transaction lets one of them write the schema.
void write_schema_once(const Store& store) {
  Transaction transaction(store);
  if (pragma(store, "SELECT count(*) FROM sqlite_schema") == 0) {
    execute(store, store_schema);
    execute(store, fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}",
                               application_id, store_version)
                       .c_str());
  }
  transaction.commit();
  into_the_file(store);
}

// For a store to which nobody writes: SQLite then needs no files of a log beside it.
std::string immutable_uri(const std::filesystem::path& file) {
  std::string uri = "file:";
  for (const char c : std::filesystem::absolute(file).string())
    uri += c == '%' || c == '?' || c == '#' ? fmt::format("%{:02X}", c) : std::string(1, c);
  return uri + "?immutable=1";
}

std::string json_text(const Record& record) {
  return to_json(record).dump();
}

bool insert_row(Store& store, const char* sql, const std::optional<SweepPlace>& place,
                std::string_view json) {
  Statement statement(store, sql);
  statement.bind(json)
      .bind(place ? std::optional<std::string_view>(place->request) : std::nullopt)
      .bind(place ? place->repeat : 0);
  statement.step();
  const bool inserted = sqlite3_changes(store.handle()) > 0;
  into_the_file(store);
  return inserted;
}

Statement select(const Store& store, std::string_view columns, const Filter& filter) {
  Statement statement(store,
                      fmt::format("SELECT {} FROM records WHERE (?1 IS NULL OR \"commit\" = ?1 OR "
                                  "(substr(\"commit\", 1, length(?1)) = ?1 AND NOT EXISTS "
                                  "(SELECT 1 FROM records WHERE \"commit\" = ?1))) "
                                  "AND (?2 IS NULL OR model = ?2) AND (?3 IS NULL OR source = ?3) "
                                  "ORDER BY model, device, context, id",
                                  columns)
                          .c_str());
  statement.bind(filter.commit).bind(filter.model);
  statement.bind(filter.source ? std::optional(name(*filter.source)) : std::nullopt);
  return statement;
}

}  // namespace

void Store::Close::operator()(sqlite3* database) const {
  sqlite3_close(database);
}
Store::~Store() = default;
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;

Store::Store(const std::filesystem::path& path, Open open) : path_(path) {
  if (open == Open::read && !std::filesystem::is_regular_file(path))
    fail("{}: no such store", path.string());
  // SQLite would leave a journal beside a device before it finds that it cannot write there.
  if (std::filesystem::exists(path) && !std::filesystem::is_regular_file(path))
    fail("{}: expected a store, found what is no regular file", path.string());
  // Also to be read: a reader that may write takes the files of the write-ahead log away again.
  int flags = SQLITE_OPEN_READWRITE | (open == Open::create ? SQLITE_OPEN_CREATE : 0);
  std::string name = path.string();
  if (open == Open::read && !folder_takes_files(path)) {
    flags = SQLITE_OPEN_READONLY;
    std::error_code none;
    const bool has_log = std::filesystem::file_size(name + "-wal", none) > 0 && !none;
    if (!has_log) {
      name = immutable_uri(path);
      flags |= SQLITE_OPEN_URI;
    }
  }
  sqlite3* database = nullptr;
  const int code = sqlite3_open_v2(name.c_str(), &database, flags, nullptr);
  database_.reset(database);
  if (code != SQLITE_OK) fail_with(*this);
  sqlite3_busy_timeout(database, 60'000);
  if (open == Open::read) execute(*this, "PRAGMA query_only = ON");
  if (open == Open::create) {
    if (pragma(*this, "SELECT count(*) FROM sqlite_schema") > 0) check_version(*this);
    // FULL: a record that was reported as kept survives a power cut too; one write per cell is
    // nothing beside measuring it.
    execute(*this, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    write_schema_once(*this);
  }
  check_version(*this);
}

std::string commit_label(const Provenance& provenance) {
  return provenance.commit + (provenance.dirty ? "-dirty" : "");
}

void insert(Store& store, const Record& record) {
  insert_row(store, "INSERT INTO records (json, request, repeat) VALUES (?, ?, ?)", std::nullopt,
             json_text(record));
}

bool insert_once(Store& store, const SweepPlace& place, const Record& record) {
  return insert_row(store, "INSERT OR IGNORE INTO records (json, request, repeat) VALUES (?, ?, ?)",
                    place, json_text(record));
}

void replace(Store& store, const SweepPlace& place, const Record& record) {
  insert_row(store, "INSERT OR REPLACE INTO records (json, request, repeat) VALUES (?, ?, ?)",
             place, json_text(record));
}

std::set<SweepPlace> finished_places(const Store& store, const std::string& commit,
                                     const std::set<Outcome>& retried) {
  Statement statement(store,
                      "SELECT request, repeat, outcome FROM records "
                      "WHERE request IS NOT NULL AND \"commit\" = ?");
  statement.bind(commit);
  std::set<std::string> retried_names;
  for (Outcome outcome : retried) retried_names.insert(std::string(name(outcome)));
  std::set<SweepPlace> places;
  while (statement.step())
    if (!retried_names.contains(statement.text(2)))
      places.insert({statement.text(0), statement.integer(1)});
  return places;
}

int64_t newest_id(const Store& store) {
  Statement statement(store, "SELECT coalesce(max(id), 0) FROM records");
  statement.step();
  return statement.integer(0);
}

bool has_result_since(const Store& store, const SweepPlace& place, const std::string& commit,
                      int64_t id) {
  Statement statement(store,
                      "SELECT 1 FROM records WHERE request = ? AND \"commit\" = ? AND repeat = ? "
                      "AND id > ?");
  statement.bind(place.request).bind(commit).bind(place.repeat).bind(id);
  return statement.step();
}

std::vector<StoredRecord> read_records(const Store& store, const Filter& filter) {
  Statement statement = select(store, "id, request, repeat, json", filter);
  std::vector<StoredRecord> records;
  while (statement.step()) {
    StoredRecord row;
    row.id = statement.integer(0);
    if (!statement.is_null(1)) row.place = SweepPlace{statement.text(1), statement.integer(2)};
    with_context(fmt::format("{}: record {}", store.path().string(), row.id), [&] {
      row.record = record_from_json(nlohmann::ordered_json::parse(statement.text(3)));
    });
    records.push_back(std::move(row));
  }
  return records;
}

Rows read_columns(const Store& store, const Filter& filter) {
  Statement statement = select(store, "*", filter);
  Rows result;
  std::vector<int> kept;
  for (int column = 0; column < statement.columns(); ++column)
    if (statement.column_name(column) != "json") {
      kept.push_back(column);
      result.columns.push_back(statement.column_name(column));
    }
  while (statement.step()) {
    auto& row = result.rows.emplace_back();
    for (const int column : kept) row.push_back(statement.value(column));
  }
  return result;
}

std::vector<std::string> commits(const Store& store) {
  Statement statement(store,
                      "SELECT \"commit\" FROM records WHERE source = 'measured' "
                      "GROUP BY \"commit\" ORDER BY min(date), min(id)");
  std::vector<std::string> labels;
  while (statement.step()) labels.push_back(statement.text(0));
  return labels;
}

std::set<std::string> models_of(const Store& store) {
  Statement statement(store, "SELECT DISTINCT model FROM records");
  std::set<std::string> models;
  while (statement.step()) models.insert(statement.text(0));
  return models;
}

MergeCount merge(Store& into, const Store& from) {
  Transaction transaction(into);
  Statement theirs(from, "SELECT json, request, repeat FROM records ORDER BY id");
  Statement same(into,
                 "SELECT 1 FROM records WHERE model = ?1 ->> '$.cell.model' "
                 "AND context = ?1 ->> '$.cell.context' AND date = ?1 ->> '$.provenance.date' "
                 "AND json = ?1 AND request IS ?2");
  MergeCount count;
  while (theirs.step()) {
    const std::string json = theirs.text(0);
    std::optional<SweepPlace> place;
    if (!theirs.is_null(1)) place = SweepPlace{theirs.text(1), theirs.integer(2)};

    same.reset();
    same.bind(json).bind(place ? std::optional<std::string_view>(place->request) : std::nullopt);
    if (same.step()) {
      ++count.same;
      continue;
    }
    bool renumbered = false;
    while (!insert_row(into,
                       "INSERT OR IGNORE INTO records (json, request, repeat) VALUES (?, ?, ?)",
                       place, json)) {
      ++place->repeat;
      renumbered = true;
    }
    ++count.added;
    count.renumbered += renumbered ? 1 : 0;
  }
  same.reset();
  transaction.commit();
  return count;
}

}  // namespace tidemark
