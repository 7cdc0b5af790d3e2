#pragma once
// Talks to the keeper. Each call connects, asks, and returns within kLimit: the keeper is local and never
// blocks. Threading: any, no state.

#include "base/result.h"
#include "mirror/export/descriptor.h"

#include <chrono>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::mirror::keeper {

inline constexpr std::chrono::milliseconds kLimit{2000};

struct Kept {
    std::string state;
    std::vector<Descriptor> descriptors;
};

/// Errors of all: unreachable when no keeper answers at `socket_path`; failure with the keeper's own words.
Result<> put(const std::string& socket_path, std::string_view name, std::string_view state,
             std::span<const int> descriptors);
/// Error: not_found.
Result<Kept> get(const std::string& socket_path, std::string_view name);
Result<> drop(const std::string& socket_path, std::string_view name);
Result<std::vector<std::string>> list(const std::string& socket_path);

/// A connection that says nothing: it becomes readable when the keeper goes.
Result<Descriptor> connect(const std::string& socket_path);

}  // namespace understudy::mirror::keeper
