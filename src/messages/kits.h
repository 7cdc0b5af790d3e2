#pragma once
// The messages of the recovery kits.

#include "messages/messages.h"

namespace understudy::messages {

#define MESSAGE(number, severity, name, english, japanese) \
    inline constexpr Message name{number, Severity::severity, english, japanese};
#include "messages/kits.def"
#undef MESSAGE

}  // namespace understudy::messages
