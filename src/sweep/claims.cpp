#include "sweep/claims.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>

#include "base/error.h"

namespace tidemark {

Claims::Claims(const std::filesystem::path& store, std::string commit)
    : file_(store.string() + ".lock"),
      commit_(std::move(commit)),
      descriptor_(open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) fail("{}: cannot be opened: {}", file_.string(), std::strerror(errno));
}

Claims::~Claims() {
  close(descriptor_);
}

bool Claims::lock(const SweepPlace& place, short type) {
  const size_t hash =
      std::hash<std::string>()(fmt::format("{}|{}|{}", place.request, place.repeat, commit_));
  struct flock byte {};
  byte.l_type = type;
  byte.l_whence = SEEK_SET;
  byte.l_start = static_cast<off_t>(hash >> 2);
  byte.l_len = 1;
  if (fcntl(descriptor_, F_OFD_SETLK, &byte) == 0) return true;
  if (errno != EAGAIN && errno != EACCES)
    fail("{}: cannot be locked: {}", file_.string(), std::strerror(errno));
  return false;
}

bool Claims::take(const SweepPlace& place) {
  return lock(place, F_WRLCK);
}

void Claims::release(const SweepPlace& place) {
  lock(place, F_UNLCK);
}

}  // namespace tidemark
