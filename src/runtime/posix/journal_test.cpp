#include "runtime/posix/journal.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <random>

namespace understudy::runtime {
namespace {

/// What journald does with a datagram.
std::map<std::string, std::string> fields_of(std::string_view datagram) {
    std::map<std::string, std::string> fields;
    while (!datagram.empty()) {
        const auto end = datagram.find('\n');
        const std::string name(datagram.substr(0, end));
        std::uint64_t size = 0;
        std::memcpy(&size, datagram.data() + end + 1, sizeof size);  // little-endian, as this machine
        fields[name] = datagram.substr(end + 9, size);
        EXPECT_EQ(datagram.at(end + 9 + size), '\n') << name;
        datagram.remove_prefix(end + 10 + size);
    }
    return fields;
}

class JournalTest : public testing::Test {
  protected:
    JournalTest() {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path.data(), path.size());
        EXPECT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    ~JournalTest() override {
        close(fd);
        unlink(path.c_str());
    }
    std::string receive() const {
        std::string buffer(1 << 20, '\0');
        const auto size = recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
        buffer.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
        return buffer;
    }
    std::string path =
        (std::filesystem::temp_directory_path() / ("journal-" + std::to_string(std::random_device()())))
            .string();
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
};

// Spec: QUO-130
TEST_F(JournalTest, TheNumberIsAFieldOfItsOwnBesideTheText) {
    ASSERT_TRUE(send_to_journal({.identifier = "understudyd",
                                 .priority = kJournalError,
                                 .number = 18163,
                                 .text = "two\nlines",
                                 .more = {{"LK_PROCESS", "p"}}},
                                path));
    const std::map<std::string, std::string> expected{{"MESSAGE", "two\nlines"},
                                                      {"PRIORITY", "3"},
                                                      {"SYSLOG_IDENTIFIER", "understudyd"},
                                                      {"LK_NUMBER", "18163"},
                                                      {"LK_PROCESS", "p"}};
    EXPECT_EQ(fields_of(receive()), expected);
}

TEST_F(JournalTest, AMessageWithoutANumberHasNoSuchField) {
    ASSERT_TRUE(send_to_journal({.identifier = "p", .text = "text"}, path));
    EXPECT_FALSE(fields_of(receive()).contains("LK_NUMBER"));
}

TEST_F(JournalTest, AnEndlessTextIsCutAndAJournalThatIsAwayOrFullIsSaid) {
    const std::string endless(64 << 20, 'x');
    ASSERT_TRUE(send_to_journal({.identifier = "p", .text = endless}, path));
    EXPECT_GT(fields_of(receive()).at("MESSAGE").size(), 1000U);
    EXPECT_FALSE(send_to_journal({.identifier = "p", .text = "text"}, path + ".none"));
    EXPECT_FALSE(send_to_journal({.identifier = "p", .text = "text"}, std::string(200, '/')));
    // Nobody reads: it does not wait.
    bool refused = false;
    for (int i = 0; i < 100'000 && !refused; ++i)
        refused = !send_to_journal({.identifier = "p", .text = "text"}, path);
    EXPECT_TRUE(refused);
}

}  // namespace
}  // namespace understudy::runtime
