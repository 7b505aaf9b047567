# Writes OUT, a header with the commit of SOURCE, when it changed. Run at every build:
# cmake -DSOURCE=... -DOUT=... -DVERSION=... -P commit.cmake
set(commit unknown)
set(dirty false)
find_program(GIT git)
if(GIT)
  # A source tree unpacked inside another repository is not that repository's.
  execute_process(COMMAND ${GIT} -C ${SOURCE} rev-parse --show-toplevel
    OUTPUT_VARIABLE top OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  file(REAL_PATH ${SOURCE} source)
  if(top STREQUAL source)
    execute_process(COMMAND ${GIT} -C ${SOURCE} rev-parse HEAD
      OUTPUT_VARIABLE head OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
    if(NOT failed)
      set(commit ${head})
      execute_process(COMMAND ${GIT} -C ${SOURCE} status --porcelain --untracked-files=no
        OUTPUT_VARIABLE changes ERROR_QUIET)
      if(changes)
        set(dirty true)
      endif()
    endif()
  endif()
endif()
set(text "#pragma once

#include <string_view>

namespace tidemark {

inline constexpr std::string_view build_version = \"${VERSION}\";
inline constexpr std::string_view build_commit = \"${commit}\";
inline constexpr bool build_dirty = ${dirty};

}  // namespace tidemark
")
if(EXISTS ${OUT})
  file(READ ${OUT} old)
endif()
if(NOT "${old}" STREQUAL "${text}")
  file(WRITE ${OUT} "${text}")
endif()
