#include "app/limit.h"

#include <algorithm>

namespace tidemark {
namespace {

class Search {
 public:
  Search(const ModelSpec& spec, const LimitRequest& request, const MemoryOf& memory_of)
      : spec_(spec), request_(request), memory_of_(memory_of) {}

  int64_t most_tokens() const { return most_tokens_; }

  MemoryByTag at(int64_t context) const { return memory_of_(plan_at(spec_, request_, context)); }
  bool fits(int64_t context) const { return at(context).total() <= request_.budget_bytes; }

  // The boundary above `low`, which fits, by doubling and halving.
  int64_t boundary(int64_t low) const {
    int64_t high = low;
    do {
      low = high;
      high = std::min(2 * high, most_tokens_);
      if (high == low) return low;
    } while (fits(high));
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      (fits(middle) ? low : high) = middle;
    }
    return low;
  }

  // Memory grows with the context but for scratch, which follows the shape of the last chunk: a
  // few tokens further on, or at a whole number of chunks, a longer context may fit again. And a
  // prompt with meta tokens is one step up to a context of a chunk, two from the next token on.
  int64_t further(int64_t context) const {
    std::vector<int64_t> candidates;
    for (int64_t i = 2; i <= 16; ++i) candidates.push_back(context + i);
    if (const int64_t chunk = request_.workload.chunk; !request_.whole_chunk) {
      candidates.push_back(chunk + 1);
      for (int64_t chunks = 1; chunks <= 2; ++chunks)
        candidates.push_back((context / chunk + chunks) * chunk);
    }
    int64_t best = context;
    for (const int64_t candidate : candidates)
      if (candidate <= most_tokens_ && candidate > best && fits(candidate)) best = candidate;
    return best;
  }

 private:
  const ModelSpec& spec_;
  const LimitRequest& request_;
  const MemoryOf& memory_of_;
  const int64_t most_tokens_ = max_context(spec_, request_.workload);
};

Tag grown_most(const MemoryByTag& from, const MemoryByTag& to) {
  return *std::max_element(all_tags.begin(), all_tags.end(),
                           [&](Tag x, Tag y) { return to[x] - from[x] < to[y] - from[y]; });
}

}  // namespace

Plan plan_at(const ModelSpec& spec, const LimitRequest& request, int64_t context) {
  Workload workload = request.workload;
  workload.context = context;
  if (request.whole_chunk) workload.chunk = context;
  return build_plan(spec, workload);
}

Limit find_limit(const ModelSpec& spec, const LimitRequest& request, const MemoryOf& memory_of) {
  const Search search(spec, request, memory_of);
  Limit limit;
  if (!search.fits(1)) {
    limit.beyond = search.at(1);
    limit.broken_by = grown_most({}, limit.beyond);
    return limit;
  }
  limit.context = search.boundary(1);
  for (int64_t next; (next = search.further(limit.context)) > limit.context;)
    limit.context = search.boundary(next);
  limit.fits = search.at(limit.context);
  if (limit.context == search.most_tokens()) {
    limit.unbounded = true;
    return limit;
  }
  limit.beyond = search.at(limit.context + 1);
  // One token's growth can be a rounding of 64 bytes; from half the context it is a trend.
  limit.broken_by = limit.context > 1 ? grown_most(search.at(limit.context / 2), limit.beyond)
                                      : grown_most({}, limit.beyond);
  return limit;
}

int64_t find_measured_limit(int64_t planned, int64_t most,
                            const std::function<bool(int64_t)>& runs) {
  int64_t low = 0, high = most + 1;  // low runs, high does not
  if (planned <= most && (planned < 1 || runs(planned))) {
    low = std::max<int64_t>(planned, 0);
    for (int64_t step = 1; low + step < high; step *= 2) {
      if (!runs(low + step))
        high = low + step;
      else
        low += step;
    }
  } else {
    high = std::min(high, planned);
  }
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (runs(middle) ? low : high) = middle;
  }
  return low;
}

}  // namespace tidemark
