#include "store/store.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <map>

namespace tidemark {
namespace {

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              fmt::format("tidemark_store_{}_{}", getpid(),
                          ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  Store create(const char* name) { return Store(folder_ / name, Store::Open::create); }

  std::filesystem::path folder_;
};

Record record_of(const std::string& model, int64_t context, const std::string& commit = "abc") {
  Record r;
  r.cell = {.model = model, .family = "qwen2", .device = "cpu", .context = context, .chunk = 16};
  r.metrics.ttft_s =
      Summary{.median = 0.1, .ci_low = 0.05, .ci_high = 0.2, .n = 3, .samples = {0.1, 1.0 / 3, 2}};
  r.metrics.decode_step_s = {{0.5, 0.25}, {0.125}};
  for (Tag tag : all_tags) r.memory.predicted[tag] = 64 * (static_cast<int64_t>(tag) + 1);
  r.memory.high_water = r.memory.predicted;
  (*r.memory.high_water)[Tag::logits] = (int64_t{1} << 53) + 1;  // more than a double holds
  r.prefill = OperatorProfile{.passes = 2,
                              .wall_s = 1.5,
                              .rows = {{.index = 0, .op = "gemm", .role = Role::qkv_proj},
                                       {.index = 1,
                                        .op = "ssd",
                                        .category = Category::ssm_scan,
                                        .role = Role::ssm_scan,
                                        .layer = 2,
                                        .time_s = 1.25,
                                        .ops = 100}}};
  r.flags = {"throttled"};
  r.provenance.commit = commit;
  r.provenance.date = "2025-01-02T03:04:05Z";
  return r;
}

// First column of every row, as text, in order; read past our own code.
std::vector<std::string> rows(const Store& store, const std::string& sql) {
  std::vector<std::string> values;
  const auto keep = [](void* out, int, char** columns, char**) {
    static_cast<std::vector<std::string>*>(out)->push_back(columns[0] ? columns[0] : "NULL");
    return 0;
  };
  char* error = nullptr;
  sqlite3_exec(store.handle(), sql.c_str(), keep, &values, &error);
  if (error) values.push_back(error);
  sqlite3_free(error);
  return values;
}

TEST_F(StoreTest, RecordsComeBackAsTheyWere) {
  Store store = create("a.sqlite");
  const Record first = record_of("b", 512), second = record_of("a", 1024);
  insert(store, first);
  EXPECT_TRUE(insert_once(store, {"request", 3}, second));

  const Store again(folder_ / "a.sqlite");
  const auto found = read_records(again);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].record, second);
  EXPECT_EQ(found[0].place, (SweepPlace{"request", 3}));
  EXPECT_EQ(found[1].record, first);
  EXPECT_EQ(found[1].place, std::nullopt);
}

TEST_F(StoreTest, ColumnsAndViewsShowTheRecord) {
  Store store = create("a.sqlite");
  insert(store, record_of("m", 512));
  using Rows = std::vector<std::string>;
  EXPECT_EQ(rows(store, "SELECT model || context || outcome || dtype FROM records"),
            Rows{"m512okf32"});
  EXPECT_EQ(rows(store, "SELECT ttft_low_s FROM records"), Rows{"0.05"});
  EXPECT_EQ(rows(store, "SELECT tpot_s FROM records"), Rows{"NULL"});
  EXPECT_EQ(rows(store, "SELECT value FROM samples WHERE metric = 'ttft_s' ORDER BY number"),
            (Rows{"0.1", "0.333333333333333", "2.0"}));
  EXPECT_EQ(rows(store, "SELECT time_s FROM decode_steps WHERE generation = 1"), Rows{"0.125"});
  EXPECT_EQ(rows(store, "SELECT high_water_bytes FROM memory WHERE tag = 'logits'"),
            Rows{"9007199254740993"});
  EXPECT_EQ(rows(store, "SELECT predicted_bytes FROM memory WHERE tag = 'kv_cache'"), Rows{"192"});
  EXPECT_EQ(rows(store, "SELECT role FROM operators WHERE phase = 'prefill' ORDER BY \"index\""),
            (Rows{"qkv_proj", "ssm_scan"}));
  EXPECT_EQ(rows(store, "SELECT count(*) FROM operators WHERE phase = 'decode'"), Rows{"0"});
}

