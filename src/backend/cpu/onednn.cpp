#include "backend/cpu/onednn.h"

#include <limits>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "base/error.h"

namespace tidemark {
namespace {

using dnnl::memory;
using dnnl::primitive_attr;
using PrimitiveDesc = dnnl::matmul::primitive_desc;

void append_scale(dnnl::post_ops& ops, float scale) {
#if DNNL_VERSION_MAJOR >= 3
  ops.append_eltwise(dnnl::algorithm::eltwise_linear, scale, 0.0F);
#else
  ops.append_eltwise(1.0F, dnnl::algorithm::eltwise_linear, scale, 0.0F);
#endif
}

// Empty when the machine has no implementation.
PrimitiveDesc describe(const dnnl::engine& engine, const memory::desc& x,
                       const memory::desc& weight, const memory::desc& bias,
                       const memory::desc& out, const primitive_attr& attr) {
#if DNNL_VERSION_MAJOR >= 3
  return PrimitiveDesc(engine, x, weight, bias, out, attr, true);
#else
  return PrimitiveDesc(dnnl::matmul::desc(x, weight, bias, out), attr, engine, true);
#endif
}

bool is_empty(const memory::desc& desc) {
#if DNNL_VERSION_MAJOR >= 3
  return desc.get_ndims() == 0;
#else
  return desc.data.ndims == 0;
#endif
}

memory::data_type data_type(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return memory::data_type::bf16;
    case DType::i8:
      return memory::data_type::s8;
    case DType::i32:
      return memory::data_type::s32;
    default:
      return memory::data_type::f32;
  }
}

// Without VNNI oneDNN adds pairs of 8-bit products in 16 bits, where they saturate (its developer
// guide: nuances of int8 computations).
bool sums_exactly(DType dtype) {
  if (dtype != DType::i8) return true;
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41:
    case dnnl::cpu_isa::avx:
    case dnnl::cpu_isa::avx2:
    case dnnl::cpu_isa::avx512_core:
      return false;
    default:
      return true;
  }
}

// No memory yet: it is set at every run. oneDNN writes through x, weight and bias never.
memory placeholder(const memory::desc& desc, const dnnl::engine& engine) {
  return is_empty(desc) ? memory() : memory(desc, engine, DNNL_MEMORY_NONE);
}

}  // namespace

namespace {

struct Descriptions {
  memory::desc x, weight, bias, out;
};

Descriptions describe_one(const GemmShape& s) {
  const memory::data_type type = data_type(s.dtype);
  return {memory::desc({s.m, s.k}, type, {s.x_stride, 1}),
          s.own_layout ? memory::desc({s.k, s.n}, type, memory::format_tag::any)
                       : memory::desc({s.k, s.n}, type, {1, s.weight_stride}),
          s.bias ? memory::desc({1, s.n}, type, {s.n, 1}) : memory::desc(),
          memory::desc({s.m, s.n}, data_type(s.out_dtype), {s.out_stride, 1})};
}

Descriptions describe_blocks(const GemmShape& s) {
  const memory::data_type type = data_type(s.dtype);
  return {memory::desc({s.blocks, s.m, s.k}, type, {s.k, s.x_stride, 1}),
          memory::desc({s.blocks, s.k, s.n}, type, {s.k * s.weight_stride, s.weight_stride, 1}),
          s.bias ? memory::desc({s.blocks, 1, s.n}, type, {s.n, s.n, 1}) : memory::desc(),
          memory::desc({s.blocks, s.m, s.n}, data_type(s.out_dtype), {s.n, s.out_stride, 1})};
}

}  // namespace

struct OneDnnGemms::Library {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
};

struct OneDnnGemms::Entry {
  std::string implementation;
  int64_t scratch_bytes = 0;
  dnnl::matmul matmul;
  memory x, weight, bias, out, scratch;
  std::unordered_map<int, memory> arguments;
};

OneDnnGemms::OneDnnGemms() : library_(std::make_unique<Library>()) {}
OneDnnGemms::~OneDnnGemms() = default;

OneDnnGemms::Entry& OneDnnGemms::find(const GemmShape& s) {
  const auto found = entries_.find(s);
  if (found != entries_.end()) return *found->second;

  const auto [x, weight, bias, out] = s.blocks > 0 ? describe_blocks(s) : describe_one(s);
  dnnl::post_ops ops;
  if (s.scale != 1) append_scale(ops, s.scale);
  if (s.accumulate) ops.append_sum(1.0F);
  primitive_attr attr;
  attr.set_post_ops(ops);
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);

  auto entry = std::make_unique<Entry>();
  // It counts rows in 32 bits, and divides by what is left of 2^32 of them: 0. Plans have such
  // rows.
  const bool counts_rows = s.m <= std::numeric_limits<int32_t>::max();
  if (const auto desc =
          counts_rows ? describe(library_->engine, x, weight, bias, out, attr) : PrimitiveDesc()) {
    const std::string name = desc.impl_info_str();
    if (name.find("ref") == std::string::npos && sums_exactly(s.dtype))
      entry->implementation = name;
    entry->scratch_bytes = static_cast<int64_t>(desc.scratchpad_desc().get_size());
    entry->matmul = dnnl::matmul(desc);
    const dnnl::engine& engine = library_->engine;
    entry->x = placeholder(x, engine);
    entry->weight = placeholder(desc.weights_desc(), engine);
    entry->bias = placeholder(bias, engine);
    entry->out = placeholder(out, engine);
    entry->scratch = placeholder(desc.scratchpad_desc(), engine);
    entry->arguments = {
        {DNNL_ARG_SRC, entry->x}, {DNNL_ARG_WEIGHTS, entry->weight}, {DNNL_ARG_DST, entry->out}};
    if (s.bias) entry->arguments.insert({DNNL_ARG_BIAS, entry->bias});
    if (entry->scratch_bytes > 0) entry->arguments.insert({DNNL_ARG_SCRATCHPAD, entry->scratch});
  }
  return *entries_.emplace(s, std::move(entry)).first->second;
}

const std::string& OneDnnGemms::implementation(const GemmShape& shape) {
  return find(shape).implementation;
}

int64_t OneDnnGemms::scratch_bytes(const GemmShape& shape) {
  return find(shape).scratch_bytes;
}

int64_t OneDnnGemms::weight_bytes(const GemmShape& shape) {
  return static_cast<int64_t>(find(shape).weight.get_desc().get_size());
}

void OneDnnGemms::run(const GemmShape& shape, const void* x, const void* weight, const void* bias,
                      void* out, void* scratch) {
  Entry& entry = find(shape);
  if (entry.implementation.empty())
    fail("oneDNN {} has no matrix product of {} on this machine", version(), name(shape.dtype));
  entry.x.set_data_handle(const_cast<void*>(x));
  entry.weight.set_data_handle(const_cast<void*>(weight));
  if (shape.bias) entry.bias.set_data_handle(const_cast<void*>(bias));
  entry.out.set_data_handle(out);
  if (entry.scratch_bytes > 0) entry.scratch.set_data_handle(scratch);
  entry.matmul.execute(library_->stream, entry.arguments);
  library_->stream.wait();
}

std::string OneDnnGemms::version() {
  const dnnl_version_t* v = dnnl_version();
  return fmt::format("{}.{}.{}", v->major, v->minor, v->patch);
}

}  // namespace tidemark
