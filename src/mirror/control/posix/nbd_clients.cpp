#include "mirror/control/posix/nbd_clients.h"

#include "base/text.h"
#include "messages/messages.h"

#include <algorithm>

namespace understudy::mirror::control {
namespace {

std::optional<runtime::Endpoint> parse_place(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const auto port = text::to_int(text.substr(colon + 1));
    std::string_view address = text.substr(0, colon);
    const bool six = address.find(':') != std::string_view::npos;
    if (six) {
        if (!address.starts_with('[') || !address.ends_with(']')) return std::nullopt;
        address = address.substr(1, address.size() - 2);
    }
    if (!port || *port < 1 || *port > 65535 || address.empty()) return std::nullopt;
    return runtime::Endpoint{std::string(address), static_cast<std::uint16_t>(*port)};
}

}  // namespace

Result<std::map<VolumeId, runtime::Endpoint>> parse_nbd_places(std::string_view list) {
    std::map<VolumeId, runtime::Endpoint> out;
    for (std::string_view rest = text::trim(list); !rest.empty(); rest = text::trim(rest)) {
        const auto word = rest.substr(0, rest.find_first_of(" \t"));
        rest.remove_prefix(word.size());
        const auto equals = word.find('=');
        const auto place =
            equals == std::string_view::npos ? std::nullopt : parse_place(word.substr(equals + 1));
        if (!place || equals == 0)
            return fail(Code::bad_argument, "\"{}\" is not VOLUME=ADDRESS:PORT, such as data=10.0.0.1:10809",
                        word);
        const bool taken =
            std::any_of(out.begin(), out.end(), [&](const auto& one) { return one.second == *place; });
        if (taken || !out.emplace(VolumeId(std::string(word.substr(0, equals))), *place).second)
            return fail(Code::bad_argument,
                        "\"{}\" is there twice: each volume has one place, each place one volume", word);
    }
    return out;
}

Result<> NbdClients::reload(const runtime::Files& files) {
    if (options_.places.empty()) return {};
    runtime::CredentialPaths credentials = options_.credentials;
    // Whoever may be removed is a node.
    if (!credentials.clients.empty()) credentials.removed.clear();
    auto loaded = runtime::load_tls_server(credentials, files);
    const std::lock_guard lock(mutex_);
    server_ = loaded ? *loaded : nullptr;
    problem_ = loaded ? std::string() : loaded.error().text;
    if (!loaded) return fail(loaded.error());
    return {};
}

void NbdClients::set_authorities(std::string file) {
    options_.credentials.clients = std::move(file);
}

Result<std::unique_ptr<runtime::TlsPipe>> NbdClients::begin_tls() const {
    std::shared_ptr<const runtime::TlsServer> server;
    {
        const std::lock_guard lock(mutex_);
        if (!server_) return fail(Code::failure, "{}", problem_);
        server = server_;
    }
    return server->accept();
}

std::optional<NbdTcpOptions> NbdClients::of(const VolumeId& volume) {
    const auto at = options_.places.find(volume);
    if (at == options_.places.end()) return std::nullopt;
    NbdTcpOptions tcp;
    tcp.address = at->second.address;
    tcp.port = at->second.port;
    tcp.plain = options_.plain;
    tcp.begin_tls = [this] { return begin_tls(); };
    tcp.report = [](const std::string& text) { messages::warning("{}", text); };
    return tcp;
}

}  // namespace understudy::mirror::control
