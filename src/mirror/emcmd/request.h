#pragma once
// emcmd's command line, and how volumes and masks are written in it. Pure. Spec: EMC-001 to EMC-014, EMC-032.

#include "base/types.h"
#include "mirror/emcmd/status.h"
#include "mirror/emcmd/table.h"
#include "mirror/mirror_types.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::mirror::emcmd {

struct Request {
    std::string system;
    const Spec* spec = nullptr;
    std::vector<std::string> arguments;
    std::optional<std::string> proxy;
};

/// What a wrong command line prints on standard error; its status is always 87. Spec: EMC-006.
struct Refusal {
    std::string text;
    std::string unknown;  // the command, when there is none of that name
};

/// `words`: what follows "emcmd".
tl::expected<Request, Refusal> parse(std::span<const std::string> words);

/// "E", "e", "E:", "e:\": volume E, as only the first character counts. "vol:data": volume data, which is
/// this program's own form for names that are longer. nullopt: no volume can be meant. Spec: EMC-010 to
/// EMC-012.
std::optional<VolumeId> volume_of(std::string_view argument);
/// The other way: "E:" for volume E, "vol:data" for longer names.
std::string volume_root(const VolumeId& volume);
/// Without the colon: "E", "vol:data".
std::string volume_letter(const VolumeId& volume);

std::optional<MirrorType> type_of(std::string_view letter);  // A, S in any case

/// A mask in decimal, or with 0x in hexadecimal. nullopt: no number, or bits outside 0x3FF. Spec: EMC-180.
std::optional<unsigned> mask_of(std::string_view text);

}  // namespace understudy::mirror::emcmd
