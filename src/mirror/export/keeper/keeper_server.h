#pragma once
// The keeper: holds file descriptors for processes that may die. It does nothing else, so that it has no
// reason to die itself: no dependencies, one thread, bounded everything, memory locked. Threading: one
// thread; stop() may be called from a signal handler.

#include "base/result.h"

#include <memory>
#include <string>

namespace understudy::mirror::keeper {

class Server {
  public:
    /// Listens at `socket_path` (mode 0600). Errors: exists when another keeper serves it; path too long; no
    /// right.
    static Result<std::unique_ptr<Server>> listen(const std::string& socket_path);
    virtual ~Server() = default;
    /// Serves until stop(). Peers of another user than root (or the keeper's own) are turned away.
    virtual Result<> run() = 0;
    virtual void stop() = 0;
};

}  // namespace understudy::mirror::keeper