TEST_F(StoreTest, ColumnsAreReadAsTheyAre) {
  Store store = create("a.sqlite");
  insert(store, record_of("m", 512));
  const Rows table = read_columns(store);
  ASSERT_EQ(table.rows.size(), 1U);
  std::map<std::string, Rows::Value> row;
  for (size_t i = 0; i < table.columns.size(); ++i) row[table.columns[i]] = table.rows[0][i];
  EXPECT_EQ(row.at("model"), Rows::Value("m"));
  EXPECT_EQ(row.at("context"), Rows::Value(int64_t{512}));
  EXPECT_EQ(row.at("ttft_s"), Rows::Value(0.1));
  EXPECT_EQ(row.at("tpot_s"), Rows::Value());
  EXPECT_EQ(row.at("predicted_kv_cache_bytes"), Rows::Value(int64_t{192}));
  EXPECT_EQ(row.at("logits_bytes"), Rows::Value((int64_t{1} << 53) + 1));
  EXPECT_EQ(row.at("commit"), Rows::Value("abc"));
  EXPECT_FALSE(row.contains("json"));
}

TEST_F(StoreTest, APlaceKeepsOneResultPerCommit) {
  Store store = create("a.sqlite");
  EXPECT_TRUE(insert_once(store, {"r", 0}, record_of("first", 1)));
  EXPECT_FALSE(insert_once(store, {"r", 0}, record_of("second", 1)));
  EXPECT_TRUE(insert_once(store, {"r", 1}, record_of("again", 1)));
  Record dirty = record_of("other commit", 1);
  dirty.provenance.dirty = true;
  EXPECT_TRUE(insert_once(store, {"r", 0}, dirty));

  EXPECT_EQ(finished_places(store, "abc"), (std::set<SweepPlace>{{"r", 0}, {"r", 1}}));
  EXPECT_EQ(finished_places(store, "abc-dirty"), (std::set<SweepPlace>{{"r", 0}}));
  EXPECT_EQ(rows(store, "SELECT model FROM records ORDER BY id"),
            (std::vector<std::string>{"first", "again", "other commit"}));
}

TEST_F(StoreTest, ARetriedOutcomeGivesWay) {
  Store store = create("a.sqlite");
  Record crashed = record_of("m", 1);
  crashed.outcome = Outcome::failed;
  insert_once(store, {"r", 0}, crashed);
  EXPECT_EQ(finished_places(store, "abc").size(), 1U);
  EXPECT_EQ(finished_places(store, "abc", {Outcome::failed}).size(), 0U);
  replace(store, {"r", 0}, record_of("m", 1));
  EXPECT_EQ(rows(store, "SELECT outcome FROM records"), std::vector<std::string>{"ok"});
}

TEST_F(StoreTest, FiltersAndCommits) {
  Store store = create("a.sqlite");
  Record late = record_of("m", 1, "aaa");
  late.provenance.date = "2026-01-01T00:00:00Z";
  insert(store, late);
  insert(store, record_of("m", 2, "abc"));
  Record predicted = record_of("n", 3, "zzz");
  predicted.source = Source::predicted;
  insert(store, predicted);
  EXPECT_EQ(commits(store), (std::vector<std::string>{"abc", "aaa"}));
  EXPECT_EQ(read_records(store, {.commit = "ab"}).size(), 1U);
  Record dirty = record_of("m", 4, "abc");
  dirty.provenance.dirty = true;
  insert(store, dirty);
  EXPECT_EQ(read_records(store, {.commit = "abc"}).size(), 1U) << "not its dirty twin";
  EXPECT_EQ(read_records(store, {.commit = "abc-dirty"}).size(), 1U);
  EXPECT_EQ(read_records(store, {.commit = "ab"}).size(), 2U);
  EXPECT_EQ(read_records(store, {.model = "m"}).size(), 3U);
  EXPECT_EQ(read_records(store, {.source = Source::predicted}).size(), 1U);
}

TEST_F(StoreTest, MergingJoinsOnceAndLosesNothing) {
  Store a = create("a.sqlite"), b = create("b.sqlite");
  insert_once(a, {"shared", 0}, record_of("same", 1));
  insert_once(b, {"shared", 0}, record_of("same", 1));
  insert_once(a, {"clash", 0}, record_of("by a", 1));
  insert_once(b, {"clash", 0}, record_of("by b", 1));
  insert_once(b, {"only b", 0}, record_of("m", 1));
  insert(b, record_of("no sweep", 1));

  const MergeCount first = merge(a, b);
  EXPECT_EQ(first.added, 3);
  EXPECT_EQ(first.same, 1);
  EXPECT_EQ(first.renumbered, 1);
  const MergeCount second = merge(a, b);
  EXPECT_EQ(second.added, 0);
  EXPECT_EQ(second.same, 4);
  EXPECT_EQ(rows(a, "SELECT count(*) FROM records"), std::vector<std::string>{"5"});
  EXPECT_EQ(rows(a, "SELECT repeat FROM records WHERE model = 'by b'"),
            std::vector<std::string>{"1"});
}

