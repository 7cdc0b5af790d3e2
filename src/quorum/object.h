#pragma once
// QWK objects as values and as bytes. Pure. What comes from the storage is checked here, once: a torn or
// damaged record is an error, never an update. Spec: QUO-084 to QUO-086.

#include "base/result.h"
#include "base/types.h"
#include "quorum/object_format.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace understudy::quorum {

/// How a node sees a peer.
enum class CommStat : std::uint8_t { unknown, up, down };
std::string_view to_string(CommStat stat);

struct Object {
    NodeName owner;
    std::string time;  // of the write, for people; never compared. Spec: QUO-053
    std::uint64_t sequence = 0;
    std::vector<std::pair<NodeName, CommStat>> peers;
    friend bool operator==(const Object&, const Object&) = default;
};

/// kObjectBytes bytes. Names that do not fit are an internal error: 32 nodes of 63 characters do.
std::string encode(const Object& object);
/// Errors carry the message's number (18134 to 18146). `owner`: whose object it must be.
Result<Object> decode_object(std::string_view bytes, const NodeName& owner);

/// FNV-1a, 64 bit.
std::uint64_t checksum(std::string_view bytes);

}  // namespace understudy::quorum
