// A store of records in one SQLite file (schema.sql). It is in WAL mode: several processes of one
// machine may write to it at once; for several machines, one store each and merge().
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "record/record.h"

struct sqlite3;

namespace tidemark {

inline constexpr int store_version = 1;

// Which result of a sweep a record is: what was asked for, and the how-manieth time.
struct SweepPlace {
  std::string request{};
  int64_t repeat = 0;
  auto operator<=>(const SweepPlace&) const = default;
};

struct StoredRecord {
  int64_t id = 0;
  std::optional<SweepPlace> place{};
  Record record{};
};

class Store {
 public:
  enum class Open { read, create };
  // Throws Error when the file is missing (read), no store, or of another version. To be read, a
  // store may lie where nothing can be written.
  explicit Store(const std::filesystem::path&, Open = Open::read);
  ~Store();
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;

  const std::filesystem::path& path() const { return path_; }
  sqlite3* handle() const { return database_.get(); }

 private:
  struct Close {
    void operator()(sqlite3*) const;
  };
  std::filesystem::path path_;
  std::unique_ptr<sqlite3, Close> database_;
};

// The commit a record belongs to, "-dirty" appended when it was built with uncommitted changes.
std::string commit_label(const Provenance&);

// Appends a record that no sweep asked for.
void insert(Store&, const Record&);

// Keeps the result of one place of a sweep, once: false, and nothing happens, when the place has a
// result by the same commit already. On disk when this returns.
bool insert_once(Store&, const SweepPlace&, const Record&);
// The same, but an earlier result of the place gives way.
void replace(Store&, const SweepPlace&, const Record&);

// The places that have a result by `commit` (commit_label), but for outcomes in `retried`.
std::set<SweepPlace> finished_places(const Store&, const std::string& commit,
                                     const std::set<Outcome>& retried = {});

// Of the newest record, 0 where there is none: the next ones have larger ids, replaced ones too.
int64_t newest_id(const Store&);
// Whether a result of `place` by `commit` has come after the record of that id.
bool has_result_since(const Store&, const SweepPlace&, const std::string& commit, int64_t id);

// Of records; what is absent filters nothing.
struct Filter {
  std::optional<std::string> commit{};  // commit_label, or else the beginning of some
  std::optional<std::string> model{};
  std::optional<Source> source{};
};

// By model, device, context and the order they came in.
std::vector<StoredRecord> read_records(const Store&, const Filter& = {});

// The commits of a store's measured records, oldest first.
std::vector<std::string> commits(const Store&);

// The models of a store's records.
std::set<std::string> models_of(const Store&);

// The columns of every record but its JSON, as schema.sql has them, in the order of read_records.
struct Rows {
  using Value = std::variant<std::monostate, int64_t, double, std::string>;
  std::vector<std::string> columns;
  std::vector<std::vector<Value>> rows;
};
Rows read_columns(const Store&, const Filter& = {});

struct MergeCount {
  int64_t added = 0;
  int64_t same = 0;        // were there already, to the letter
  int64_t renumbered = 0;  // of those added: the place was taken, and they became a further repeat
};
// Every record of `from` that `into` lacks. All or nothing; merging twice changes nothing.
MergeCount merge(Store& into, const Store& from);

}  // namespace tidemark
