#pragma once
// Byte forms inside this folder: single edits for the store, and the kind byte of the command frames.
// Pure; any thread.

#include "config/database.h"

#include <string>
#include <string_view>

namespace understudy::config {

std::string encode(const Edit& edit);
/// Code::internal when malformed, or when a value is one that no command could have stored.
Result<Edit> decode_edit(std::string_view data);

/// The first byte of every frame between client and daemon.
inline constexpr char kCommandFrame = 'C';
inline constexpr char kReplyFrame = 'R';

}  // namespace understudy::config
