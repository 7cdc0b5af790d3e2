// The member's side of enrolment.

#include "comm/enrolment.h"

#include "base/text.h"
#include "comm/credentials.h"
#include "comm/pki.h"
#include "comm/proposals.h"
#include "comm/rotation.h"
#include "comm/wire.h"
#include "messages/messages.h"

namespace understudy::comm {
namespace {

// A closed channel is kept so long, so that the answer gets out; its place is free again then.
constexpr auto kLinger = std::chrono::seconds(1);
// Nodes of neighbouring major versions work together while a cluster is upgraded, others do not. Spec:
// DEP-216.
constexpr std::int64_t kMaxMajorDifference = 1;

std::optional<std::int64_t> major_of(std::string_view version) {
    return text::to_int(version.substr(0, version.find('.')));
}

}  // namespace

struct EnrolmentService::Impl : std::enable_shared_from_this<EnrolmentService::Impl> {
    Impl(runtime::World w, Options o, Hooks h)
        : world(w),
          options(std::move(o)),
          hooks(std::move(h)),
          files(options.pki_directory),
          tokens(world.files, world.random, files.tokens) {}

    void accepted(std::unique_ptr<runtime::Channel> channel);
    void on_frame(std::uint64_t id, std::span<const std::byte> bytes);
    void finish(std::uint64_t id);
    Result<wire::JoinReply> admit(const wire::JoinRequest& request, const runtime::Channel& channel);
    Result<> check_request(const wire::JoinRequest& request, const TokenStore::Open& token) const;
    Result<KeyAndCertificate> ca() const;

    template <class Function>
    auto guarded(Function function) {
        return [weak = weak_from_this(), function = std::move(function)](auto&&... args) {
            if (const auto self = weak.lock(); self && !self->stopped)
                function(*self, std::forward<decltype(args)>(args)...);
        };
    }

