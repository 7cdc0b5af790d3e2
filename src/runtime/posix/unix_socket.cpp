#include "runtime/posix/unix_socket.h"

#include "runtime/posix/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace understudy::runtime {

namespace {

constexpr int kListenQueue = 128;
constexpr mode_t kSocketMode = 0666;

tl::unexpected<Error> already_running(const std::string& path, std::int32_t pid) {
    const std::string who = pid > 0 ? fmt::format("process {}", pid) : "another process";
    return fail(Code::exists, "already running: {} listens on {}", who, path);
}

}  // namespace

Result<UnixListenSocket> UnixListenSocket::open(const std::string& path) {
    UNDERSTUDY_TRY(const SocketAddress address, to_socket_address({path, 0}));
    const std::string lock_path = path + ".lock";
    Descriptor lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!lock) return fail(Code::failure, "cannot create {}: {}", lock_path, strerror(errno));
    const bool locked = ::flock(lock.get(), LOCK_EX | LOCK_NB) == 0;
    if (!locked && errno != EWOULDBLOCK)
        return fail(Code::failure, "cannot lock {}: {}", lock_path, strerror(errno));

    bool busy = false;
    if (auto alive = connect_unix(path, busy)) return already_running(path, unix_peer(alive->get()).pid);
    if (busy || !locked) return already_running(path, 0);

    // Only a socket is removed: a path given by mistake must not cost a file.
    struct stat found {};
    if (::lstat(path.c_str(), &found) == 0) {
        if (!S_ISSOCK(found.st_mode))
            return fail(Code::exists, "{} exists and is not a socket: remove it or choose another path",
                        path);
        if (::unlink(path.c_str()) != 0)
            return fail(Code::failure, "cannot remove the old socket {}: {}", path, strerror(errno));
    }

    Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!socket) return fail(Code::failure, "cannot create a socket: {}", strerror(errno));
    if (::bind(socket.get(), address.get(), address.length) != 0)
        return fail(Code::failure, "cannot make the socket {}: {}", path, strerror(errno));
    UnixListenSocket out(path, std::move(lock), std::move(socket));
    if (::chmod(path.c_str(), kSocketMode) != 0)
        return fail(Code::failure, "cannot set the mode of {}: {}", path, strerror(errno));
    if (::listen(out.fd(), kListenQueue) != 0)
        return fail(Code::failure, "cannot listen on {}: {}", path, strerror(errno));
    return out;
}

UnixListenSocket::~UnixListenSocket() {
    if (!socket_) return;  // moved from
    ::unlink(path_.c_str());
}

Result<Descriptor> connect_unix(const std::string& path, bool& busy) {
    busy = false;
    UNDERSTUDY_TRY(const SocketAddress address, to_socket_address({path, 0}));
    Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!socket) return fail(Code::failure, "cannot create a socket: {}", strerror(errno));
    if (::connect(socket.get(), address.get(), address.length) == 0) return socket;
    busy = errno == EAGAIN;
    return fail(connect_error({path, 0}, errno));
}

PeerIdentity unix_peer(int fd) {
    PeerIdentity out;
    ucred credentials{};
    socklen_t length = sizeof credentials;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0) {
        out.uid = credentials.uid;
        out.gid = credentials.gid;
        out.pid = credentials.pid;
    }
    return out;
}

}  // namespace understudy::runtime
