#include "report/grouping.h"

#include <gtest/gtest.h>

namespace tidemark {
namespace {

TEST(Grouping, AttentionStandsAlone) {
  EXPECT_EQ(group(Category::attention, Role::attention), Group::attention);
  for (Role role : {Role::qkv_proj, Role::o_proj})
    EXPECT_EQ(group(Category::gemm, role), Group::gemm);
  EXPECT_EQ(group(Category::rope, Role::rope), Group::elementwise);
  EXPECT_EQ(group(Category::memory, Role::kv_append), Group::memory);
}

TEST(Grouping, ProjectionsInsideAnSsmBlockAreGemm) {
  for (Role role : {Role::in_proj, Role::x_proj, Role::dt_proj, Role::out_proj})
    EXPECT_EQ(group(Category::gemm, role), Group::gemm);
  EXPECT_EQ(group(Category::ssm_scan, Role::ssm_scan), Group::ssm);
  EXPECT_EQ(group(Category::conv, Role::conv), Group::ssm);
  EXPECT_EQ(group(Category::norm, Role::ssm_gate), Group::norm);
}

TEST(Grouping, EveryGroupIsShownOnce) {
  for (int i = 0; i <= static_cast<int>(Group::other); ++i) {
    int shown = 0;
    for (Group g : all_groups) shown += g == static_cast<Group>(i);
    EXPECT_EQ(shown, 1) << name(static_cast<Group>(i));
  }
}

}  // namespace
}  // namespace tidemark
