#include "comm/token_store.h"

#include "base/text.h"
#include "comm/pki.h"

#include <array>
#include <nlohmann/json.hpp>

namespace understudy::comm {
namespace {

constexpr std::string_view kPrefix = "UST1";
constexpr std::size_t kSecretBytes = 16;
constexpr std::size_t kSecretCharacters = 26;
constexpr std::size_t kFingerprintCharacters = 64;
constexpr std::string_view kBase32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
constexpr int kFormat = 1;

std::string base32(std::span<const std::byte> data) {
    std::string out;
    std::uint32_t bits = 0;
    int count = 0;
    for (const auto byte : data) {
        bits = bits << 8U | std::to_integer<std::uint32_t>(byte);
        for (count += 8; count >= 5; count -= 5)
            out += kBase32[bits >> static_cast<unsigned>(count - 5) & 31U];
        bits &= (1U << static_cast<unsigned>(count)) - 1U;
    }
    if (count > 0) out += kBase32[bits << static_cast<unsigned>(5 - count) & 31U];
    return out;
}

std::string upper(std::string_view input) {
    std::string out(input);
    for (auto& c : out)
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    return out;
}

std::int64_t seconds(runtime::WallTime time) {
    return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

}  // namespace

Result<Token> parse_token(std::string_view text) {
    const auto parts = text::split(text::trim(text), '-');
    const auto only_of = [](std::string_view part, std::string_view legal) {
        return part.find_first_not_of(legal) == std::string_view::npos;
    };
    if (parts.size() != 3 || upper(parts[0]) != kPrefix || parts[1].size() != kSecretCharacters ||
        parts[2].size() != kFingerprintCharacters || !only_of(upper(parts[1]), kBase32) ||
        !only_of(text::lower(parts[2]), "0123456789abcdef"))
        return fail(Code::bad_argument,
                    "this is no token: copy the whole line that `understudy token` printed on a member of "
                    "the cluster; "
                    "it begins with {}-",
                    kPrefix);
    return Token{upper(parts[1]), text::lower(parts[2])};
}

std::string to_string(const Token& token) {
    return fmt::format("{}-{}-{}", kPrefix, token.secret, token.ca_fingerprint);
}

Result<std::vector<TokenStore::Record>> TokenStore::load() const {
    auto text = files_.read(file_);
    if (!text && text.error().code == Code::not_found) return std::vector<Record>{};
    if (!text) return fail(std::move(text.error()));
    const auto json = nlohmann::json::parse(*text, nullptr, false);
    const auto damaged = [&] {
        return fail(Code::internal, "{} is damaged: remove it; tokens that were given out are void then",
                    file_);
    };
    if (!json.is_object() || !json.contains("format") || json["format"] != kFormat ||
        !json.contains("tokens") || !json["tokens"].is_array())
        return damaged();
    std::vector<Record> records;
    for (const auto& entry : json["tokens"]) {
        const auto has = [&](const char* key, auto is) { return entry.contains(key) && (entry[key].*is)(); };
        if (!entry.is_object() || !has("sha256", &nlohmann::json::is_string) ||
            !has("expires", &nlohmann::json::is_number_integer) ||
            !has("used", &nlohmann::json::is_boolean) || !has("used_by", &nlohmann::json::is_string) ||
            !has("replaces", &nlohmann::json::is_string))
            return damaged();
        records.push_back(Record{entry["sha256"].get<std::string>(), entry["expires"].get<std::int64_t>(),
                                 entry["used"].get<bool>(), entry["used_by"].get<std::string>(),
                                 entry["replaces"].get<std::string>()});
    }
    return records;
}

Result<> TokenStore::save(const std::vector<Record>& records) {
    auto list = nlohmann::json::array();
    for (const auto& record : records)
        list.push_back({{"sha256", record.hash},
                        {"expires", record.expires_s},
                        {"used", record.used},
                        {"used_by", record.used_by},
                        {"replaces", record.replaces}});
    const nlohmann::json json{{"format", kFormat}, {"tokens", std::move(list)}};
    return files_.write_atomic(file_, json.dump(1) + "\n", 0600);
}

Result<std::string> TokenStore::create(runtime::Duration lifetime, const std::optional<NodeName>& replaces,
                                       runtime::WallTime now) {
    if (lifetime < kLeastLifetime || lifetime > kMostLifetime)
        return fail(Code::out_of_range, "a token's lifetime is 1 second to 30 days");
    UNDERSTUDY_TRY(auto records, load());
    // Ended tokens stay for a clear answer to who tries them late, but they make room first.
    while (records.size() >= kMaxTokens) {
        const auto ended = std::find_if(records.begin(), records.end(), [&](const Record& record) {
            return record.used || record.expires_s <= seconds(now);
        });
        if (ended == records.end())
            return fail(Code::failure, "{} tokens are open already: let them expire or use them",
                        records.size());
        records.erase(ended);
    }
    std::array<std::byte, kSecretBytes> bytes{};
    random_.fill(bytes);
    auto secret = base32(bytes);
    const auto lifetime_s = std::chrono::ceil<std::chrono::seconds>(lifetime).count();
    records.push_back(Record{
        sha256(secret), seconds(now) + lifetime_s, false, {}, replaces ? replaces->str() : std::string()});
    UNDERSTUDY_CHECK(save(records));
    return secret;
}

Result<TokenStore::Open> TokenStore::check(std::string_view secret, runtime::WallTime now,
                                           std::string* why) const {
    UNDERSTUDY_TRY(const auto records, load());
    const auto hash = sha256(secret);
    // All are compared, so that the time tells nothing.
    const Record* found = nullptr;
    for (const auto& record : records)
        if (equal_in_constant_time(record.hash, hash)) found = &record;
    std::string reason;
    if (found == nullptr)
        reason = "this cluster did not give it out, or it ended long ago";
    else if (found->used)
        reason = fmt::format("{} has used it already", found->used_by);
    // Lifetimes outlast the daemon, so they can only be measured by the wall clock.
    else if (found->expires_s <= seconds(now))
        reason = fmt::format("it expired {} s ago", seconds(now) - found->expires_s);
    if (!reason.empty()) {
        if (why != nullptr) *why = std::move(reason);
        return fail(
            Code::bad_argument,
            "this token is not valid: it is wrong, was used already or has expired; make a new one with "
            "`understudy token` on a member of the cluster");
    }
    Open open{found->hash, std::nullopt};
    if (!found->replaces.empty()) open.replaces = NodeName(found->replaces);
    return open;
}

Result<> TokenStore::change(const std::string& hash, bool used, const std::string& by) {
    UNDERSTUDY_TRY(auto records, load());
    for (auto& record : records) {
        if (record.hash != hash) continue;
        record.used = used;
        record.used_by = by;
        return save(records);
    }
    return fail(Code::not_found, "the token is gone from {}", file_);
}

Result<> TokenStore::mark_used(const std::string& hash, const NodeName& by) {
    return change(hash, true, by.str());
}

Result<> TokenStore::reopen(const std::string& hash) {
    return change(hash, false, {});
}

void AttemptLimiter::forget_old(Failures& failures, runtime::TimePoint now) {
    while (!failures.empty() && failures.front() + kWindow <= now)
        failures.pop_front();
}

runtime::Duration AttemptLimiter::wait(const std::string& address, runtime::TimePoint now) {
    forget_old(all_, now);
    runtime::Duration longest{};
    if (all_.size() >= kMaxFailuresOfAll) longest = all_.front() + kWindow - now;
    if (const auto at = by_address_.find(address); at != by_address_.end()) {
        forget_old(at->second, now);
        if (at->second.size() >= kMaxFailures)
            longest = std::max(longest, at->second.front() + kWindow - now);
    }
    return longest;
}

void AttemptLimiter::failed(const std::string& address, runtime::TimePoint now) {
    std::erase_if(by_address_,
                  [&](auto& entry) { return entry.second.empty() || entry.second.back() + kWindow <= now; });
    all_.push_back(now);
    if (all_.size() > kMaxFailuresOfAll) all_.pop_front();
    if (by_address_.size() >= kMaxAddresses && !by_address_.contains(address))
        return;  // `all_` still counts it
    auto& mine = by_address_[address];
    mine.push_back(now);
    if (mine.size() > kMaxFailures) mine.pop_front();
}

}  // namespace understudy::comm
