// The graph that cuDNN's fused attention engines recognise (cuDNN developer guide, "Fused
// Attention"):
//   S = Q K^T; S *= scale; outside the filled lengths and above the diagonal S = lowest;
//   P = softmax(S) spelled out as max, subtract, exp, sum, divide; O = P V.
// Every tensor between Q, K, V and O is virtual: no score leaves the chip.
#include "backend/cuda/attention_cudnn.h"

#include <cudnn.h>

#include <array>
#include <limits>
#include <map>
#include <tuple>
#include <vector>

#include "backend/resolve.h"
#include "base/error.h"

namespace tidemark::cuda {
namespace {

// The functions used, by the names they have in the library.
struct Functions {
  decltype(&cudnnCreate) create = nullptr;
  decltype(&cudnnDestroy) destroy = nullptr;
  decltype(&cudnnSetStream) set_stream = nullptr;
  decltype(&cudnnGetVersion) get_version = nullptr;
  decltype(&cudnnGetErrorString) error_string = nullptr;
  decltype(&cudnnGetLastErrorString) last_error = nullptr;
  decltype(&cudnnBackendCreateDescriptor) make = nullptr;
  decltype(&cudnnBackendDestroyDescriptor) unmake = nullptr;
  decltype(&cudnnBackendSetAttribute) set = nullptr;
  decltype(&cudnnBackendGetAttribute) get = nullptr;
  decltype(&cudnnBackendFinalize) finalize = nullptr;
  decltype(&cudnnBackendExecute) execute = nullptr;
};

bool resolve_all(void* library, Functions& f) {
  return resolve(library, "cudnnCreate", f.create) && resolve(library, "cudnnDestroy", f.destroy) &&
         resolve(library, "cudnnSetStream", f.set_stream) &&
         resolve(library, "cudnnGetVersion", f.get_version) &&
         resolve(library, "cudnnGetErrorString", f.error_string) &&
         resolve(library, "cudnnGetLastErrorString", f.last_error) &&
         resolve(library, "cudnnBackendCreateDescriptor", f.make) &&
         resolve(library, "cudnnBackendDestroyDescriptor", f.unmake) &&
         resolve(library, "cudnnBackendSetAttribute", f.set) &&
         resolve(library, "cudnnBackendGetAttribute", f.get) &&
         resolve(library, "cudnnBackendFinalize", f.finalize) &&
         resolve(library, "cudnnBackendExecute", f.execute);
}

void check_dnn(const Functions& f, cudnnStatus_t status, std::string_view what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 512> message{};
  f.last_error(message.data(), message.size());
  fail("cuDNN: {}: {} {}", what, f.error_string(status), message.data());
}

// A backend descriptor that is destroyed with its owner.
class Descriptor {
 public:
  Descriptor(const Functions& f, cudnnBackendDescriptorType_t type) : f_(&f) {
    check_dnn(f, f.make(type, &handle_), "descriptor");
  }
  Descriptor(Descriptor&& other) noexcept
      : f_(other.f_), handle_(std::exchange(other.handle_, nullptr)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (handle_) f_->unmake(handle_);
  }
  cudnnBackendDescriptor_t get() const { return handle_; }

  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                  const T* values, int64_t count = 1) {
    check_dnn(*f_, f_->set(handle_, name, type, count, values), "attribute");
    return *this;
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& other) {
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, &other.handle_);
  }
  Descriptor& set(cudnnBackendAttributeName_t name, int64_t value) {
    return set(name, CUDNN_TYPE_INT64, &value);
  }
  void finalize(std::string_view what) { check_dnn(*f_, f_->finalize(handle_), what); }

 private:
  const Functions* f_;
  cudnnBackendDescriptor_t handle_ = nullptr;
};

// Unique ids of the tensors that are bound when a plan runs.
enum Uid : int64_t {
  uid_q = 1,
  uid_k,
  uid_v,
  uid_out,
  uid_query_lengths,
  uid_key_lengths,
  uid_scale,
  uid_lowest,
  uid_lowest_2,
  uid_first_virtual
};

using Dims = std::array<int64_t, 4>;

// Builds the graph operator by operator.
class GraphBuilder {
 public:
  explicit GraphBuilder(const Functions& f) : f_(f) {}