    runtime::World world;
    Options options;
    Hooks hooks;
    CredentialFiles files;
    TokenStore tokens;
    AttemptLimiter limiter;
    bool stopped = false;
    std::uint64_t next_id = 1;
    std::map<std::uint64_t, std::unique_ptr<runtime::Channel>> waiting;
    std::map<runtime::Endpoint, std::unique_ptr<runtime::Listener>> listeners;
};

Result<KeyAndCertificate> EnrolmentService::Impl::ca() const {
    UNDERSTUDY_TRY(const auto trusted, world.files.read(files.ca_certificate));
    auto out = load_ca(world, options.pki_directory);
    // Who joins now would get a certificate of the authority that is being replaced.
    if (split_certificates(trusted).size() > 1)
        return fail(Code::failure, "new keys are being made for the cluster: try again when that is done");
    if (!out && out.error().code == Code::not_found)
        return fail(Code::not_found,
                    "{} does not hold the key of the cluster's certificate authority ({}): it comes from the "
                    "first member that is ALIVE and has it; try again, or use another member",
                    options.self.str(), files.ca_key);
    return out;
}

void EnrolmentService::Impl::accepted(std::unique_ptr<runtime::Channel> channel) {
    if (waiting.size() >= kMaxWaiting) return channel->close();
    const auto id = next_id++;
    auto* started = (waiting[id] = std::move(channel)).get();
    world.tasks.after(kRequestLimit, guarded([id](Impl& self) { self.waiting.erase(id); }));
    started->start(guarded([id](Impl& self, std::span<const std::byte> bytes) { self.on_frame(id, bytes); }),
                   guarded([id](Impl& self, const Error&) { self.finish(id); }));
}

// Not on the stack of the channel's own callback.
void EnrolmentService::Impl::finish(std::uint64_t id) {
    world.tasks.post(guarded([id](Impl& self) { self.waiting.erase(id); }));
}

void EnrolmentService::Impl::on_frame(std::uint64_t id, std::span<const std::byte> bytes) {
    const auto at = waiting.find(id);
    if (at == waiting.end()) return;
    auto& channel = *at->second;
    const auto from = channel.remote_endpoint().address;
    const auto frame = wire::decode(bytes);
    const auto* request = frame ? std::get_if<wire::JoinRequest>(&*frame) : nullptr;
    Result<wire::JoinReply> reply = !frame               ? fail(frame.error())
                                    : request == nullptr ? fail(Code::internal, "not an enrolment request")
                                                         : admit(*request, channel);
    if (!reply) {
        messages::warning("enrolment from {} refused: {}", from, reply.error().text);
        reply = wire::JoinReply{reply.error().code, std::move(reply.error().text)};
    }
    const auto out = wire::encode(std::move(*reply));
    channel.send(std::as_bytes(std::span(out.data(), out.size())));
    channel.close();  // sends it first
    world.tasks.after(kLinger, guarded([id](Impl& self) { self.waiting.erase(id); }));
}

Result<> EnrolmentService::Impl::check_request(const wire::JoinRequest& request,
                                               const TokenStore::Open& token) const {
    const NodeName node(request.node);
    if (!wire::is_node_name(request.node))
        return fail(Code::bad_argument, "\"{}\" cannot be a node's name", request.node);
    if (token.replaces && *token.replaces != node)
        return fail(Code::bad_argument, "this token is for setting up {} anew, not for {}",
                    token.replaces->str(), node.str());
    if (node == options.self || (!token.replaces && hooks.known(node)))
        return fail(Code::exists,
                    "the cluster has a node named {} already: choose another name, or, if this is that node "
                    "set up anew, "
                    "make a token that replaces it",
                    node.str());
    const auto their_major = major_of(request.software);
    const auto our_major = major_of(options.software_version);
    if (!their_major || !our_major || std::abs(*their_major - *our_major) > kMaxMajorDifference)
        return fail(
            Code::bad_argument,
            "{} has version {} and {} has version {}, which do not work together: upgrade the older one",
            node.str(), request.software, options.self.str(), options.software_version);
    const auto ours = world.clock.wall().time_since_epoch().count();
    constexpr auto kMost = std::chrono::duration_cast<std::chrono::microseconds>(kMaxClockDifference).count();
    // Written without a subtraction of the peer's number, which may be anything.
    if (request.wall_us > ours + kMost || request.wall_us < ours - kMost)
        return fail(Code::bad_argument,
                    "the clocks of {} and {} are more than {} s apart: set them right first", node.str(),
                    options.self.str(), kMaxClockDifference.count());
    return {};
}

Result<wire::JoinReply> EnrolmentService::Impl::admit(const wire::JoinRequest& request,
                                                      const runtime::Channel& channel) {
    const auto from = channel.remote_endpoint().address;
    const auto now = world.clock.now();
    if (const auto wait = limiter.wait(from, now); wait > runtime::Duration{})
        return fail(Code::failure, "too many wrong tokens: try again in {} s",
                    std::chrono::ceil<std::chrono::seconds>(wait).count());
    std::string why;
    const auto token = tokens.check(request.secret, world.clock.wall(), &why);
    if (!token) {
        messages::warning("the token that came from {} is not valid: {}", from, why);
        limiter.failed(from, now);
        return fail(token.error());
    }
    UNDERSTUDY_CHECK(check_request(request, *token));
    const NodeName node(request.node);
    UNDERSTUDY_TRY(auto paths, member_ends(request.paths, node, channel));
    UNDERSTUDY_TRY(const auto issuer, ca());
    wire::JoinReply reply;
    UNDERSTUDY_TRY(reply.certificate_pem, sign_request(issuer, node, request.request_pem,
                                                       hooks.next_issue ? hooks.next_issue(node) : 1));
    UNDERSTUDY_TRY(reply.cluster, cluster_name(issuer.certificate));
    reply.ca_pem = issuer.certificate;
    reply.member = options.self.str();

    // Used before anything else is changed: a crash from here on wastes the token, it never lets it be used
    // twice.
    UNDERSTUDY_CHECK(tokens.mark_used(token->hash, node));
    auto created = hooks.accept_paths(node, std::move(paths));
    if (!created) {
        if (const auto open = tokens.reopen(token->hash); !open)
            messages::warning("the token stays used: {}", open.error().text);
        return fail(std::move(created.error()));
    }
    reply.paths = to_wire(*created);
    messages::info("{} joined the cluster from {}", node.str(), from);
    return reply;
}

EnrolmentService::EnrolmentService(runtime::World world, Options options, Hooks hooks)
    : impl_(std::make_shared<Impl>(world, std::move(options), std::move(hooks))) {}

EnrolmentService::~EnrolmentService() {
    impl_->stopped = true;
    impl_->listeners.clear();
    impl_->waiting.clear();
}

Result<> EnrolmentService::listen(const std::string& address, std::uint16_t port) {
    const runtime::Endpoint at{address, port};
    auto listener =
        impl_->world.network.listen(at, runtime::Security::enrolment,
                                    impl_->guarded([](Impl& self, std::unique_ptr<runtime::Channel> channel) {
                                        self.accepted(std::move(channel));
                                    }));
    if (!listener) return with_context(std::move(listener.error()), "enrolment");
    impl_->listeners[at] = std::move(*listener);
    return {};
}

Result<std::string> EnrolmentService::create_token(runtime::Duration lifetime,
                                                   const std::optional<NodeName>& replaces) {
    UNDERSTUDY_TRY(const auto issuer, impl_->ca());
    Token token;
    UNDERSTUDY_TRY(token.ca_fingerprint, fingerprint(issuer.certificate));
    UNDERSTUDY_TRY(token.secret, impl_->tokens.create(lifetime, replaces, impl_->world.clock.wall()));
    return to_string(token);
}

}  // namespace understudy::comm
