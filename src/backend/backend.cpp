#include "backend/backend.h"

namespace tidemark {
namespace {

// A step that is observed has the device idle before and after every node.
class HostClock : public NodeObserver {
 public:
  HostClock(const std::function<double()>& now_s, std::vector<NodeTime>& nodes)
      : now_s_(now_s), nodes_(nodes), begin_s_(now_s()) {}
  void before(const Node&, size_t index) override { nodes_[index].start_s = since_begin_s(); }
  void after(const Node&, size_t index) override {
    nodes_[index].time_s = since_begin_s() - nodes_[index].start_s;
  }
  double since_begin_s() const { return now_s_() - begin_s_; }

 private:
  const std::function<double()>& now_s_;
  std::vector<NodeTime>& nodes_;
  double begin_s_;
};

}  // namespace

void Backend::profile_step(StepKind kind, int64_t past, const std::function<double()>& now_s,
                           StepProfile& out) {
  HostClock clock(now_s, out.nodes);
  run_step(kind, past, &clock);
  synchronize();
  out.wall_s = clock.since_begin_s();
}

}  // namespace tidemark
