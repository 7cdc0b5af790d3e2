#include "mirror/control/posix/data_sockets.h"

#include "mirror/control/posix/socket_io.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <list>
#include <map>
#include <thread>

namespace understudy::mirror::control {

namespace {

/// Connections that have not shown who they are; a further one is closed at once.
constexpr std::size_t kMaxCandidates = 16;

class SocketPair : public LinkPair {
  public:
    using LinkPair::LinkPair;
    ~SocketPair() override {
        if (data_ >= 0) close(data_);
        if (resync_ >= 0) close(resync_);
    }
};

/// A connection to the target's port on its way to being a link.
struct Candidate {
    explicit Candidate(int fd) : socket(fd) {}
    Socket socket;
    std::size_t received = 0;
    bool answered = false;
    LinkHello hello{};
    LinkAnswer answer{};
    LinkProof proof{};
    LinkKind kind = LinkKind::data;
};

/// The target's side: accepts until both links are there.
class Acceptor {
  public:
    Acceptor(Socket listener, int wake, SessionId session, SessionKey key,
             std::array<Nonce, kMaxCandidates> nonces)
        : listener_(std::move(listener)), wake_(wake), session_(session), key_(key), nonces_(nonces) {}

    LinkResult run() {
        const auto deadline = SocketClock::now() + kSessionLimit;
        while (!(data_.valid() && resync_.valid())) {
            std::vector<pollfd> waits{{listener_.fd(), POLLIN, 0}, {wake_, POLLIN, 0}};
            for (const Candidate& one : candidates_)
                waits.push_back({one.socket.fd(), POLLIN, 0});
            const int left = milliseconds_until(deadline);
            if (left <= 0) return fail(Code::unreachable, "no data links within the limit{}", refused_);
            if (poll(waits.data(), waits.size(), left) < 0 && errno != EINTR)
                return fail(Code::failure, "poll: {}", system_text(errno));
            if (waits[1].revents != 0) return fail(Code::failure, "the session was given up");
            std::size_t index = 2;
            for (auto at = candidates_.begin(); at != candidates_.end(); ++index) {
                const bool keep = waits[index].revents == 0 || advance(*at);
                at = keep ? std::next(at) : candidates_.erase(at);
            }
            if (waits[0].revents != 0) accept_one();
        }
        for (const Socket* link : {&data_, &resync_})
            UNDERSTUDY_CHECK(make_link(link->fd()));
        return std::make_shared<SocketPair>(data_.release(), resync_.release());
    }

  private:
    void accept_one() {
        Socket made(accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!made.valid() || candidates_.size() >= kMaxCandidates || accepted_ >= nonces_.size()) return;
        ++accepted_;
        candidates_.emplace_back(made.release());
    }

    /// False when the candidate is done with, as a link or as a stranger.
    bool advance(Candidate& one) {
        const std::span<std::byte> into =
            one.answered ? std::span<std::byte>(one.proof) : std::span<std::byte>(one.hello);
        const ssize_t got = recv(one.socket.fd(), into.data() + one.received, into.size() - one.received, 0);
        if (got < 0) return errno == EAGAIN || errno == EINTR;
        if (got == 0) return false;
        one.received += static_cast<std::size_t>(got);
        if (one.received < into.size()) return true;
        one.received = 0;
        return one.answered ? finish(one) : answer(one);
    }

    bool answer(Candidate& one) {
        const auto fields = parse_hello(one.hello);
        if (!fields || fields->session != session_) {
            refused_ = fmt::format(" ({})", fields ? "a link of another session came" : fields.error().text);
            return false;
        }
        one.kind = fields->kind;
        one.answer = make_answer(key_, one.hello, nonces_[answers_++]);
        one.answered = true;
        // 64 bytes into an empty send buffer.
        return send(one.socket.fd(), one.answer.data(), one.answer.size(), MSG_NOSIGNAL) ==
               static_cast<ssize_t>(one.answer.size());
    }

    bool finish(Candidate& one) {
        Socket& place = one.kind == LinkKind::data ? data_ : resync_;
        if (!proof_holds(key_, one.hello, one.answer, one.proof) || place.valid()) {
            refused_ = " (a link without the session's key came)";
            return false;
        }
        place = std::move(one.socket);
        return false;
    }

    Socket listener_;
    int wake_;
    SessionId session_;
    SessionKey key_;
    std::array<Nonce, kMaxCandidates> nonces_;
    std::list<Candidate> candidates_;
    std::size_t accepted_ = 0;
    std::size_t answers_ = 0;
    Socket data_;
    Socket resync_;
    std::string refused_;
};

Result<Socket> connect_link(const runtime::Endpoint& remote, const std::string& local_address,
                            const SessionKey& key, const HelloFields& fields, int wake,
                            SocketClock::time_point deadline) {
    UNDERSTUDY_TRY(Socket link, connect_socket(remote, local_address, wake, deadline));
    const LinkHello hello = make_hello(fields);
    LinkAnswer answer{};
    UNDERSTUDY_CHECK(send_all(link.fd(), hello, wake, deadline));
    UNDERSTUDY_CHECK(receive_all(link.fd(), answer, wake, deadline));
    UNDERSTUDY_TRY(const LinkProof proof, make_proof(key, hello, answer));
    UNDERSTUDY_CHECK(send_all(link.fd(), proof, wake, deadline));
    UNDERSTUDY_CHECK(make_link(link.fd()));
    return link;
}

}  // namespace

struct TcpDataLinks::Impl {
    struct Job {
        Socket wake{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
        std::thread thread;
        std::function<void(LinkResult)> done;  // loop thread only; empty: nobody waits any more

        void cancel() {
            const std::uint64_t one = 1;
            [[maybe_unused]] const ssize_t written = write(wake.fd(), &one, sizeof one);
        }
    };

