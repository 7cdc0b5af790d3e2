#include "mirror/control/record.h"

#include <gtest/gtest.h>

#include <map>

namespace understudy::mirror::control {
namespace {

class MemoryFiles : public runtime::Files {
  public:
    Result<std::string> read(const std::string& path) const override {
        const auto at = files.find(path);
        if (at == files.end()) return fail(Code::not_found, "no file {}", path);
        return at->second;
    }
    Result<> write_atomic(const std::string& path, std::string_view content, int) override {
        if (full) return fail(Code::failure, "no space left for {}", path);
        files[path] = std::string(content);
        return {};
    }
    Result<> remove(const std::string& path) override {
        files.erase(path);
        return {};
    }
    Result<> make_directories(const std::string&, int) override { return {}; }
    bool exists(const std::string& path) const override { return files.contains(path); }
    bool executable(const std::string&) const override { return false; }
    std::vector<std::string> list(const std::string& directory) const override {
        std::vector<std::string> names;
        for (const auto& [path, content] : files)
            if (path.starts_with(directory + "/")) names.push_back(path.substr(directory.size() + 1));
        return names;
    }
    std::map<std::string, std::string> files;
    bool full = false;
};

MirrorRecord full_record() {
    MirrorRecord record;
    record.volume = VolumeId("data-1");
    for (std::size_t i = 0; i < record.uuid.size(); ++i)
        record.uuid[i] = static_cast<std::uint8_t>(240 + i);
    record.device = "/dev/vg/data \"x\"";
    record.media = "wwid:naa.5000c500a1b2c3d4+2048";
    record.replaced = true;
    record.size = 0xFFFF'FFFF'FFFF'0000ULL;
    record.device_size = 0xFFFF'FFFF'FFFF'1000ULL;
    record.sector_size = 4096;
    record.export_kind = ExportKind::nbd;
    record.role = Role::source;
    record.role_epoch = 3;
    record.lineage.current = 0xFEDC'BA98'7654'3210ULL;
    record.lineage.history = {1, 2};
    record.origin = "third";
    record.demoted = true;
    record.consistent = false;
    record.alone_noted = false;
    record.alone_since_s = 1700000000;
    record.snapshot_location = "/var/snapshots";
    record.free_left_out = true;
    PeerRecord peer;
    peer.node = "right";
    peer.local_address = "10.0.0.1";
    peer.address = "10.0.0.2";
    peer.port = 9998;
    peer.type = MirrorType::async;
    peer.state = MirrorState::paused;
    peer.cause = PauseCause::link_lost;
    peer.user_requested = true;
    peer.problem = "somebody";
    peer.clean = true;
    peer.alone_since_s = 1699999999;
    peer.log_valid = false;
    peer.log_complete = true;
    peer.full_cause = "somebody said so";
    peer.log_path = "/var/x.log";
    peer.parameters = {{"ResyncReads", "30"}};
    record.peers.push_back(peer);
    peer.node = "third";
    peer.address = "10.0.0.3";
    peer.type = MirrorType::sync;
    peer.host = "fourth";
    peer.pairs = {{"left", "third", "10.0.0.1", "10.0.0.3", 9998},
                  {"left", "fourth", "10.0.0.1", "10.0.0.4", 9999}};
    record.peers.push_back(peer);
    record.lineage.peers = {{"right", {2, 1, true}}, {"third", {1, 1, false}}};
    return record;
}

/// As the release before several targets wrote it.
constexpr std::string_view kFormat1 = R"({
  "format": 1, "volume": "R", "uuid": "000102030405060708090a0b0c0d0e0f", "device": "/d", "size": 65536,
  "sector_size": 512, "local_address": "10.0.0.1", "remote_address": "10.0.0.2", "remote_port": 9998,
  "remote_node": "right", "type": "async", "export": "fuse", "role": 2, "role_epoch": 3,
  "generation": "0000000000000007", "generation_history": ["0000000000000006"],
  "generation_in_sync": "0000000000000006", "peer_may_hold_generation": true, "state": 1, "cause": 0,
  "user_requested": false, "problem": "", "creating": false, "demoted": false, "consistent": true,
  "outdated": false, "unlocked": false, "yielded": false, "split_brain": false, "clean": true, "log_valid": true,
  "log_path": "/b/R.bitmap"})";

