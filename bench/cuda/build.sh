#!/bin/sh
# Builds ssm_bench without CMake: build.sh OUTPUT [nvcc's -gencode argument]
set -e
cd "$(dirname "$0")/../.."
arch=${2:-arch=compute_90a,code=sm_90a}
out=$1
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
cuda=src/backend/cuda
for f in ssd selective_scan conv1d norm gated_norm glu; do
  echo "$cuda/$f.cu"
done >"$objects/list"
echo bench/cuda/ssm_bench.cu >>"$objects/list"
xargs -P 2 -I{} sh -c 'nvcc -O3 -std=c++20 -Isrc --expt-relaxed-constexpr -gencode "$1" -c "$2" -o "$3/$(basename "$2").o"' \
  - "$arch" {} "$objects" <"$objects/list"
g++ -O2 -std=c++20 -Isrc -I/usr/local/cuda/include -DFMT_HEADER_ONLY -c $cuda/queue.cpp -o "$objects/queue.o"
nvcc -cudart static -gencode "$arch" "$objects"/*.o -o "$out"
