# Build rules shared by every folder.
#   understudy_library(NAME sources... DEPS libs...)     static library understudy_NAME
#   understudy_test(NAME sources... DEPS libs...)        GoogleTest binary NAME, registered with CTest
#   understudy_program(NAME sources... DEPS libs...)     executable NAME
#   understudy_fuzzer(NAME sources... DEPS libs...)      libFuzzer target, only with UNDERSTUDY_FUZZ
include_guard()

find_program(CCACHE ccache)
if(CCACHE)
  # A precompiled header is cached only with these relaxations, and only objects made with the same one are found again;
  # relative paths let clones in other folders share the cache.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
    CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
    CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE})
endif()
find_program(MOLD mold)
find_program(LLD ld.lld)
if(MOLD)
  add_link_options(-fuse-ld=mold)
elseif(LLD)
  add_link_options(-fuse-ld=lld)
endif()

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(GTest REQUIRED)
include(GoogleTest)

# Two jobs' worth of memory-hungry links at most on small machines.
set_property(GLOBAL PROPERTY JOB_POOLS link_pool=2)
set(CMAKE_JOB_POOL_LINK link_pool)

add_library(understudy_options INTERFACE)
target_include_directories(understudy_options INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR})
target_compile_options(understudy_options INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wnull-dereference
  -Wno-missing-field-initializers -fno-omit-frame-pointer -msse4.2)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports false positives from inlined standard library code under optimisation and sanitizers.
  target_compile_options(understudy_options INTERFACE
    -fcoroutines -Wno-null-dereference -Wno-maybe-uninitialized -Wno-restrict -Wno-array-bounds
    -Wno-stringop-overflow -Wno-stringop-overread)
endif()
# Line numbers for backtraces and profiles; what -g adds to that costs a third of the compile time.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG")
if(UNDERSTUDY_SANITIZE)
  # Half the time to compile of -O2 -g, and with assertions.
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")
  target_compile_options(understudy_options INTERFACE -fsanitize=${UNDERSTUDY_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(understudy_options INTERFACE -fsanitize=${UNDERSTUDY_SANITIZE})
endif()
if(UNDERSTUDY_COVERAGE)
  target_compile_options(understudy_options INTERFACE --coverage)
  target_link_options(understudy_options INTERFACE --coverage)
endif()
if(UNDERSTUDY_FUZZ)
  target_compile_options(understudy_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_link_libraries(understudy_options INTERFACE fmt::fmt Threads::Threads)

# One precompiled header of the standard library and fmt, shared by every target of the same kind.
file(WRITE ${CMAKE_BINARY_DIR}/pch_anchor.cpp "// anchor of the shared precompiled header\n")
add_library(understudy_pch STATIC ${CMAKE_BINARY_DIR}/pch_anchor.cpp)
target_link_libraries(understudy_pch PRIVATE understudy_options)
target_precompile_headers(understudy_pch PRIVATE
  <algorithm> <chrono> <cstdint> <functional> <map> <memory> <optional> <span> <string> <string_view> <variant>
  <vector> <fmt/format.h>)
if(CCACHE)
  target_compile_options(understudy_pch PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess> $<$<CXX_COMPILER_ID:Clang>:-Xclang -fno-pch-timestamp>)
endif()

function(understudy_common target)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  target_link_libraries(${target} PUBLIC understudy_options ${ARG_DEPS})
  target_precompile_headers(${target} REUSE_FROM understudy_pch)
  if(CCACHE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE -fpch-preprocess)
  endif()
endfunction()

function(understudy_library name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  add_library(understudy_${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  understudy_common(understudy_${name} DEPS ${ARG_DEPS})
endfunction()

function(understudy_program name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  understudy_common(${name} DEPS ${ARG_DEPS})
endfunction()

function(understudy_test name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  if(UNDERSTUDY_FUZZ)
    return()
  endif()
  add_executable(${name} EXCLUDE_FROM_ALL ${ARG_UNPARSED_ARGUMENTS})  # half of everything's time to compile
  understudy_common(${name} DEPS ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
  # What the tests themselves do takes little time.
  target_compile_options(${name} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O1>)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  if(NOT TARGET unit_tests)
    add_custom_target(unit_tests)  # also what the sanitizers are for: no daemons, kits and tools
  endif()
  add_dependencies(unit_tests ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 300 LABELS unit)
endfunction()

function(understudy_fuzzer name)
  if(NOT UNDERSTUDY_FUZZ)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  understudy_common(${name} DEPS ${ARG_DEPS})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  if(NOT TARGET fuzzers)
    add_custom_target(fuzzers)  # what the preset is for; clang 14 does not build everything else
  endif()
  add_dependencies(fuzzers ${name})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
endfunction()
