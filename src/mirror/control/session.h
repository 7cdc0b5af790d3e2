#pragma once
// The data links of one session: which port the target listens on, and how each side proves on a fresh TCP
// connection that it took part in the dispatch handshake (whose TLS channel carried the session key).
//
//   source                                   target
//     LinkHello (kind, session, nonce)  -->
//                                       <--  LinkAnswer (nonce, HMAC by the key over both)
//     LinkProof (HMAC by the key)       -->  data follows on both sides
//
// Sizes are fixed, so neither side reads a byte too many. Pure; any thread.

#include "base/result.h"
#include "mirror/control/decision.h"

#include <array>
#include <cstdint>
#include <span>

namespace understudy::mirror::control {

inline constexpr std::uint16_t kDispatchPort = 9999;     // TargetDispatchPort. Spec: REP-039
inline constexpr std::uint16_t kTargetPortBase = 10000;  // Spec: REP-039
inline constexpr std::uint16_t kTargetPortIncrement = 256;
inline constexpr int kMaxPortAttempts = 17;  // the port itself and 16 increments. Spec: REP-040

/// Base + letter for one-letter volumes (either case), base + 26 for others; `attempt` counts from 0. 0 when
/// that is beyond 65535.
std::uint16_t data_port(const VolumeId& volume, int attempt, std::uint16_t base = kTargetPortBase,
                        std::uint16_t increment = kTargetPortIncrement);

using SessionKey = std::array<std::byte, 32>;
using SessionId = std::array<std::byte, 16>;
using Nonce = std::array<std::byte, 32>;
using Mac = std::array<std::byte, 32>;

enum class LinkKind : std::uint8_t { data = 1, resync = 2 };

inline constexpr std::size_t kLinkHelloBytes = 8 + 8 + 16 + 32;
inline constexpr std::size_t kLinkAnswerBytes = 32 + 32;
inline constexpr std::size_t kLinkProofBytes = 32;
using LinkHello = std::array<std::byte, kLinkHelloBytes>;
using LinkAnswer = std::array<std::byte, kLinkAnswerBytes>;
using LinkProof = std::array<std::byte, kLinkProofBytes>;

struct HelloFields {
    LinkKind kind = LinkKind::data;
    SessionId session{};
    Nonce nonce{};
};

LinkHello make_hello(const HelloFields& fields);
/// Errors: not our protocol, another version, unknown kind.
Result<HelloFields> parse_hello(const LinkHello& hello);
LinkAnswer make_answer(const SessionKey& key, const LinkHello& hello, const Nonce& nonce);
/// The source's proof, after it has checked the target's.
Result<LinkProof> make_proof(const SessionKey& key, const LinkHello& hello, const LinkAnswer& answer);
/// Compares in constant time.
bool proof_holds(const SessionKey& key, const LinkHello& hello, const LinkAnswer& answer,
                 const LinkProof& proof);

}  // namespace understudy::mirror::control
