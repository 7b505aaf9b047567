// Times work on a stream: captured once, replayed, the median of the replays. And device memory
// that holds random numbers.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "backend/cuda/queue.h"
#include "base/bf16.h"
#include "base/vocab.h"

namespace tidemark::cuda {

class DeviceBuffer {
 public:
  explicit DeviceBuffer(int64_t bytes) : bytes_(bytes) {
    check(cudaMalloc(&data_, static_cast<size_t>(std::max<int64_t>(bytes, 256))), "buffer");
  }
  ~DeviceBuffer() { cudaFree(data_); }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(DeviceBuffer&&) = delete;
  void* get() const { return data_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  int64_t bytes() const { return bytes_; }
  // Uniform in [-amplitude, amplitude); a random block repeated, so that gigabytes are quick.
  void randomize(DType dtype, float amplitude, uint64_t seed) {
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<float> draw(-amplitude, amplitude);
    const int64_t element = size_bytes(dtype), count = bytes_ / element;
    std::vector<std::byte> block(
        static_cast<size_t>(std::min<int64_t>(count, (1 << 20) + 4099) * element));
    for (int64_t i = 0; i < static_cast<int64_t>(block.size()) / element; ++i) {
      const float value = draw(random);
      if (dtype == DType::bf16)
        reinterpret_cast<Bf16*>(block.data())[i] = Bf16(value);
      else
        reinterpret_cast<float*>(block.data())[i] = value;
    }
    int64_t filled = std::min<int64_t>(static_cast<int64_t>(block.size()), bytes_);
    check(cudaMemcpy(data_, block.data(), static_cast<size_t>(filled), cudaMemcpyHostToDevice),
          "fill");
    while (filled < count * element) {
      const int64_t next = std::min(filled, count * element - filled);
      check(cudaMemcpy(static_cast<std::byte*>(data_) + filled, data_, static_cast<size_t>(next),
                       cudaMemcpyDeviceToDevice),
            "fill");
      filled += next;
    }
  }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

// Milliseconds of one `work`, of each of `runs` replays of its captured graph, after `warm_ms` of
// them and two more: after a pause of the host a card runs slow for some milliseconds.
inline std::vector<double> sample_ms(const Queue& queue, const std::function<void()>& work,
                                     int runs, double warm_ms = 0) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  work();
  check(cudaStreamSynchronize(queue.stream), "warm-up");
  check(cudaStreamBeginCapture(queue.stream, cudaStreamCaptureModeRelaxed), "capture");
  work();
  check(cudaStreamEndCapture(queue.stream, &graph), "capture");
  check(cudaGraphInstantiate(&executable, graph, 0), "graph");
  cudaEvent_t start = nullptr, stop = nullptr;
  check(cudaEventCreate(&start), "event");
  check(cudaEventCreate(&stop), "event");
  std::vector<double> samples;
  for (int discard = 2; static_cast<int>(samples.size()) < runs;) {
    check(cudaEventRecord(start, queue.stream), "event");
    check(cudaGraphLaunch(executable, queue.stream), "graph");
    check(cudaEventRecord(stop, queue.stream), "event");
    check(cudaEventSynchronize(stop), "timed work");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, start, stop), "event");
    if ((warm_ms -= ms) > 0 || discard-- > 0) continue;
    samples.push_back(ms);
  }
  check(cudaEventDestroy(start), "event");
  check(cudaEventDestroy(stop), "event");
  check(cudaGraphExecDestroy(executable), "graph");
  check(cudaGraphDestroy(graph), "graph");
  return samples;
}

// Their median.
inline double median_ms(const Queue& queue, const std::function<void()>& work, int runs = 10) {
  std::vector<double> samples = sample_ms(queue, work, runs);
  std::nth_element(samples.begin(), samples.begin() + static_cast<int64_t>(samples.size() / 2),
                   samples.end());
  return samples[samples.size() / 2];
}

}  // namespace tidemark::cuda