  const Descriptor& bound(Uid uid, cudnnDataType_t type, Dims dims, Dims strides,
                          bool by_value = false) {
    return tensor(uid, type, dims, strides, false, by_value);
  }
  const Descriptor& scalar(Uid uid, cudnnDataType_t type = CUDNN_DATA_FLOAT) {
    return bound(uid, type, {1, 1, 1, 1}, {1, 1, 1, 1}, true);
  }
  const Descriptor& between(cudnnDataType_t type, Dims dims) {
    const Dims strides = {dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1};
    return tensor(next_uid_++, type, dims, strides, true, false);
  }

  const Descriptor& pointwise(cudnnPointwiseMode_t mode, cudnnDataType_t compute,
                              const Descriptor& out, const Descriptor& x,
                              const Descriptor* b = nullptr, const Descriptor* t = nullptr,
                              int64_t axis = -1) {
    Descriptor& desc = keep(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    desc.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, &mode)
        .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, &compute);
    if (axis >= 0) desc.set(CUDNN_ATTR_POINTWISE_AXIS, axis);
    desc.finalize("pointwise");
    Descriptor& op = operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, desc)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, out);
    if (b) op.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
    if (t) op.set(CUDNN_ATTR_OPERATION_POINTWISE_TDESC, *t);
    op.finalize("pointwise operation");
    return out;
  }

  const Descriptor& reduce(cudnnReduceTensorOp_t mode, const Descriptor& out, const Descriptor& x) {
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    Descriptor& desc = keep(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    desc.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, &mode)
        .set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, &compute);
    desc.finalize("reduction");
    Descriptor& op = operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, desc)
        .set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x)
        .set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, out);
    op.finalize("reduction operation");
    return out;
  }

  // The overrides give the filled part of a dimension, per sequence; what lies outside counts as 0.
  const Descriptor& matmul(const Descriptor& a, const Descriptor& b, const Descriptor& out,
                           bool pad, const Descriptor* m, const Descriptor* n,
                           const Descriptor* k) {
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const double zero = 0;
    Descriptor& desc = keep(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    desc.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, &compute);
    if (pad) desc.set(CUDNN_ATTR_MATMUL_PADDING_VALUE, CUDNN_TYPE_DOUBLE, &zero);
    desc.finalize("matmul");
    Descriptor& op = operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, a)
        .set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, b)
        .set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, out)
        .set(CUDNN_ATTR_OPERATION_MATMUL_DESC, desc);
    if (m) op.set(CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC, *m);
    if (n) op.set(CUDNN_ATTR_OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC, *n);
    if (k) op.set(CUDNN_ATTR_OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC, *k);
    op.finalize("matmul operation");
    return out;
  }

  Descriptor graph(cudnnHandle_t handle) {
    std::vector<cudnnBackendDescriptor_t> list;
    for (const Descriptor* op : operations_) list.push_back(op->get());
    Descriptor graph(f_, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, list.data(),
              static_cast<int64_t>(list.size()));
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, &handle);
    graph.finalize("operation graph");
    return graph;
  }

 private:
  Descriptor& keep(cudnnBackendDescriptorType_t type) {
    kept_.push_back(std::make_unique<Descriptor>(f_, type));
    return *kept_.back();
  }
  Descriptor& operation(cudnnBackendDescriptorType_t type) {
    Descriptor& op = keep(type);
    operations_.push_back(&op);
    return op;
  }
  const Descriptor& tensor(int64_t uid, cudnnDataType_t type, Dims dims, Dims strides,
                           bool is_virtual, bool by_value) {
    Descriptor& desc = keep(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    desc.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, &type)
        .set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, dims.data(), 4)
        .set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, strides.data(), 4)
        .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid)
        .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 16)
        .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, &is_virtual)
        .set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, &by_value);
    desc.finalize("tensor");
    return desc;
  }

  const Functions& f_;
  std::vector<std::unique_ptr<Descriptor>> kept_;
  std::vector<const Descriptor*> operations_;
  int64_t next_uid_ = uid_first_virtual;
};

