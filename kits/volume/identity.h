#pragma once
// Which mirror a volume resource is of, remembered on every node that has the resource: the file
// $LKROOT/subsys/filesys/resources/volume/LKDRInfo.<volume> with the mirror's id. Whoever has the volume in
// service tells the others, so that a node does not take over with a half that is left from another mirror of
// the same volume, whose content is of another time. Spec: CLU-087, KIT-085.

#include "base/result.h"
#include "config/layout.h"

#include <string>
#include <string_view>

namespace understudy::kits {

/// "{8-4-4-4-12}" of 32 hexadecimal digits, as mirrord's status has the id; empty when it is none.
std::string identity_text(std::string_view id);

/// The file, relative to $LKROOT, which is where lcdremexec's commands begin.
std::string identity_file(const std::string& volume);

/// The id that this node's file names, as identity_text() writes it; empty: no file, or a damaged one.
std::string known_identity(const config::Layout& layout, const std::string& volume);
/// Replaces the file, whatever it named. Of an empty id, which an older mirrord gives: nothing.
Result<> keep_identity(const config::Layout& layout, const std::string& volume, std::string_view id);
/// A file that is not there is forgotten already.
Result<> forget_identity(const config::Layout& layout, const std::string& volume);

/// Whether this node's mirror `id` is the one that the resource is of. What is not known yet is kept.
/// Code::failure naming both and what a person can do.
Result<> check_identity(const config::Layout& layout, const std::string& volume, std::string_view id);

/// A shell line that makes another node's file name `id`, and writes only when it does not; empty for an
/// empty id.
std::string line_to_keep_identity(const std::string& volume, std::string_view id);

}  // namespace understudy::kits
