#pragma once
// Answers that operations of a mirror have in common.

#include "mirror/control/protocol.h"
#include "mirror/control/record.h"

namespace understudy::mirror::control {

inline tl::unexpected<Error> busy(const MirrorRecord& record) {
    return fail(Code::failure, "another operation on volume {} is still running; try again",
                record.volume.str());
}

inline PeerReply error_reply(const Error& error) {
    PeerReply reply;
    reply.code = error.code == Code::ok ? Code::failure : error.code;
    reply.error = error.text;
    return reply;
}

}  // namespace understudy::mirror::control
