#include "backend/backend.h"

namespace tidemark {
namespace {

class HostClock : public NodeObserver {
 public:
  HostClock(Backend& backend, const std::function<double()>& now_s, std::vector<NodeTime>& nodes)
      : backend_(backend), now_s_(now_s), nodes_(nodes), begin_s_(now_s()) {}
  void before(const Node&, size_t index) override {
    backend_.synchronize();
    nodes_[index].start_s = now_s_() - begin_s_;
  }
  void after(const Node&, size_t index) override {
    backend_.synchronize();
    nodes_[index].time_s = now_s_() - begin_s_ - nodes_[index].start_s;
  }
  double since_begin_s() const { return now_s_() - begin_s_; }

 private:
  Backend& backend_;
  const std::function<double()>& now_s_;
  std::vector<NodeTime>& nodes_;
  double begin_s_;
};

}  // namespace

void Backend::profile_step(StepKind kind, int64_t past, const std::function<double()>& now_s,
                           StepProfile& out) {
  HostClock clock(*this, now_s, out.nodes);
  run_step(kind, past, &clock);
  synchronize();
  out.wall_s = clock.since_begin_s();
}

}  // namespace tidemark
