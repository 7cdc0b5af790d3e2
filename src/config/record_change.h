#pragma once
// A change of one node's records that is a part of a change of several nodes (daemons/transaction.h). It is
// decided against what the node has at the moment, so that doing it twice is doing it once, and that what
// somebody else has made meanwhile is neither overwritten nor removed. Pure.

#include "base/result.h"
#include "config/database.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::config {

/// Properties of an instance that people set, by the names of the definition file.
inline constexpr std::string_view kProperties[] = {"initialization", "switchback", "local_recovery",
                                                   "quick_check",    "deep_check", "info"};
/// The property as text; empty for an unknown name.
std::string property(const Instance& instance, std::string_view name);
/// Code::bad_argument for an unknown name or an illegal value, Code::out_of_range for an interval beyond its
/// limits.
Result<> set_property(Instance& instance, std::string_view name, const std::string& value);

/// `info` with the word KEY=VALUE in it, in place of one with that key; an empty value takes the word away. A
/// value with blanks is quoted, as kits read it.
std::string with_info_word(const std::string& info, const std::string& key, const std::string& value);

struct PropertyChange {
    Tag tag;
    std::string name;
    std::string value;
    std::optional<std::string> only_if = {};  // the present value; another one stays
    friend bool operator==(const PropertyChange&, const PropertyChange&) = default;
};

/// An instance goes with its dependencies and its node's records of its equivalencies. When another one has
/// its tag by now, nothing goes.
struct Removal {
    Tag tag;
    ResourceId id;
    std::int64_t created_at = 0;
    friend bool operator==(const Removal&, const Removal&) = default;
};

struct RecordChange {
    /// Instances in it are new ones.
    std::vector<Edit> edits = {};
    std::vector<Removal> removals = {};
    std::vector<PropertyChange> properties = {};
    std::vector<Tag> idle = {};        // must be out of service and not reserved
    std::vector<Tag> unreserved = {};  // must not be reserved
    [[nodiscard]] bool empty() const { return edits.empty() && removals.empty() && properties.empty(); }
};

/// What has to be committed; empty when all of it is there already. Code::exists: a tag or id is taken.
/// Code::not_found: an instance to be set is gone. Code::failure: one is in service or reserved.
Result<std::vector<Edit>> edits_for(const NodeConfig& own, const RecordChange& change);

/// For the wire and the journal. decode reports Code::internal on malformed input.
std::string encode(const RecordChange& change);
Result<RecordChange> decode_record_change(std::string_view data);

}  // namespace understudy::config