// With exact_past the keys of the graph are those that are filled; without, all of the cache, and
// how many are filled is read on the device.
void add_attention(GraphBuilder& b, const AttentionArgs& a) {
  const bool exact = a.exact_past >= 0;
  const int64_t batch = a.batch, heads = a.heads, kv_heads = a.kv_heads, queries = a.length;
  const int64_t keys = exact ? a.exact_past + a.length : a.capacity;
  const int64_t p = a.head_dim, pv = a.value_dim;
  const Dims scores = {batch, heads, queries, keys}, row = {batch, heads, queries, 1};
  const auto& q = b.bound(uid_q, CUDNN_DATA_BFLOAT16, {batch, heads, queries, p},
                          {queries * a.q_stride, p, a.q_stride, 1});
  const auto& kt = b.bound(uid_k, CUDNN_DATA_BFLOAT16, {batch, kv_heads, p, keys},
                           {kv_heads * a.capacity * p, a.capacity * p, 1, p});
  const auto& v = b.bound(uid_v, CUDNN_DATA_BFLOAT16, {batch, kv_heads, keys, pv},
                          {kv_heads * a.capacity * pv, a.capacity * pv, pv, 1});
  const auto& out = b.bound(uid_out, CUDNN_DATA_BFLOAT16, {batch, heads, queries, pv},
                            {queries * a.out_stride, pv, a.out_stride, 1});
  const auto& scale = b.scalar(uid_scale);
  const auto& lowest = b.scalar(uid_lowest);
  const auto number = [&]() -> const Descriptor& { return b.between(CUDNN_DATA_FLOAT, scores); };
  const auto index = [&]() -> const Descriptor& { return b.between(CUDNN_DATA_INT32, scores); };
  const auto truth = [&]() -> const Descriptor& { return b.between(CUDNN_DATA_BOOLEAN, scores); };
  const auto pw = [&](cudnnPointwiseMode_t mode, cudnnDataType_t compute, const Descriptor& y,
                      const Descriptor& x, const Descriptor* second = nullptr,
                      const Descriptor* third = nullptr, int64_t axis = -1) -> const Descriptor& {
    return b.pointwise(mode, compute, y, x, second, third, axis);
  };
  const auto row_of = [&](const Descriptor& s, cudnnDataType_t compute) -> const Descriptor& {
    return pw(CUDNN_POINTWISE_GEN_INDEX, compute, index(), s, nullptr, nullptr, 2);
  };
  const auto column_of = [&](const Descriptor& s, cudnnDataType_t compute) -> const Descriptor& {
    return pw(CUDNN_POINTWISE_GEN_INDEX, compute, index(), s, nullptr, nullptr, 3);
  };
  const auto keep = [&](const Descriptor& s, const Descriptor& where,
                        const Descriptor& otherwise) -> const Descriptor& {
    return pw(CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT, number(), s, &otherwise, &where);
  };

  const Descriptor *query_lengths = nullptr, *key_lengths = nullptr;
  if (!exact) {
    const Dims per_sequence = {batch, 1, 1, 1}, ones = {1, 1, 1, 1};
    query_lengths = &b.bound(uid_query_lengths, CUDNN_DATA_INT32, per_sequence, ones);
    key_lengths = &b.bound(uid_key_lengths, CUDNN_DATA_INT32, per_sequence, ones);
  }
  const Descriptor* s = &b.matmul(q, kt, number(), !exact, query_lengths, key_lengths, nullptr);
  s = &pw(CUDNN_POINTWISE_MUL, CUDNN_DATA_FLOAT, number(), *s, &scale);
  if (!exact) {  // beyond the filled lengths
    const auto& row_index = row_of(*s, CUDNN_DATA_INT32);
    const auto& column = column_of(*s, CUDNN_DATA_INT32);
    const auto& row_in =
        pw(CUDNN_POINTWISE_CMP_LT, CUDNN_DATA_BOOLEAN, truth(), row_index, query_lengths);
    const auto& column_in =
        pw(CUDNN_POINTWISE_CMP_LT, CUDNN_DATA_BOOLEAN, truth(), column, key_lengths);
    s = &keep(*s, pw(CUDNN_POINTWISE_LOGICAL_AND, CUDNN_DATA_BOOLEAN, truth(), row_in, &column_in),
              b.scalar(uid_lowest_2));
  }
  {  // above the diagonal that ends at the bottom right corner of the filled part
    const Descriptor* row_index = &row_of(*s, CUDNN_DATA_FLOAT);
    const auto& column = column_of(*s, CUDNN_DATA_FLOAT);
    if (!exact) {
      row_index = &pw(CUDNN_POINTWISE_ADD, CUDNN_DATA_INT32, index(), *row_index, key_lengths);
      row_index = &pw(CUDNN_POINTWISE_SUB, CUDNN_DATA_INT32, index(), *row_index, query_lengths);
    } else if (a.exact_past > 0) {
      const auto& key_count = b.scalar(uid_key_lengths, CUDNN_DATA_INT32);
      const auto& query_count = b.scalar(uid_query_lengths, CUDNN_DATA_INT32);
      row_index = &pw(CUDNN_POINTWISE_ADD, CUDNN_DATA_INT32, index(), *row_index, &key_count);
      row_index = &pw(CUDNN_POINTWISE_SUB, CUDNN_DATA_INT32, index(), *row_index, &query_count);
    }
    s = &keep(*s, pw(CUDNN_POINTWISE_CMP_GE, CUDNN_DATA_BOOLEAN, truth(), *row_index, &column),
              lowest);
  }
  const auto& top = b.reduce(CUDNN_REDUCE_TENSOR_MAX, b.between(CUDNN_DATA_FLOAT, row), *s);
  s = &pw(CUDNN_POINTWISE_SUB, CUDNN_DATA_FLOAT, number(), *s, &top);
  s = &pw(CUDNN_POINTWISE_EXP, CUDNN_DATA_FLOAT, number(), *s);
  const auto& sum = b.reduce(CUDNN_REDUCE_TENSOR_ADD, b.between(CUDNN_DATA_FLOAT, row), *s);
  // The engines' pattern has log-sum-exp statistics beside the softmax, here virtual too: without
  // them a kernel is found, and faults.
  const auto& log_sum =
      pw(CUDNN_POINTWISE_LOG, CUDNN_DATA_FLOAT, b.between(CUDNN_DATA_FLOAT, row), sum);
  pw(CUDNN_POINTWISE_ADD, CUDNN_DATA_FLOAT, b.between(CUDNN_DATA_FLOAT, row), top, &log_sum);
  s = &pw(CUDNN_POINTWISE_DIV, CUDNN_DATA_FLOAT, b.between(CUDNN_DATA_BFLOAT16, scores), *s, &sum);
  b.matmul(*s, v, out, false, query_lengths, nullptr, key_lengths);
}

