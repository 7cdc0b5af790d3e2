#pragma once
// The data path's parameters as the settings file gives them, with the manual's names. Spec: REP-269 to
// REP-297.

#include "base/types.h"
#include "config/settings.h"
#include "mirror/mirror_types.h"

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::mirror::control {

enum class Effect { at_once, at_connect, at_start, never };
std::string_view to_string(Effect effect);

/// One parameter; its range, default and meaning are the setting's of the same key.
struct Parameter {
    std::string_view key;
    bool own = false;                 // a volume may have its own value, which then wins
    Effect effect = Effect::at_once;  // of a volume's own value; the file's are read at the start of mirrord
};
std::span<const Parameter> parameter_table();

/// Settings that a volume may have for itself alone, by key: as it stands in its record.
using OwnParameters = std::map<std::string, std::string>;
std::span<const std::string_view> own_parameter_keys();

/// Of one volume: its own value where it has one, else the settings file's, else the default. Values that do
/// not fit together are made to; `problems` gets a text for each. Spec: REP-103, REP-269.
MirrorParameters parameters_of(const config::Settings& settings, const OwnParameters& own,
                               const VolumeId& volume, std::vector<std::string>& problems);

/// `own` with "KEY=value" applied; "KEY=" takes the volume's own value back. Errors: not a key that a volume
/// may have, a value out of its range, values that do not fit together.
Result<OwnParameters> with_changes(const config::Settings& settings, OwnParameters own,
                                   std::span<const std::string> changes, const VolumeId& volume);

/// For people: every parameter with its value, where that comes from, range and meaning.
std::string describe_parameters(const config::Settings& settings, const OwnParameters& own);

}  // namespace understudy::mirror::control
