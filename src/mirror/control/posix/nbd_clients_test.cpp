#include "mirror/control/posix/nbd_clients.h"

#include "runtime/posix/posix_files.h"
#include "runtime/posix/test_support.h"

#include <gmock/gmock.h>

#include <filesystem>

namespace understudy::mirror::control {
namespace {

using runtime::Endpoint;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(NbdPlaces, EachVolumeHasAnAddressAndAPort) {
    EXPECT_THAT(*parse_nbd_places(""), IsEmpty());
    EXPECT_THAT(*parse_nbd_places("  data=10.0.0.1:10809 \t logs=[fd00::1]:1 "),
                ElementsAre(Pair(VolumeId("data"), Endpoint{"10.0.0.1", 10809}),
                            Pair(VolumeId("logs"), Endpoint{"fd00::1", 1})));
}

TEST(NbdPlaces, OtherTextsAreRefused) {
    for (const auto* list : {"data", "=10.0.0.1:1", "data=10.0.0.1", "data=10.0.0.1:0", "data=10.0.0.1:65536",
                             "data=:1", "data=fd00::1:10809", "data=10.0.0.1:x", "a=1.1.1.1:1,b=1.1.1.1:2"}) {
        const auto answer = parse_nbd_places(list);
        ASSERT_FALSE(answer) << list;
        EXPECT_THAT(answer.error().text, HasSubstr("VOLUME=ADDRESS:PORT")) << list;
    }
    for (const auto* list : {"a=10.0.0.1:1 a=10.0.0.1:2", "a=10.0.0.1:1 b=10.0.0.1:1"}) {
        const auto answer = parse_nbd_places(list);
        ASSERT_FALSE(answer) << list;
        EXPECT_THAT(answer.error().text, HasSubstr("twice")) << list;
    }
}

TEST(NbdClientsTest, NobodyIsLetInBeforeThereAreCredentialsAndEverybodyByTheNewest) {
    const runtime::testing::TemporaryDirectory directory;
    const runtime::testing::TestCa cluster("cluster");
    const runtime::PosixFiles files;
    runtime::CredentialPaths paths{directory.path("ca.pem"), directory.path("left.pem"),
                                   directory.path("left.key")};
    NbdClients clients({{{VolumeId("data"), {"127.0.0.1", 10809}}}, false, paths});
    EXPECT_FALSE(clients.of(VolumeId("other")));
    const auto tcp = clients.of(VolumeId("data"));
    ASSERT_TRUE(tcp);
    EXPECT_EQ(tcp->port, 10809);
    EXPECT_FALSE(tcp->plain);
    EXPECT_FALSE(tcp->begin_tls());
    EXPECT_FALSE(clients.reload(files));
    EXPECT_FALSE(tcp->begin_tls());
    (void)cluster.issue(directory, "left");
    EXPECT_TRUE(clients.reload(files));
    EXPECT_TRUE(tcp->begin_tls());
    // What cannot be read any more is not used any more.
    std::filesystem::remove(paths.private_key);
    EXPECT_FALSE(clients.reload(files));
    EXPECT_FALSE(tcp->begin_tls());
}

}  // namespace
}  // namespace understudy::mirror::control