// Spec: REP-148
TEST(Record, TheFormatOfOnePeerIsRead) {
    const auto read = decode_record(kFormat1);
    ASSERT_TRUE(read) << read.error().text;
    ASSERT_EQ(read->peers.size(), 1U);
    const PeerRecord& peer = read->peers.front();
    EXPECT_EQ(peer.node, "right");
    EXPECT_EQ(peer.address, "10.0.0.2");
    EXPECT_EQ(peer.local_address, "10.0.0.1");
    EXPECT_EQ(peer.port, 9998);
    EXPECT_EQ(peer.type, MirrorType::async);
    EXPECT_EQ(peer.state, MirrorState::mirroring);
    EXPECT_EQ(peer.log_path, "/b/R.bitmap");
    EXPECT_TRUE(peer.clean);
    EXPECT_EQ(read->origin, "right");
    EXPECT_EQ(read->generations("right"), (Generations{7, {6}, 6, true}));
    const auto again = decode_record(encode(*read));
    ASSERT_TRUE(again) << again.error().text;
    EXPECT_EQ(*again, *read);
}

// Spec: REP-151
TEST(Record, EveryFieldSurvivesTheFile) {
    const auto read = decode_record(encode(full_record()));
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(*read, full_record());
}

TEST(Record, TheWayOfTheFirstReleaseIsAnyBlockDevice) {
    MirrorRecord record = full_record();
    record.export_kind = ExportKind::ublk;
    std::string text = encode(record);
    EXPECT_NE(text.find("\"export\": \"fuse\""), std::string::npos) << "the first release reads this";
    EXPECT_EQ(decode_record(text)->export_kind, ExportKind::ublk);
    text.replace(text.find("export_wanted"), 13, "unknown_field");
    EXPECT_EQ(decode_record(text)->export_kind, ExportKind::automatic);
}

// Spec: MOP-018, MOP-019
TEST(Record, HostsThatShareADiskAreOnePeerWhicheverServes) {
    MirrorRecord record = full_record();
    ASSERT_NE(record.peer_of_host("fourth"), nullptr);
    EXPECT_EQ(record.peer_of_host("fourth")->node, "third");
    EXPECT_EQ(record.peer_of_host("right")->node, "right");
    EXPECT_EQ(record.peer_of_host("fifth"), nullptr);
    PeerRecord& peer = *record.peer("third");
    EXPECT_EQ(peer.host_name(), "fourth");
    EXPECT_EQ(peer.hosts(), (std::vector<std::string>{"fourth", "third"}));
    EXPECT_FALSE(peer.use("left", "fifth"));
    ASSERT_TRUE(peer.use("left", "third"));
    EXPECT_EQ(peer.host, "");
    EXPECT_EQ(peer.host_name(), "third");
    EXPECT_EQ(peer.address, "10.0.0.3");
    EXPECT_EQ(peer.port, 9998);
    EXPECT_EQ(record.peer("right")->hosts(), std::vector<std::string>{"right"});
}

struct KeptRecords : SharedRecords {
    Result<> save(const VolumeId&, std::string_view content) override {
        text = content;
        return {};
    }
    Result<> remove(const VolumeId&) override {
        text.clear();
        return {};
    }
    std::string text;
};

// Spec: MOP-067, REP-058
TEST(Record, ThatOfASharedVolumeLiesBesideItAndNotOnTheHost) {
    MemoryFiles files;
    RecordStore store(files, "/m");
    MirrorRecord record = full_record();
    record.shared = true;
    EXPECT_FALSE(store.save(record)) << "nobody keeps it";
    KeptRecords kept;
    store.set_shared(&kept);
    ASSERT_TRUE(store.save(record));
    EXPECT_TRUE(files.files.empty());
    const auto read = decode_record(kept.text);
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(*read, record);
    ASSERT_TRUE(store.remove(record));
    EXPECT_EQ(kept.text, "");
}

// Spec: REP-148
TEST(Record, TheStoreGivesBackWhatWasSaved) {
    MemoryFiles files;
    RecordStore store(files, "/m");
    ASSERT_TRUE(store.save(full_record()));
    EXPECT_TRUE(store.exists(VolumeId("data-1")));
    const auto loaded = store.load_all();
    ASSERT_EQ(loaded.size(), 1U);
    ASSERT_TRUE(loaded[0].record);
    EXPECT_EQ(*loaded[0].record, full_record());
    ASSERT_TRUE(store.remove(full_record()));
    EXPECT_TRUE(store.load_all().empty());
}

