// Which cells are being measured right now, among several sweeps into one store.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "store/store.h"

namespace tidemark {

// A cell is claimed by a lock on its byte of the file STORE.lock, which the system lets go of when
// the sweep dies, however it dies.
class Claims {
 public:
  Claims(const std::filesystem::path& store, std::string commit);
  ~Claims();
  Claims(const Claims&) = delete;
  Claims& operator=(const Claims&) = delete;

  // False: another sweep of the same build has it.
  bool take(const SweepPlace&);
  void release(const SweepPlace&);

 private:
  bool lock(const SweepPlace&, short type);
  std::filesystem::path file_;
  std::string commit_;
  int descriptor_;
};

}  // namespace tidemark
