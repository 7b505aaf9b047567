#include "report/model_names.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace tidemark {
namespace {

using Names = std::map<std::string, std::string>;

TEST(ModelNames, AreAsShortAsTheyCanBeToldApart) {
  EXPECT_EQ(
      short_model_names({"mamba2-130m", "ckpt/llama", "/data/falcon"}),
      (Names{{"mamba2-130m", "mamba2-130m"}, {"ckpt/llama", "llama"}, {"/data/falcon", "falcon"}}));
  EXPECT_EQ(short_model_names({"a/v1/model", "b/v1/model", "b/v2/model", "model", "/model"}),
            (Names{{"a/v1/model", "a/v1/model"},
                   {"b/v1/model", "b/v1/model"},
                   {"b/v2/model", "v2/model"},
                   {"model", "model"},
                   {"/model", "/model"}}));
}

TEST(ModelNames, StandInEveryPartOfAStudy) {
  Study study;
  for (const char* model : {"v1/m", "v2/m", "other/n"}) {
    study.records.push_back({.cell = {.model = model}, .flags = {}});
    study.limits.push_back({.model = model});
    study.accuracies.push_back({.model = model});
  }
  study.crossovers.push_back({.a = "v1/m", .b = "other/n"});
  study.accuracies.push_back({.model = "n"});
  const Study shown = with_short_model_names(study);
  EXPECT_EQ(shown.records[1].cell.model, "v2/m");
  EXPECT_EQ(shown.records[2].cell.model, "n");
  EXPECT_EQ(shown.limits[2].model, "n");
  EXPECT_EQ(shown.crossovers[0].a, "v1/m");
  EXPECT_EQ(shown.crossovers[0].b, "n");
  EXPECT_EQ(shown.accuracies[2].model, "n");
  EXPECT_EQ(shown.accuracies[3].model, "n");
}

TEST(ModelNames, AreFoundByTheEndOfTheirPath) {
  const std::set<std::string> models = {"mamba2-130m", "v1/model", "v2/model", "x/other"};
  EXPECT_EQ(model_meant("Mamba2-130M", models), "mamba2-130m");
  EXPECT_EQ(model_meant("./v1//model/", models), "v1/model");
  EXPECT_EQ(model_meant("other", models), "x/other");
  EXPECT_EQ(model_meant("nothing", models), std::nullopt);
  EXPECT_EQ(model_meant("here/mamba2-130m", models), "mamba2-130m") << "as older stores have it";
  try {
    model_meant("model", models);
    FAIL() << "two are called so";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "model 'model': expected one model of the store, found v1/model, v2/model");
  }
}

}  // namespace
}  // namespace tidemark