TEST(Record, AFullDiskIsAnErrorThatNamesTheMirror) {
    MemoryFiles files;
    files.full = true;
    const auto saved = RecordStore(files, "/m").save(full_record());
    ASSERT_FALSE(saved);
    EXPECT_NE(saved.error().text.find("data-1"), std::string::npos);
}

TEST(Record, ADamagedFileIsReportedAndKept) {
    MemoryFiles files;
    files.files["/m/R.json"] = "{\"format\": 1,";
    files.files["/m/S.json"] = encode(full_record());  // of another volume
    const auto loaded = RecordStore(files, "/m").load_all();
    ASSERT_EQ(loaded.size(), 2U);
    EXPECT_FALSE(loaded[0].record);
    EXPECT_FALSE(loaded[1].record);
    EXPECT_EQ(files.files.size(), 2U);
}

TEST(Record, EveryMissingFieldIsNamed) {
    const std::string whole = encode(full_record());
    std::size_t lines = 0;
    for (std::size_t at = whole.find("\n  \""); at != std::string::npos; at = whole.find("\n  \"", at + 1)) {
        std::string cut = whole;
        const std::size_t name_end = cut.find('"', at + 4);
        const std::string name = cut.substr(at + 4, name_end - at - 4);
        cut.replace(at + 4, name.size(), "other");
        const auto read = decode_record(cut);
        ++lines;
        // Younger than the format: a record without them is one of the first release.
        if (name == "alone_noted" || name == "alone_since" || name == "export_wanted" ||
            name == "device_size" || name == "media" || name == "replaced" || name == "snapshot_location" ||
            name == "free_left_out" || name == "shared") {
            EXPECT_TRUE(read) << name;
            continue;
        }
        ASSERT_FALSE(read) << name;
        EXPECT_NE(read.error().text.find(name), std::string::npos) << read.error().text;
    }
    EXPECT_EQ(lines, 28U);
}

TEST(Record, APeersMissingFieldIsNamedAndNoneOrTooManyPeersAreRefused) {
    std::string cut = encode(full_record());
    cut.replace(cut.find("\"may_hold_generation\""), 21, "\"may_hold_generatio_\"");
    auto read = decode_record(cut);
    ASSERT_FALSE(read);
    EXPECT_NE(read.error().text.find("may_hold_generation"), std::string::npos) << read.error().text;
    MirrorRecord record = full_record();
    record.peers.clear();
    for (const Role role : {Role::none, Role::target}) {
        record.role = role;
        EXPECT_FALSE(decode_record(encode(record))) << static_cast<int>(role);
    }
    while (record.peers.size() <= kMaxTargets) {
        record.peers.push_back(full_record().peers.front());
        record.peers.back().node += std::to_string(record.peers.size());
    }
    EXPECT_FALSE(decode_record(encode(record)));
    record.peers.resize(2);
    record.peers[1].node = record.peers[0].node;
    EXPECT_FALSE(decode_record(encode(record)));
}

// Spec: KIT-068
TEST(Record, ASourceMayHaveNoTargetYet) {
    MirrorRecord record = full_record();
    record.role = Role::source;
    record.shared = false;
    record.peers.clear();
    record.lineage.peers.clear();
    const auto read = decode_record(encode(record));
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(*read, record);
    EXPECT_EQ(read->main().node, "");
    EXPECT_EQ(read->main().state, MirrorState::none);
    record.shared = true;  // its owner has no other way to tell that it is not mirrored
    EXPECT_FALSE(decode_record(encode(record)));
}

TEST(Record, ANewerFormatIsRefused) {
    std::string newer = encode(full_record());
    newer.replace(newer.find("\"format\": 2"), 11, "\"format\": 3");
    const auto read = decode_record(newer);
    ASSERT_FALSE(read);
    EXPECT_NE(read.error().text.find("upgrade"), std::string::npos);
}

TEST(Record, VolumeNamesAreChecked) {
    EXPECT_EQ(volume_id_problem(VolumeId("R")), "");
    EXPECT_EQ(volume_id_problem(VolumeId("pg_data-1")), "");
    EXPECT_NE(volume_id_problem(VolumeId("")), "");
    EXPECT_NE(volume_id_problem(VolumeId(std::string(33, 'a'))), "");
    EXPECT_NE(volume_id_problem(VolumeId("../etc")), "");
    EXPECT_NE(volume_id_problem(VolumeId("-r")), "");
}

}  // namespace
}  // namespace understudy::mirror::control
