#include "mirror/export/nbd_export_testing.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <fstream>
#include <future>

namespace understudy::mirror {
namespace {

using namespace testing_support;

TEST_F(NbdExportTest, WritesAndReadsThroughASocketInPieces) {
    const Descriptor client = negotiated();
    const std::string data(8192, 'd');
    const std::string message = request(1, 7, 4096, 8192, 1) + data + request(0, 8, 0, 16384);
    for (std::size_t at = 0; at < message.size(); at += 1000)
        send_text(client, std::string_view(message).substr(at, 1000));
    // Answers may come in any order; these two are told apart by their cookies.
    std::string answers = receive(client, 16 + 16 + 16384);
    EXPECT_NE(answers.find(reply(0, 7)), std::string::npos);
    ASSERT_NE(answers.find(reply(0, 8)), std::string::npos);
    send_text(client, request(0, 9, 0, 16384));
    EXPECT_EQ(receive(client, 16 + 16384),
              reply(0, 9) + std::string(4096, '\0') + data + std::string(4096, '\0'));
    const auto statistics = on_reactor([this] { return export_->statistics(); });
    EXPECT_EQ(statistics.writes, 1U);
    EXPECT_EQ(statistics.read_bytes, 32768U);
}

TEST_F(NbdExportTest, AnswersARefusedWriteAndUnderstandsWhatFollows) {
    const Descriptor client = negotiated();
    send_text(client, request(1, 1, kSize, 4096) + std::string(4096, 'x') + request(3, 2, 0, 0));
    const std::string answers = receive(client, 32);
    EXPECT_NE(answers.find(reply(28, 1)), std::string::npos);
    EXPECT_NE(answers.find(reply(0, 2)), std::string::npos);
    send_text(client, request(99, 3, 0, 4096));
    EXPECT_EQ(receive(client, 16), reply(22, 3));
    send_text(client, request(0, 4, 100, 4096));
    EXPECT_EQ(receive(client, 16), reply(22, 4));
}

TEST_F(NbdExportTest, StructuredReadsHaveHolesErrorsHaveChunksAndWritesAreAnsweredSimply) {
    const Descriptor client = negotiated_structured();
    const std::string data(65536, 'x');
    send_text(client, request(1, 1, 65536, 65536) + data);
    EXPECT_EQ(receive(client, 16), reply(0, 1));
    // Hole, data, hole.
    send_text(client, request(0, 2, 0, 3 * 65536));
    const std::string hole = big_endian(std::uint32_t{65536});
    const std::string expected = chunk(false, 2, 2, big_endian(std::uint64_t{0}) + hole) +
                                 chunk(false, 1, 2, big_endian(std::uint64_t{65536}) + data) +
                                 chunk(true, 2, 2, big_endian(std::uint64_t{2 * 65536}) + hole);
    EXPECT_EQ(receive(client, expected.size()), expected);
    // In one piece when the client wants it so.
    send_text(client, request(0, 3, 0, 2 * 65536, 4));
    const std::string whole =
        chunk(true, 1, 3, big_endian(std::uint64_t{0}) + std::string(65536, '\0') + data);
    EXPECT_EQ(receive(client, whole.size()), whole);
    // Beyond the end.
    send_text(client, request(0, 4, kSize, 4096));
    const std::string error =
        chunk(true, 0x8001, 4, big_endian(std::uint32_t{22}) + big_endian(std::uint16_t{0}));
    EXPECT_EQ(receive(client, error.size()), error);
    send_text(client, request(3, 5, 0, 0));
    EXPECT_EQ(receive(client, 16), reply(0, 5));
}

// What one connection has completed, a flush on any other makes durable: the export promises it to clients
// with several (CAN_MULTI_CONN), and each sees what the others have written.
TEST_F(NbdExportTest, ConnectionsSeeEachOthersWritesAndFlushForEachOther) {
    const Descriptor one = negotiated_structured(), other = negotiated();
    for (int round = 0; round < 20; ++round) {
        const std::string data(4096, static_cast<char>('a' + round));
        const auto at = static_cast<std::uint64_t>(round) * 4096;
        send_text(one, request(1, 1, at, 4096) + data);
        ASSERT_EQ(receive(one, 16), reply(0, 1));
        send_text(other, request(3, 2, 0, 0) + request(0, 3, at, 4096));
        const std::string answers = receive(other, 16 + 16 + 4096);
        ASSERT_NE(answers.find(reply(0, 2)), std::string::npos);
        ASSERT_NE(answers.find(reply(0, 3) + data), std::string::npos);
    }
    EXPECT_EQ(on_reactor([this] { return export_->statistics(); }).flushes, 20U);
}

TEST_F(NbdExportTest, TrimsAndZeroesDurably) {
    const Descriptor client = negotiated();
    send_text(client, request(1, 1, 0, 65536) + std::string(65536, 'x'));
    ASSERT_EQ(receive(client, 16), reply(0, 1));
    send_text(client, request(6, 2, 4096, 4096, 3));
    ASSERT_EQ(receive(client, 16), reply(0, 2));
    send_text(client, request(4, 3, 32768, 4096, 1));
    ASSERT_EQ(receive(client, 16), reply(0, 3));
    send_text(client, request(0, 4, 0, 12288));
    EXPECT_EQ(receive(client, 16 + 12288),
              reply(0, 4) + std::string(4096, 'x') + std::string(4096, '\0') + std::string(4096, 'x'));
}

TEST_F(NbdExportTest, ClosesTheConnectionOfAClientThatSendsNonsenseAndServesTheOthers) {
    const Descriptor good = negotiated();
    for (const std::string& nonsense :
         {std::string(28, 'n'), request(1, 1, 0, 0x7fffffff), request(1, 1, 0, kMaxRequest + 4096)}) {
        const Descriptor bad = negotiated();
        send_text(bad, nonsense);
        EXPECT_EQ(receive(bad, 1), "");
    }
    const Descriptor stranger = connect_client();
    send_text(stranger, "GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n");
    EXPECT_EQ(receive(stranger, 100).size(), 18U);
    send_text(good, request(3, 5, 0, 0));
    EXPECT_EQ(receive(good, 16), reply(0, 5));
}

TEST_F(NbdExportTest, ServesManyMoreRequestsThanItHasSlots) {
    const Descriptor client = negotiated();
    constexpr std::uint64_t kMany = 1000;
    std::thread sender([&] {
        for (std::uint64_t i = 0; i < kMany; ++i)
            send_text(client,
                      request(1, i, (i % 4096) * 4096, 4096) + std::string(4096, static_cast<char>(i)));
    });
    std::vector<bool> answered(kMany);
    for (std::uint64_t i = 0; i < kMany; ++i) {
        const std::string answer = receive(client, 16);
        ASSERT_EQ(answer.substr(0, 8), reply(0, 0).substr(0, 8));
        std::uint64_t cookie = 0;
        for (char c : answer.substr(8))
            cookie = cookie << 8 | static_cast<unsigned char>(c);
        ASSERT_LT(cookie, kMany);
        ASSERT_FALSE(answered[cookie]);
        answered[cookie] = true;
    }
    sender.join();
}

TEST_F(NbdExportTest, AClientThatGoesAwayWithRequestsInFlightLeavesNothingBehind) {
    {
        const Descriptor client = negotiated();
        for (std::uint64_t i = 0; i < 20; ++i)
            send_text(client, request(0, i, 0, kMaxRequest));
        send_text(client, request(1, 99, 0, kMaxRequest) + "only the beginning");
    }
    EXPECT_TRUE(wait_until([this] {
        return on_reactor([this] {
            const auto statistics = export_->statistics();
            return statistics.in_backend == 0 && statistics.waiting == 0;
        });
    }));
    const Descriptor next = negotiated();
    send_text(next, request(0, 1, 0, 4096));
    EXPECT_EQ(receive(next, 16 + 4096).size(), 16U + 4096);
}

TEST_F(NbdExportTest, SuspendedRequestsWaitForResume) {
    const Descriptor client = negotiated();
    on_reactor([this] {
        export_->suspend(1h);
        return true;
    });
    send_text(client, request(0, 1, 0, 4096));
    ASSERT_TRUE(
        wait_until([this] { return on_reactor([this] { return export_->statistics().waiting; }) == 1; }));
    char byte = 0;
    EXPECT_EQ(recv(client.get(), &byte, 1, MSG_DONTWAIT), -1);
    on_reactor([this] {
        export_->resume();
        return true;
    });
    EXPECT_EQ(receive(client, 16 + 4096).size(), 16U + 4096);
}

TEST_F(NbdExportTest, AnOrderlyStopIsRefusedWhileAClientIsConnected) {
    const Descriptor client = negotiated();
    std::promise<Result<>> refused;
    reactor_->post([&] {
        export_->stop(StopMode::orderly, [&](Result<> result) { refused.set_value(std::move(result)); });
    });
    const auto result = refused.get_future().get();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::has_dependents);
    send_text(client, request(3, 1, 0, 0));
    EXPECT_EQ(receive(client, 16), reply(0, 1));
}

TEST_F(NbdExportTest, ASecondServerOnTheSameSocketIsRefused) {
    std::promise<Result<>> second;
    reactor_->post([&] {
        make_nbd_export(*reactor_, *backend_, {.volume = VolumeId("data"), .socket_path = socket_},
                        [&](Result<std::unique_ptr<Export>> made) {
                            second.set_value(made ? Result<>() : Result<>(fail(made.error())));
                        });
    });
    const auto result = second.get_future().get();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::exists);
}

