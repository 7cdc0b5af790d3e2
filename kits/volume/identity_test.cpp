#include "kits/volume/identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

namespace understudy::kits {
namespace {

using ::testing::HasSubstr;

constexpr const char* kOne = "00112233445566778899aabbccddeeff";
constexpr const char* kOther = "ffeeddccbbaa99887766554433221100";
constexpr const char* kOneText = "{00112233-4455-6677-8899-aabbccddeeff}";

class MirrorIdentity : public ::testing::Test {
  protected:
    MirrorIdentity() {
        std::string name = ::testing::TempDir() + "identity-XXXXXX";
        directory_ = mkdtemp(name.data());
        layout_.programs = directory_;
    }
    MirrorIdentity(const MirrorIdentity&) = delete;
    MirrorIdentity& operator=(const MirrorIdentity&) = delete;
    ~MirrorIdentity() override {
        std::error_code error;
        std::filesystem::remove_all(directory_, error);
    }

    [[nodiscard]] std::string path() const { return directory_ + "/" + identity_file("data"); }
    [[nodiscard]] std::string content() const {
        std::ifstream file(path(), std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    void write(const std::string& text) const { std::ofstream(path(), std::ios::binary) << text; }
    [[nodiscard]] int shell(const std::string& line) const {
        return std::system(("cd '" + directory_ + "' && " + line).c_str());
    }

    std::string directory_;
    config::Layout layout_;
};

// Spec: CLU-087
TEST_F(MirrorIdentity, IsAFileOf39BytesPerVolume) {
    ASSERT_TRUE(keep_identity(layout_, "data", kOne));
    EXPECT_EQ(path(), directory_ + "/subsys/filesys/resources/volume/LKDRInfo.data");
    EXPECT_EQ(content(), std::string(kOneText) + "\n");
    EXPECT_EQ(content().size(), 39U);
    EXPECT_EQ(known_identity(layout_, "data"), kOneText);
    EXPECT_EQ(known_identity(layout_, "other"), "");

    ASSERT_TRUE(forget_identity(layout_, "data"));
    EXPECT_FALSE(std::filesystem::exists(path()));
    EXPECT_TRUE(forget_identity(layout_, "data")) << "it is forgotten already";
}

// Spec: CLU-087
TEST_F(MirrorIdentity, AnotherMirrorsHalfIsRefusedUntilSomebodyDecides) {
    ASSERT_TRUE(check_identity(layout_, "data", kOne)) << "nothing is known yet";
    EXPECT_EQ(known_identity(layout_, "data"), kOneText);
    EXPECT_TRUE(check_identity(layout_, "data", kOne));

    const auto refused = check_identity(layout_, "data", kOther);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().text, HasSubstr(kOneText));
    EXPECT_THAT(refused.error().text, HasSubstr(identity_text(kOther)));
    EXPECT_THAT(refused.error().text, HasSubstr("remove " + path()));
    EXPECT_EQ(known_identity(layout_, "data"), kOneText);

    std::filesystem::remove(path());
    EXPECT_TRUE(check_identity(layout_, "data", kOther));
    EXPECT_EQ(known_identity(layout_, "data"), identity_text(kOther));
}

TEST_F(MirrorIdentity, WhatCannotBeReadIsAsIfItWereNotThere) {
    ASSERT_TRUE(keep_identity(layout_, "data", kOne));
    const std::vector<std::string> damages{"",
                                           kOneText,
                                           std::string(kOneText) + "\n\n",
                                           std::string(39, 'x'),
                                           "00112233-4455-6677-8899-aabbccddeeff}}\n",
                                           std::string(39, '\0')};
    for (const auto& damaged : damages) {
        write(damaged);
        EXPECT_EQ(known_identity(layout_, "data"), "") << damaged;
        EXPECT_TRUE(check_identity(layout_, "data", kOne)) << damaged;
        EXPECT_EQ(content(), std::string(kOneText) + "\n");
    }
}

TEST_F(MirrorIdentity, OfAMirrordThatTellsNoIdNothingIsKeptOrRefused) {
    for (const auto* none : {"", "0011", "00112233445566778899aabbccddeefg"}) {
        EXPECT_TRUE(keep_identity(layout_, "data", none));
        EXPECT_TRUE(check_identity(layout_, "data", none));
        EXPECT_EQ(line_to_keep_identity("data", none), "");
    }
    EXPECT_FALSE(std::filesystem::exists(path()));
}

// Spec: CLU-087
TEST_F(MirrorIdentity, TheLineForAnotherNodeWritesTheSameFile) {
    ASSERT_TRUE(keep_identity(layout_, "data", kOther));
    EXPECT_EQ(shell(line_to_keep_identity("data", kOne)), 0);
    EXPECT_EQ(known_identity(layout_, "data"), kOneText);
    const auto written = std::filesystem::last_write_time(path());
    EXPECT_EQ(shell(line_to_keep_identity("data", kOne)), 0);
    EXPECT_EQ(std::filesystem::last_write_time(path()), written) << "it named this mirror already";
    EXPECT_FALSE(std::filesystem::exists(path() + ".new"));
}

}  // namespace
}  // namespace understudy::kits
