# Compile flags of every target, and the one way a folder of src/ becomes a library.

add_library(tidemark_flags INTERFACE)
target_include_directories(tidemark_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(tidemark_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror>
  # GCC 12 sees overlapping copies in "text" + std::string where there are none (GCC bug 105651).
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict>
  # GCC 13 takes the storage of a variant's other alternatives for values read uninitialized.
  $<$<AND:$<COMPILE_LANG_AND_ID:CXX,GNU>,$<VERSION_GREATER_EQUAL:$<CXX_COMPILER_VERSION>,13>>:-Wno-maybe-uninitialized>)
if(TIDEMARK_FUZZ)  # coverage feedback for tests/fuzz
  target_compile_options(tidemark_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(TIDEMARK_SANITIZE)
  # GCC's flow warnings misfire on instrumented code; the release build has them as errors. The build
  # is kept short: line numbers are all that sanitizers report, and what is long to compile and
  # nowhere hot (TIDEMARK_COLD on its target) is not optimised.
  target_compile_options(tidemark_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-w -g1 $<IF:$<BOOL:$<TARGET_PROPERTY:TIDEMARK_COLD>>,-O0,-O1>>)
  target_compile_options(tidemark_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined -fno-sanitize-recover=all
    -fno-omit-frame-pointer>)
  target_link_options(tidemark_flags INTERFACE -fsanitize=address,undefined)
endif()

# tidemark_library(NAME [EXCLUDE regex] DEPENDS target...): every *.cpp of the current folder and its
# subfolders except *_test.cpp and what EXCLUDE matches becomes the static library NAME. Unit tests
# beside the code are collected by tests/CMakeLists.txt.
function(tidemark_library NAME)
  cmake_parse_arguments(ARG "" "EXCLUDE" "DEPENDS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  if(ARG_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX "${ARG_EXCLUDE}")
  endif()
  add_library(${NAME} STATIC ${sources})
  target_link_libraries(${NAME} PUBLIC tidemark_flags ${ARG_DEPENDS})
endfunction()