TEST_F(NbdExportTest, NbdinfoSeesWhatTheExportCan) {
    if (run_program({"nbdinfo", "--version"}) != 0) GTEST_SKIP() << "needs nbdinfo (libnbd-bin)";
    const std::string uri = "nbd+unix:///data?socket=" + socket_;
    for (const char* can : {"structured-reply", "multi-conn", "fua", "flush", "trim", "zero", "df"})
        EXPECT_EQ(run_program({"nbdinfo", "--can", can, uri}), 0) << can;
    EXPECT_EQ(run_program({"nbdinfo", "--is", "read-only", uri}), 2);
}

TEST_F(NbdExportTest, NbdinfoSeesWhereNothingIsStored) {
    if (run_program({"nbdinfo", "--version"}) != 0) GTEST_SKIP() << "needs nbdinfo (libnbd-bin)";
    const Descriptor client = negotiated();
    send_text(client, request(1, 1, 1 << 20, 65536) + std::string(65536, 'x'));
    ASSERT_EQ(receive(client, 16), reply(0, 1));
    const std::string map = "nbdinfo --map 'nbd+unix:///data?socket=" + socket_ + "' | tr -s ' ' | ";
    // Where it begins, how long it is, and 3: a hole that reads as zeroes.
    EXPECT_EQ(run_program({"sh", "-c", map + "grep -q '^ 0 1048576 3 '"}), 0);
    EXPECT_EQ(run_program({"sh", "-c", map + "grep -q '^ 1048576 65536 0 '"}), 0);
    EXPECT_EQ(run_program({"sh", "-c", map + "grep -q '^ 1114112 15663104 3 '"}), 0);
    // Nothing is known while requests do not pass.
    on_reactor([&] {
        export_->suspend(kTestLimit);
        return true;
    });
    EXPECT_EQ(run_program({"sh", "-c", map + "grep -q '^ 0 16777216 0 '"}), 0);
}