    Impl(runtime::World world_in, std::uint16_t base, std::uint16_t increment)
        : world(world_in), port_base(base), port_increment(increment) {}

    /// Runs `work` on a thread and gives its result to `done` on the loop.
    std::uint64_t start(std::function<LinkResult(int wake)> work, std::function<void(LinkResult)> done) {
        const std::uint64_t id = next++;
        Job& job = jobs[id];
        job.done = std::move(done);
        std::weak_ptr<int> weak = alive;
        job.thread = std::thread([this, id, weak, wake = job.wake.fd(), work = std::move(work)] {
            auto result = std::make_shared<LinkResult>(work(wake));
            world.tasks.post_from_thread([this, id, weak, result] {
                if (weak.lock()) finish(id, *result);
            });
        });
        return id;
    }

    void finish(std::uint64_t id, LinkResult result) {
        const auto at = jobs.find(id);
        if (at == jobs.end()) return;
        at->second.thread.join();
        const auto done = std::move(at->second.done);
        jobs.erase(at);
        if (done) done(std::move(result));
    }

    runtime::World world;
    std::uint16_t port_base, port_increment;
    std::map<std::uint64_t, Job> jobs;
    std::map<VolumeId, std::uint64_t> expected;
    std::uint64_t next = 1;
    std::shared_ptr<int> alive = std::make_shared<int>(0);
};

TcpDataLinks::TcpDataLinks(runtime::World world, std::uint16_t port_base, std::uint16_t port_increment)
    : impl_(std::make_unique<Impl>(world, port_base, port_increment)) {}

TcpDataLinks::~TcpDataLinks() {
    impl_->alive.reset();
    for (auto& [id, job] : impl_->jobs)
        job.cancel();
    for (auto& [id, job] : impl_->jobs)
        job.thread.join();
}

Result<std::uint16_t> TcpDataLinks::expect(const VolumeId& volume, const std::string& address,
                                           const SessionId& session, const SessionKey& key,
                                           std::function<void(LinkResult)> done) {
    forget(volume);
    Socket listener;
    std::uint16_t port = 0;
    std::string why;
    for (int attempt = 0; attempt < kMaxPortAttempts && !listener.valid(); ++attempt) {
        port = data_port(volume, attempt, impl_->port_base, impl_->port_increment);
        if (port == 0) break;
        auto made = listen_socket({address, port});
        if (made) {
            listener = std::move(*made);
        } else {
            why = made.error().text;
            if (made.error().code != Code::exists)
                break;  // only a busy port is worth another one. Spec: REP-040
        }
    }
    if (!listener.valid())
        return fail(Code::failure, "no port for the data links of volume {} at {}: {}", volume.str(), address,
                    why);
    std::array<Nonce, kMaxCandidates> nonces;
    for (Nonce& nonce : nonces)
        impl_->world.random.fill(nonce);
    auto acceptor = std::make_shared<std::optional<Socket>>(std::move(listener));
    impl_->expected[volume] = impl_->start(
        [acceptor, session, key, nonces](int wake) {
            Acceptor work(std::move(**acceptor), wake, session, key, nonces);
            return work.run();
        },
        std::move(done));
    return port;
}

void TcpDataLinks::set_ports(std::uint16_t base, std::uint16_t increment) {
    impl_->port_base = base;
    impl_->port_increment = increment;
}

void TcpDataLinks::forget(const VolumeId& volume) {
    const auto at = impl_->expected.find(volume);
    if (at == impl_->expected.end()) return;
    const auto job = impl_->jobs.find(at->second);
    impl_->expected.erase(at);
    if (job == impl_->jobs.end()) return;
    job->second.done = {};
    job->second.cancel();
    // The port must be free again when this returns; the thread ends as soon as it sees the event.
    job->second.thread.join();
    impl_->jobs.erase(job);
}

runtime::Task<LinkResult> TcpDataLinks::connect(runtime::Endpoint remote, std::string local_address,
                                                SessionId session, SessionKey key) {
    std::array<Nonce, 2> nonces;
    for (Nonce& nonce : nonces)
        impl_->world.random.fill(nonce);
    runtime::OneShot<LinkResult> made(impl_->world.tasks);
    impl_->start(
        [remote, local_address, session, key, nonces](int wake) -> LinkResult {
            const auto deadline = SocketClock::now() + kSessionLimit;
            UNDERSTUDY_TRY(Socket data, connect_link(remote, local_address, key,
                                                     {LinkKind::data, session, nonces[0]}, wake, deadline));
            UNDERSTUDY_TRY(Socket resync,
                           connect_link(remote, local_address, key, {LinkKind::resync, session, nonces[1]},
                                        wake, deadline));
            return std::make_shared<SocketPair>(data.release(), resync.release());
        },
        [made](LinkResult result) { made.set(std::move(result)); });
    LinkResult result = co_await made;
    co_return result;
}

}  // namespace understudy::mirror::control