using Key = std::tuple<int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int64_t, int64_t,
                       int64_t, int64_t>;
Key key_of(const AttentionArgs& a) {
  return {a.batch,     a.length,   a.heads,    a.kv_heads,   a.head_dim,
          a.value_dim, a.capacity, a.q_stride, a.out_stride, a.exact_past};
}

}  // namespace

struct CudnnAttention::ExecutionPlan {
  Descriptor plan;
  int64_t workspace_bytes = 0;
};

struct CudnnAttention::Library {
  void* file = nullptr;
  Functions f;
  cudnnHandle_t handle = nullptr;
  std::map<Key, std::unique_ptr<ExecutionPlan>> plans;  // null: refused

  ~Library() {
    plans.clear();
    if (handle) f.destroy(handle);
    if (file) dlclose(file);
  }
};

CudnnAttention::CudnnAttention() {
  auto library = std::make_unique<Library>();
  library->file = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
  if (!library->file) {
    const char* reason = dlerror();
    why_not_ = reason ? reason : "libcudnn.so.9 not found";
    return;
  }
  if (!resolve_all(library->file, library->f)) {
    why_not_ = "libcudnn.so.9 lacks a function of the graph API";
    return;
  }
  if (library->f.create(&library->handle) != CUDNN_STATUS_SUCCESS) {
    why_not_ = "cudnnCreate failed";
    return;
  }
  library_ = std::move(library);
}

CudnnAttention::~CudnnAttention() = default;

