// qwk.sock: other programs ask what quorum and witness say. Spec: QUO-124 to QUO-126.

#include "messages/messages.h"
#include "quorum/guard_impl.h"
#include "quorum/request.h"

namespace understudy::quorum {
namespace {

constexpr std::size_t kMaxClients = 16;

}  // namespace

void Guard::Impl::listen() {
    if (options.socket_path.empty()) return;
    auto made = world.network.listen(
        {options.socket_path, 0}, runtime::Security::plain,
        [this](std::unique_ptr<runtime::Channel> channel) { accept(std::move(channel)); });
    if (!made)
        return note(
            {Note::Severity::error, 18110, fmt::format("{}: {}", options.socket_path, made.error().text)});
    listener = std::move(*made);
}

void Guard::Impl::accept(std::unique_ptr<runtime::Channel> channel) {
    // Only root may ask: the socket's directory is root's, and this is checked besides.
    if (clients.size() >= kMaxClients || channel->peer().uid != 0) return channel->close();
    const auto id = next_client++;
    auto& kept = clients[id] = std::move(channel);
    const auto drop = [this, id] {
        world.tasks.post([weak = weak_from_this(), id] {
            if (const auto self = weak.lock()) self->clients.erase(id);
        });
    };
    kept->start(
        [this, id, drop](std::span<const std::byte> frame) {
            // Short reads are the channel's business: it closes. What is too long is refused here.
            if (frame.size() > kMaxRequestBytes) {
                note({Note::Severity::error, 18178, fmt::format("a request of {} bytes", frame.size())});
                return drop();
            }
            scope.spawn(answer(id, std::string(reinterpret_cast<const char*>(frame.data()), frame.size())));
        },
        [drop](const Error&) { drop(); });
}

runtime::Task<> Guard::Impl::answer(std::uint64_t client, std::string text) {
    const auto request = decode_request(text, known());
    std::string reply;
    if (!request) {
        note({Note::Severity::error, request.error().number, request.error().text});
        reply = answer_text(request.error());
    } else {
        refresh();
        switch (request->kind) {
            case Request::Kind::quorum_verify:
                reply = answer_text(to_string(check()));
                break;
            case Request::Kind::witness_verify: {
                const auto verdict = co_await witness(request->event, request->target);
                reply = answer_text(verdict ? to_string(*verdict) : std::string_view("none"));
                break;
            }
            case Request::Kind::terminate:
                note({Note::Severity::info, 18169, "terminate requested; lkstop stops this node"});
                reply = answer_text("refused");
                break;
        }
    }
    const auto at = clients.find(client);
    if (at == clients.end()) co_return;
    (void)at->second->send(std::as_bytes(std::span(reply.data(), reply.size())));
}

}  // namespace understudy::quorum
