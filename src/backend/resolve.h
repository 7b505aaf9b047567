// Functions of libraries that are loaded at run time, so that a program starts, and runs what it
// can, where they are missing.
#pragma once

#include <dlfcn.h>

namespace tidemark {

// False, and a null function, where the library has none of that name.
template <class Function>
bool resolve(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace tidemark