TEST_F(StoreTest, AWriterKilledInTheMiddleLeavesAllOrNothing) {
  create("a.sqlite");
  const pid_t child = fork();
  if (child == 0) {
    Store store(folder_ / "a.sqlite", Store::Open::create);
    insert(store, record_of("kept", 1));
    sqlite3_exec(store.handle(), "BEGIN IMMEDIATE", nullptr, nullptr, nullptr);
    insert(store, record_of("in flight", 1));
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  const Store store(folder_ / "a.sqlite");
  EXPECT_EQ(rows(store, "SELECT model FROM records"), std::vector<std::string>{"kept"});
}

// As somebody to whom the folder is closed: what a child that is not root sees.
size_t records_read_by_another(const std::filesystem::path& path) {
  const pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && setuid(65534) != 0) _exit(100);
    try {
      _exit(static_cast<int>(read_records(Store(path)).size()));
    } catch (const Error& error) {
      fmt::print(stderr, "{}\n", error.what());
      _exit(99);
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  return static_cast<size_t>(WEXITSTATUS(status));
}

// What was kept is in the file itself: whoever copies that, though the writer has not closed it,
// has all.
TEST_F(StoreTest, TheFileAloneIsTheStore) {
  Store store = create("written.sqlite");
  const auto copied = [&] {
    const auto copy = folder_ / "copy.sqlite";
    std::filesystem::copy_file(folder_ / "written.sqlite", copy,
                               std::filesystem::copy_options::overwrite_existing);
    return read_records(Store(copy), {}).size();
  };
  EXPECT_EQ(copied(), 0U);
  insert_once(store, {"a", 0}, record_of("m", 1));
  EXPECT_EQ(copied(), 1U);
  replace(store, {"a", 0}, record_of("m", 1));
  insert(store, record_of("m", 2));
  EXPECT_EQ(copied(), 2U);
}

TEST_F(StoreTest, IsReadWhereNothingCanBeWritten) {
  const std::filesystem::path path = folder_ / "a 50%?#.sqlite";
  {
    Store store(path, Store::Open::create);
    insert(store, record_of("m", 1));
    insert(store, record_of("m", 2));
  }
  using std::filesystem::perms;
  std::filesystem::permissions(path, perms::owner_read | perms::group_read | perms::others_read);
  constexpr perms readable = perms::owner_read | perms::owner_exec | perms::group_read |
                             perms::group_exec | perms::others_read | perms::others_exec;
  std::filesystem::permissions(folder_, readable);
  EXPECT_EQ(records_read_by_another(path), 2U);
  std::filesystem::permissions(folder_, perms::owner_all);
}

TEST_F(StoreTest, ReadingChangesNothingAndLeavesNothing) {
  {
    Store store = create("a.sqlite");
    insert(store, record_of("m", 1));
  }
  {
    Store reader(folder_ / "a.sqlite");
    EXPECT_EQ(read_records(reader).size(), 1U);
    EXPECT_THROW(insert(reader, record_of("m", 2)), Error);
  }
  size_t files = 0;
  for ([[maybe_unused]] const auto& file : std::filesystem::directory_iterator(folder_)) ++files;
  EXPECT_EQ(files, 1U);
}

std::string error_of(const std::filesystem::path& path, Store::Open open) {
  try {
    Store store(path, open);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_F(StoreTest, SaysWhatIsWrongWithAFile) {
  EXPECT_EQ(error_of(folder_ / "none.sqlite", Store::Open::read),
            (folder_ / "none.sqlite").string() + ": no such store");

  std::ofstream(folder_ / "text.sqlite") << std::string(4096, 'x');
  EXPECT_NE(error_of(folder_ / "text.sqlite", Store::Open::read).find("not a database"),
            std::string::npos);

  sqlite3* other = nullptr;
  sqlite3_open((folder_ / "other.sqlite").c_str(), &other);
  sqlite3_exec(other, "CREATE TABLE t (x)", nullptr, nullptr, nullptr);
  sqlite3_close(other);
  for (auto open : {Store::Open::read, Store::Open::create})
    EXPECT_EQ(error_of(folder_ / "other.sqlite", open),
              (folder_ / "other.sqlite").string() + ": a SQLite file, but not a store of Tidemark");

  {
    Store store = create("newer.sqlite");
    sqlite3_exec(store.handle(), "PRAGMA user_version = 99", nullptr, nullptr, nullptr);
  }
  EXPECT_EQ(error_of(folder_ / "newer.sqlite", Store::Open::read),
            (folder_ / "newer.sqlite").string() + ": store version: expected 1, found 99");
}

TEST_F(StoreTest, OnlyARegularFileIsOne) {
  const auto error_of = [&](const std::filesystem::path& path) -> std::string {
    try {
      Store(path, Store::Open::create);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  const std::string why = ": expected a store, found what is no regular file";
  EXPECT_EQ(error_of(folder_ / "pipe"), (folder_ / "pipe").string() + why);
  EXPECT_EQ(error_of(folder_), folder_.string() + why);
}

}  // namespace
}  // namespace tidemark
