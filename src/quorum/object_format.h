#pragma once
// The QWK object: one node's status record on the shared storage, 4096 bytes of text padded with NUL. Spec:
// QUO-081, QUO-084, QUO-085.

#include <cstddef>
#include <string_view>

namespace understudy::quorum {

inline constexpr std::size_t kObjectBytes = 4096;
inline constexpr std::string_view kSignature = "lifekeeper_qwk_object";

}  // namespace understudy::quorum
