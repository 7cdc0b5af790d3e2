#include "mirror/control/session.h"

#include "config/ports.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstring>
#include <vector>

namespace understudy::mirror::control {

namespace {

static_assert(kDispatchPort == config::kMirrorDispatchPort && kTargetPortBase == config::kMirrorFirstDataPort,
              "the table of ports is what firewalls are told");

constexpr std::array<char, 8> kMagic = {'U', 'S', 'M', 'L', 'I', 'N', 'K', '\0'};
constexpr std::uint8_t kLinkVersion = 1;
constexpr std::size_t kSessionAt = 16;
constexpr std::size_t kNonceAt = 32;
constexpr std::size_t kMacAt = 32;  // in the answer, after the nonce

// The label keeps an attacker from sending one side's proof back to it as the other's.
Mac mac_of(const SessionKey& key, std::string_view label, const LinkHello& hello, const Nonce& answer_nonce) {
    std::vector<std::byte> input(label.size() + hello.size() + answer_nonce.size());
    std::memcpy(input.data(), label.data(), label.size());
    std::memcpy(input.data() + label.size(), hello.data(), hello.size());
    std::memcpy(input.data() + label.size() + hello.size(), answer_nonce.data(), answer_nonce.size());
    Mac mac{};
    unsigned length = 0;
    HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
         reinterpret_cast<const unsigned char*>(input.data()), input.size(),
         reinterpret_cast<unsigned char*>(mac.data()), &length);
    return mac;
}

constexpr std::string_view kTargetLabel = "understudy link target";
constexpr std::string_view kSourceLabel = "understudy link source";

Nonce nonce_of(const LinkAnswer& answer) {
    Nonce nonce;
    std::memcpy(nonce.data(), answer.data(), nonce.size());
    return nonce;
}

}  // namespace

std::uint16_t data_port(const VolumeId& volume, int attempt, std::uint16_t base, std::uint16_t increment) {
    std::uint32_t offset = 26;
    if (volume.str().size() == 1) {
        const char c = volume.str().front();
        if (c >= 'A' && c <= 'Z') offset = static_cast<std::uint32_t>(c - 'A');
        if (c >= 'a' && c <= 'z') offset = static_cast<std::uint32_t>(c - 'a');
    }
    const std::uint32_t port = base + offset + static_cast<std::uint32_t>(attempt) * increment;
    return port > 65535 ? 0 : static_cast<std::uint16_t>(port);
}

LinkHello make_hello(const HelloFields& fields) {
    LinkHello hello{};
    std::memcpy(hello.data(), kMagic.data(), kMagic.size());
    hello[8] = std::byte{kLinkVersion};
    hello[9] = static_cast<std::byte>(fields.kind);
    std::memcpy(hello.data() + kSessionAt, fields.session.data(), fields.session.size());
    std::memcpy(hello.data() + kNonceAt, fields.nonce.data(), fields.nonce.size());
    return hello;
}

Result<HelloFields> parse_hello(const LinkHello& hello) {
    if (std::memcmp(hello.data(), kMagic.data(), kMagic.size()) != 0)
        return fail(Code::internal, "not a mirror's data link");
    if (hello[8] != std::byte{kLinkVersion})
        return fail(Code::internal, "data link of version {}, this node speaks {}",
                    static_cast<int>(hello[8]), kLinkVersion);
    HelloFields fields;
    fields.kind = static_cast<LinkKind>(hello[9]);
    if (fields.kind != LinkKind::data && fields.kind != LinkKind::resync)
        return fail(Code::internal, "data link of unknown kind {}", static_cast<int>(hello[9]));
    std::memcpy(fields.session.data(), hello.data() + kSessionAt, fields.session.size());
    std::memcpy(fields.nonce.data(), hello.data() + kNonceAt, fields.nonce.size());
    return fields;
}

LinkAnswer make_answer(const SessionKey& key, const LinkHello& hello, const Nonce& nonce) {
    LinkAnswer answer{};
    std::memcpy(answer.data(), nonce.data(), nonce.size());
    const Mac mac = mac_of(key, kTargetLabel, hello, nonce);
    std::memcpy(answer.data() + kMacAt, mac.data(), mac.size());
    return answer;
}

Result<LinkProof> make_proof(const SessionKey& key, const LinkHello& hello, const LinkAnswer& answer) {
    const Nonce nonce = nonce_of(answer);
    const Mac expected = mac_of(key, kTargetLabel, hello, nonce);
    if (CRYPTO_memcmp(expected.data(), answer.data() + kMacAt, expected.size()) != 0)
        return fail(Code::internal, "what listens on the data port does not know the session's key");
    return mac_of(key, kSourceLabel, hello, nonce);
}

bool proof_holds(const SessionKey& key, const LinkHello& hello, const LinkAnswer& answer,
                 const LinkProof& proof) {
    const Mac expected = mac_of(key, kSourceLabel, hello, nonce_of(answer));
    return CRYPTO_memcmp(expected.data(), proof.data(), expected.size()) == 0;
}

}  // namespace understudy::mirror::control
