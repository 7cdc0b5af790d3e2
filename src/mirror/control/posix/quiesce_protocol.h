#pragma once
// Between mirrord and the helper that keeps file systems frozen: what it prints, and how it ends.

namespace understudy::mirror::control {

inline constexpr char kFrozenLine[] = "frozen";  // all are; SIGTERM lets them go
inline constexpr int kQuiesceFailed = 1;         // the last line printed says why; nothing is frozen any more
inline constexpr int kQuiesceLate = 3;           // the limit passed before SIGTERM came; thawed by itself

}  // namespace understudy::mirror::control
