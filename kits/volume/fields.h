#pragma once
// What the information of a volume resource says, and the words that create and extend take besides. Pure.
// Spec: KIT-058, KIT-059, KIT-068, KIT-072.
//
//   stays in the information   mount fs options volume_type delete_mirror
//   the kit's own note there   mirror_made=NODE: create or extend made NODE's part of the mirror
//   said once, not kept        how a mirror is made (device target target_device source_address
//   target_address
//                              mirror_type), where a shared volume lies (device area)

#include "base/result.h"
#include "kits/sdk/cluster.h"

#include <optional>
#include <string>

namespace understudy::kits {

inline constexpr const char* kMirrorMade = "mirror_made";

/// Code::bad_argument, naming the word that is wrong.
Result<> check_fields(const Words& words);

/// A mirror that is to be made. Of the first one: several targets with commas, as `understudy mirror create`
/// takes them.
struct NewMirror {
    std::string target;         // the first mirror's, empty: none yet; the node itself otherwise
    std::string device;         // of this node
    std::string target_device;  // of the first mirror's target
    std::string source_address;
    std::string target_address;
    std::string type;  // sync or async

    friend bool operator==(const NewMirror&, const NewMirror&) = default;
};

/// The volume's first mirror, from this node to `target`, which is empty when only a device is given: then
/// the volume gets its target when it is extended. Nothing when no word speaks of either. Code::bad_argument
/// when some of the words are missing. Spec: KIT-068
Result<std::optional<NewMirror>> first_mirror(const Words& words);
/// One target more, which is `node`; likewise.
Result<std::optional<NewMirror>> one_target_more(const Words& words, const std::string& node);

/// The information without what is said once, and without the note.
Words lasting(Words words);
/// The same with the note that this node's part is the kit's work, which therefore deletes it again unless it
/// was told otherwise. Spec: KIT-072
Words noted(Words words, const std::string& node);
/// As ins_setin takes it. Code::bad_argument: a value that cannot be written there.
Result<std::string> information(const Words& words);

/// What a host knows of a mirrored volume.
struct MirrorView {
    bool source = false;             // this host is
    bool mirroring = false;          // with its source, or its first target
    std::string source_node;         // as far as it knows
    std::vector<std::string> peers;  // the volume's other hosts
    std::string id = {};             // of the mirror; empty: mirrord is older than that

    [[nodiscard]] bool has(const std::string& node) const;
    friend bool operator==(const MirrorView&, const MirrorView&) = default;
};
/// From `understudy mirror status --json`; nothing when `volume` is not among its mirrors. Code::internal.
Result<std::optional<MirrorView>> parse_status(std::string_view json, const std::string& volume);

/// The attributes of a volume from what GETCONFIGURATION prints. Code::internal. Spec: EMC-181
Result<unsigned> parse_attributes(std::string_view printed);

}  // namespace understudy::kits
