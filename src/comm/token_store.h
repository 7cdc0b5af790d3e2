#pragma once
// One-time tokens that let a new node into the cluster.
//
//   UST1-<secret, 26 characters base32>-<SHA-256 of the CA certificate, 64 hex digits>
//
// The secret proves to the member that the joiner was invited; the fingerprint proves to the joiner that it
// talks to that cluster, before it says the secret. tokens.json in the pki directory (mode 0600) holds only
// hashes of secrets: who can read it cannot join with it. Spec: DEP-216.

#include "base/result.h"
#include "base/types.h"
#include "runtime/world.h"

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace understudy::comm {

/// What a token's text says.
struct Token {
    std::string secret;
    std::string ca_fingerprint;
};
/// Code::bad_argument for anything that is no token; upper and lower case are alike.
Result<Token> parse_token(std::string_view text);
std::string to_string(const Token& token);

class TokenStore {
  public:
    /// More open tokens than this are refused; ended ones are forgotten, the oldest first.
    static constexpr std::size_t kMaxTokens = 64;
    static constexpr auto kLeastLifetime = std::chrono::seconds(1);
    static constexpr auto kMostLifetime = std::chrono::hours(24 * 30);

    /// `file`: tokens.json. It is read and written whole by each function; the two interfaces are borrowed.
    TokenStore(runtime::Files& files, runtime::Random& random, std::string file)
        : files_(files), random_(random), file_(std::move(file)) {}

    /// A new secret. `replaces`: the one known node that may be enrolled again with it.
    Result<std::string> create(runtime::Duration lifetime, const std::optional<NodeName>& replaces,
                               runtime::WallTime now);

    struct Open {
        std::string hash;
        std::optional<NodeName> replaces;
    };
    /// The token of this secret. Code::bad_argument with one text whether it is unknown, used or expired, so
    /// that who guesses learns nothing; `why`, for the member's log, tells which.
    [[nodiscard]] Result<Open> check(std::string_view secret, runtime::WallTime now,
                                     std::string* why = nullptr) const;
    /// Durable when it returns: the token is worth nothing from then on.
    Result<> mark_used(const std::string& hash, const NodeName& by);
    /// Takes mark_used back: the enrolment failed after it.
    Result<> reopen(const std::string& hash);

  private:
    struct Record {
        std::string hash;
        std::int64_t expires_s = 0;
        bool used = false;
        std::string used_by;
        std::string replaces;
    };
    [[nodiscard]] Result<std::vector<Record>> load() const;
    Result<> save(const std::vector<Record>& records);
    Result<> change(const std::string& hash, bool used, const std::string& by);

    runtime::Files& files_;
    runtime::Random& random_;
    std::string file_;
};

/// Slows down guessing: after so many failures within the window an address has to wait. Pure.
class AttemptLimiter {
  public:
    static constexpr std::size_t kMaxFailures = 5;        // per address
    static constexpr std::size_t kMaxFailuresOfAll = 50;  // of all addresses together
    static constexpr std::size_t kMaxAddresses = 256;
    static constexpr auto kWindow = std::chrono::minutes(1);

    /// How long the address has to wait; zero: it may try.
    [[nodiscard]] runtime::Duration wait(const std::string& address, runtime::TimePoint now);
    void failed(const std::string& address, runtime::TimePoint now);

  private:
    using Failures = std::deque<runtime::TimePoint>;
    static void forget_old(Failures& failures, runtime::TimePoint now);
    std::map<std::string, Failures> by_address_;
    Failures all_;
};

}  // namespace understudy::comm
