#include "comm/token_store.h"

#include "comm/pki.h"

#include <gtest/gtest.h>

namespace understudy::comm {
namespace {

using namespace std::chrono_literals;
constexpr runtime::WallTime kNow{1'000'000s};

class MemoryFiles : public runtime::Files {
  public:
    [[nodiscard]] Result<std::string> read(const std::string& path) const override {
        const auto at = contents.find(path);
        if (at == contents.end()) return fail(Code::not_found, "no {}", path);
        return at->second;
    }
    Result<> write_atomic(const std::string& path, std::string_view content, int mode) override {
        if (full) return fail(Code::failure, "cannot write {}: disk full", path);
        contents[path] = content;
        modes[path] = mode;
        return {};
    }
    Result<> remove(const std::string& path) override {
        contents.erase(path);
        return {};
    }
    Result<> make_directories(const std::string&, int) override { return {}; }
    [[nodiscard]] bool exists(const std::string& path) const override { return contents.contains(path); }
    [[nodiscard]] bool executable(const std::string&) const override { return false; }
    [[nodiscard]] std::vector<std::string> list(const std::string&) const override { return {}; }

    std::map<std::string, std::string> contents;
    std::map<std::string, int> modes;
    bool full = false;
};

class CountingRandom : public runtime::Random {
  public:
    std::uint64_t next() override { return ++count_; }
    // Never the same bytes twice, like the real one.
    void fill(std::span<std::byte> out) override {
        auto value = ++count_;
        for (auto& byte : out) {
            byte = static_cast<std::byte>(value);
            value >>= 8U;
        }
    }

