#pragma once
// A small object in a directory that several hosts share (NFS, CIFS, a cluster file system). Blocking: for a
// process of its own, since a dead file server blocks whoever asks it. Spec: QUO-094.

#include "base/result.h"

#include <string>
#include <string_view>

namespace understudy::runtime {

/// Replaces the object: a new file, written through to the storage, renamed over the old one. Readers see the
/// old or the new content, never a mixture. `bytes` is a multiple of 4096.
Result<> write_shared_object(const std::string& path, std::string_view bytes);

/// Reads it past this host's cache where the file system can do that. At most `most` bytes, a multiple of
/// 4096.
Result<std::string> read_shared_object(const std::string& path, std::size_t most);

}  // namespace understudy::runtime
