#pragma once
// Versions and limits of the protocol between nodes that callers of the library may see.

namespace understudy::comm {

inline constexpr int kProtocolMajor =
    1;  // peers of another major version are refused (row 23 of cluster-core)
inline constexpr int kProtocolMinor = 0;

}  // namespace understudy::comm