std::string CudnnAttention::version() const {
  if (!library_) return {};
  const size_t v = library_->f.get_version();
  return fmt::format("cuDNN {}.{}.{}", v / 10000, v / 100 % 100, v % 100);
}

CudnnAttention::ExecutionPlan* CudnnAttention::find(const AttentionArgs& a) {
  const bool candidate = library_ && a.dtype == DType::bf16 && a.window == 0 &&
                         a.head_dim % 8 == 0 && a.value_dim % 8 == 0 && a.q_stride % 8 == 0 &&
                         a.out_stride % 8 == 0;
  if (!candidate) return nullptr;
  const auto [at, added] = library_->plans.try_emplace(key_of(a));
  if (!added) return at->second.get();
  const Functions& f = library_->f;
  try {
    GraphBuilder builder(f);
    add_attention(builder, a);
    const Descriptor graph = builder.graph(library_->handle);
    Descriptor heuristics(f, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
        .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, &mode);
    heuristics.finalize("heuristics");
    int64_t count = 0;
    check_dnn(f,
              f.get(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                    0, &count, nullptr),
              "heuristics");
    std::vector<Descriptor> configs;
    std::vector<cudnnBackendDescriptor_t> raw;
    for (int64_t i = 0; i < count; ++i) {
      configs.emplace_back(f, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
      raw.push_back(configs.back().get());
    }
    check_dnn(f,
              f.get(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                    count, &count, raw.data()),
              "heuristics");
    if (count == 0) fail("cuDNN: no engine for this attention");
    for (int64_t i = 0; i < count && !at->second; ++i) {
      Descriptor plan(f, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, &library_->handle)
          .set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configs[static_cast<size_t>(i)]);
      const cudnnStatus_t status = f.finalize(plan.get());
      if (status != CUDNN_STATUS_SUCCESS && i + 1 < count) continue;
      check_dnn(f, status, "execution plan");
      int64_t bytes = 0, got = 0;
      check_dnn(f,
                f.get(plan.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1,
                      &got, &bytes),
                "workspace size");
      at->second = std::make_unique<ExecutionPlan>(std::move(plan), bytes);
    }
  } catch (const Error& error) {
    why_not_ = error.what();
  }
  return at->second.get();
}

bool CudnnAttention::supports(const AttentionArgs& a) {
  return find(a) != nullptr;
}

int64_t CudnnAttention::workspace_bytes(const AttentionArgs& a) {
  const ExecutionPlan* plan = find(a);
  return plan ? plan->workspace_bytes : 0;
}

void CudnnAttention::run(const AttentionArgs& a, const int32_t* lengths, void* workspace,
                         const Queue& queue) {
  ExecutionPlan* plan = find(a);
  if (!plan) fail("attention: no cuDNN plan: {}", why_not_);
  const Functions& f = library_->f;
  float scale = a.scale, lowest = std::numeric_limits<float>::lowest();
  int32_t query_count = a.length, key_count = static_cast<int32_t>(a.exact_past + a.length);
  std::vector<int64_t> uids;
  std::vector<void*> pointers;
  const auto bind = [&](Uid uid, const void* pointer) {
    uids.push_back(uid);
    pointers.push_back(const_cast<void*>(pointer));
  };
  bind(uid_q, a.q), bind(uid_k, a.k_cache), bind(uid_v, a.v_cache), bind(uid_out, a.out);
  bind(uid_scale, &scale), bind(uid_lowest, &lowest);
  if (a.exact_past < 0) {
    bind(uid_query_lengths, lengths), bind(uid_key_lengths, lengths + a.batch);
    bind(uid_lowest_2, &lowest);
  } else if (a.exact_past > 0) {
    bind(uid_query_lengths, &query_count), bind(uid_key_lengths, &key_count);
  }
  Descriptor pack(f, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, uids.data(),
           static_cast<int64_t>(uids.size()))
      .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers.data(),
           static_cast<int64_t>(pointers.size()))
      .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, &workspace);
  pack.finalize("variant pack");
  check_dnn(f, f.set_stream(library_->handle, queue.stream), "stream");
  check_dnn(f, f.execute(library_->handle, plan->plan.get(), pack.get()), "attention");
}

}  // namespace tidemark::cuda
