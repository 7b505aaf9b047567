# Is there a CUDA toolkit here? Sets TIDEMARK_HAVE_CUDA and enables the language. Without one, and
# with -DTIDEMARK_CUDA=OFF, src/backend/none/ takes the place of src/backend/cuda/.
set(TIDEMARK_HAVE_CUDA OFF)
if(TIDEMARK_CUDA)
  find_package(CUDAToolkit 12.4 QUIET)
  if(CUDAToolkit_FOUND)
    # nvcc beside the toolkit that was found, so that PATH need not name it.
    if(NOT DEFINED CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
      set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
    endif()
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 90a)
    endif()
    include(CheckLanguage)
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER)
      enable_language(CUDA)
      # Matrix instructions of Hopper are there for 90a alone; for 90 the products of state-space
      # models and experts would be compiled to older ones, while the libraries' keep theirs.
      if(CMAKE_CUDA_ARCHITECTURES STREQUAL native)
        set(CMAKE_CUDA_ARCHITECTURES ${CMAKE_CUDA_ARCHITECTURES_NATIVE})
      endif()
      list(TRANSFORM CMAKE_CUDA_ARCHITECTURES REPLACE "^90(-real|-virtual)?$" "90a\\1")
      # CMake 3.25 does not know nvcc's flag for the standard of the rest of the program.
      if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
        set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
        set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
      endif()
      set(CMAKE_CUDA_STANDARD 20)
      # cuBLASLt, cuDNN and CUPTI are loaded at run time: from here, too, by what is built here.
      list(APPEND CMAKE_BUILD_RPATH ${CUDAToolkit_LIBRARY_DIR})
      set(TIDEMARK_HAVE_CUDA ON)
    endif()
  endif()
  if(NOT TIDEMARK_HAVE_CUDA)
    message(STATUS "CUDA: no toolkit found; building without the GPU backend (docs/cuda.md)")
  endif()
endif()