  private:
    std::uint64_t count_ = 0;
};

struct Tokens : ::testing::Test {
    MemoryFiles files;
    CountingRandom random;
    TokenStore store{files, random, "/pki/tokens.json"};
    std::string make(runtime::Duration lifetime = 1h) { return store.create(lifetime, {}, kNow).value(); }
};

TEST(Token, TextCarriesSecretAndFingerprint) {
    const Token token{std::string(26, 'A'), std::string(64, 'f')};
    const auto text = to_string(token);
    EXPECT_EQ(text, "UST1-" + std::string(26, 'A') + "-" + std::string(64, 'f'));
    const auto read = parse_token("  ust1-" + std::string(26, 'a') + "-" + std::string(64, 'F') + "\n");
    ASSERT_TRUE(read);
    EXPECT_EQ(read->secret, token.secret);
    EXPECT_EQ(read->ca_fingerprint, token.ca_fingerprint);
}

TEST(Token, AnythingElseIsNoToken) {
    const std::string good = to_string({std::string(26, 'A'), std::string(64, 'f')});
    for (const auto& bad :
         {std::string(), std::string("UST1"), good.substr(1), good.substr(0, good.size() - 1), good + "-",
          "UST1-" + std::string(26, '1') + "-" + std::string(64, 'f'),
          "UST1-" + std::string(26, 'A') + "-" + std::string(64, 'g')})
        EXPECT_FALSE(parse_token(bad)) << bad;
}

// Spec: DEP-216
TEST_F(Tokens, AreGoodOnceAndWithinTheirTime) {
    const auto secret = make(1h);
    EXPECT_EQ(secret.size(), 26U);
    const auto open = store.check(secret, kNow + 59min);
    ASSERT_TRUE(open);
    EXPECT_FALSE(open->replaces);
    ASSERT_TRUE(store.mark_used(open->hash, NodeName("right")));
    EXPECT_FALSE(store.check(secret, kNow));
    ASSERT_TRUE(store.reopen(open->hash));
    EXPECT_TRUE(store.check(secret, kNow));
    EXPECT_FALSE(store.check(secret, kNow + 1h + 5s));
    EXPECT_FALSE(store.check("AAAA", kNow));
}

// Spec: DEP-216
TEST_F(Tokens, WrongUsedAndExpiredOnesHaveOneTextAndTheLogTellsWhich) {
    const auto used = make(1h);
    ASSERT_TRUE(store.mark_used(store.check(used, kNow)->hash, NodeName("right")));
    const auto old = make(10s);
    std::string why;
    const auto refusal = store.check("AAAA", kNow, &why).error();
    EXPECT_EQ(refusal.code, Code::bad_argument);
    EXPECT_EQ(why, "this cluster did not give it out, or it ended long ago");
    EXPECT_EQ(store.check(used, kNow, &why).error(), refusal);
    EXPECT_EQ(why, "right has used it already");
    EXPECT_EQ(store.check(old, kNow + 15s, &why).error(), refusal);
    EXPECT_EQ(why, "it expired 5 s ago");
}

TEST_F(Tokens, OnlyAHashIsStoredReadableByRootAlone) {
    const auto secret = make();
    EXPECT_EQ(files.contents["/pki/tokens.json"].find(secret), std::string::npos);
    EXPECT_NE(files.contents["/pki/tokens.json"].find(sha256(secret)), std::string::npos);
    EXPECT_EQ(files.modes["/pki/tokens.json"], 0600);
}

TEST_F(Tokens, OutliveTheDaemon) {
    const auto secret = store.create(1h, NodeName("old"), kNow).value();
    TokenStore later(files, random, "/pki/tokens.json");
    EXPECT_EQ(later.check(secret, kNow)->replaces, NodeName("old"));
}

TEST_F(Tokens, AreBoundedAndEndedOnesMakeRoom) {
    const auto first = make(10s);
    for (std::size_t i = 1; i < TokenStore::kMaxTokens; ++i)
        make(1h);
    EXPECT_FALSE(store.create(1h, {}, kNow));
    EXPECT_TRUE(store.create(1h, {}, kNow + 11s));
    std::string why;
    EXPECT_FALSE(store.check(first, kNow + 11s, &why));
    EXPECT_EQ(why, "this cluster did not give it out, or it ended long ago");
}

TEST_F(Tokens, LifetimesOutsideTheirRangeAreRefused) {
    EXPECT_EQ(store.create(0s, {}, kNow).error().code, Code::out_of_range);
    EXPECT_EQ(store.create(24h * 31, {}, kNow).error().code, Code::out_of_range);
}

TEST_F(Tokens, ADamagedFileIsToldAndNotOverwritten) {
    for (const auto* damaged : {"", "{", "[]", R"({"format":2,"tokens":[]})", R"({"format":1,"tokens":[{}]})",
                                R"({"format":1,"tokens":[7]})"}) {
        files.contents["/pki/tokens.json"] = damaged;
        EXPECT_EQ(store.create(1h, {}, kNow).error().code, Code::internal) << damaged;
        EXPECT_EQ(files.contents["/pki/tokens.json"], damaged);
    }
}

TEST_F(Tokens, AFullDiskIsAnErrorAndGivesNoToken) {
    files.full = true;
    EXPECT_EQ(store.create(1h, {}, kNow).error().code, Code::failure);
}

TEST(AttemptLimiter, MakesAnAddressWaitAfterFiveFailures) {
    AttemptLimiter limiter;
    const runtime::TimePoint start{100s};
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(limiter.wait("a", start + i * 1s), 0s);
        limiter.failed("a", start + i * 1s);
    }
    EXPECT_EQ(limiter.wait("a", start + 10s), 50s);
    EXPECT_EQ(limiter.wait("b", start + 10s), 0s);
    EXPECT_EQ(limiter.wait("a", start + 60s), 0s);
}

TEST(AttemptLimiter, MakesAllWaitWhenManyAddressesFail) {
    AttemptLimiter limiter;
    const runtime::TimePoint start{100s};
    for (int i = 0; i < 1000; ++i)
        limiter.failed(std::to_string(i), start);
    EXPECT_EQ(limiter.wait("new", start + 10s), 50s);
    EXPECT_EQ(limiter.wait("new", start + 61s), 0s);
}

}  // namespace
}  // namespace understudy::comm