TEST_F(NbdExportTest, AskingWhereDataIsNeedsAnAgreement) {
    const Descriptor client = negotiated_structured();
    send_text(client, request(7, 5, 0, 4096));
    EXPECT_EQ(receive(client, 26),
              chunk(true, 0x8001, 5, big_endian(std::uint32_t{22}) + std::string(2, '\0')));
}

TEST_F(NbdExportTest, SeveralClientsOfFioVerifyWhatTheyWrite) {
    if (run_program({"fio", "--enghelp=nbd"}) != 0) GTEST_SKIP() << "needs fio with its nbd engine";
    EXPECT_EQ(run_program({"fio", "--name=check", "--ioengine=nbd",
                           "--uri=nbd+unix:///data?socket=" + socket_, "--rw=randwrite", "--bs=4k-128k",
                           "--iodepth=8", "--numjobs=2", "--size=4m", "--offset_increment=8m",
                           "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--verify_state_save=0"}),
              0);
}

TEST_F(NbdExportTest, CopiesAWholeImageWithNbdcopy) {
    if (run_program({"nbdcopy", "--version"}) != 0) GTEST_SKIP() << "needs nbdcopy (libnbd-bin)";
    const std::string source = place_.root + "/source", back = place_.root + "/back";
    {
        std::ofstream file(source, std::ios::binary);
        for (std::uint64_t i = 0; i < kSize / 8; ++i)
            file.write(reinterpret_cast<const char*>(&i), sizeof i);
    }
    const std::string uri = "nbd+unix:///data?socket=" + socket_;
    ASSERT_EQ(run_program({"nbdcopy", "--connections=4", source, uri}), 0);
    ASSERT_EQ(run_program({"nbdcopy", "--connections=4", uri, back}), 0);
    EXPECT_EQ(run_program({"cmp", source, back}), 0);
    EXPECT_EQ(run_program({"cmp", source, place_.file}), 0);
}

}  // namespace
}  // namespace understudy::mirror
