// emcmd's command line, status numbers and what its queries print.

#include "mirror/emcmd/file_system.h"
#include "mirror/emcmd/report.h"
#include "mirror/emcmd/request.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

namespace understudy::mirror::emcmd {
namespace {

using Words = std::vector<std::string>;

// Spec: EMC-001, EMC-004, EMC-005
TEST(Request, NamesOfCommandsAreWholeAndInAnyCase) {
    for (const char* name : {"PAUSEMIRROR", "pausemirror", "PauseMirror"}) {
        const auto request = parse(Words{"n1", name, "E"});
        ASSERT_TRUE(request) << name;
        EXPECT_EQ(request->spec->verb, Verb::pause_mirror);
        EXPECT_EQ(request->system, "n1");
    }
    EXPECT_EQ(find("CREATMIRROR"), find("createmirror"));
    EXPECT_EQ(find("setsnapshot"), nullptr);
    EXPECT_EQ(find("PAUSEMIRRORS"), nullptr);
}

// Spec: EMC-006
TEST(Request, AWrongLinePrintsTheListOrTheCommandsOwnSynopsis) {
    const auto unknown = parse(Words{".", "FROBNICATE"});
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().unknown, "FROBNICATE");
    EXPECT_NE(unknown.error().text.find("GETMIRRORVOLINFO"), std::string::npos);
    for (const Words& words :
         {Words{".", "PAUSEMIRROR"}, Words{".", "PAUSEMIRROR", "E", "10.8.0.12", "more"}}) {
        const auto wrong = parse(words);
        ASSERT_FALSE(wrong);
        EXPECT_EQ(wrong.error().text,
                  "usage: emcmd <system> PAUSEMIRROR <volume letter> [<target system ip>]\n");
        EXPECT_EQ(wrong.error().unknown, "");
    }
    EXPECT_FALSE(parse(Words{"."}));
    EXPECT_FALSE(parse(Words{}));
}

// Spec: EMC-032, EMC-037
TEST(Request, AProxyIsTheLastTwoWords) {
    const auto request = parse(Words{"nodeB", "GETSERVICEINFO", "-PROXY", "."});
    ASSERT_TRUE(request);
    EXPECT_EQ(request->proxy, ".");
    EXPECT_TRUE(request->arguments.empty());
    EXPECT_FALSE(parse(Words{"nodeB", "GETSERVICEINFO", "-proxy"}));
    const auto without = parse(Words{"nodeB", "SWITCHOVERVOLUME", "E", "-f"});
    ASSERT_TRUE(without);
    EXPECT_EQ(without->proxy, std::nullopt);
    EXPECT_EQ(without->arguments, (Words{"E", "-f"}));
}

// Spec: EMC-010, EMC-011, EMC-012, EMC-270
TEST(Request, AVolumeIsItsFirstLetterOrALongName) {
    for (const char* text : {"E", "e", "E:", "e:\\", "Else"})
        EXPECT_EQ(volume_of(text), VolumeId("E")) << text;
    EXPECT_EQ(volume_of("vol:data-1"), VolumeId("data-1"));
    for (const char* text : {"", "1", ":", "-"})
        EXPECT_EQ(volume_of(text), std::nullopt) << text;
    EXPECT_EQ(volume_root(VolumeId("E")), "E:");
    EXPECT_EQ(volume_root(VolumeId("data")), "vol:data");
    EXPECT_EQ(*volume_of(volume_letter(VolumeId("e"))), VolumeId("e")) << "not the letter E";
}

// Spec: EMC-115, EMC-180
TEST(Request, TypesAndMasks) {
    EXPECT_EQ(type_of("a"), MirrorType::async);
    EXPECT_EQ(type_of("S"), MirrorType::sync);
    for (const char* text : {"", "D", "AS", "sync"})
        EXPECT_EQ(type_of(text), std::nullopt);
    EXPECT_EQ(mask_of("384"), 384U);
    EXPECT_EQ(mask_of("800"), 800U);
    EXPECT_EQ(mask_of("0x180"), 384U);
    for (const char* text : {"", "1024", "-1", "0x", "0x400", "0xg", "0x100000000", "seven"})
        EXPECT_EQ(mask_of(text), std::nullopt) << text;
}

// Spec: EMC-030, EMC-040
TEST(Table, HoldsTheManualsCommandsAndSaysWhichAreInternal) {
    EXPECT_EQ(table().size(), 48U);
    std::string internal;
    for (const Spec& spec : table())
        if (spec.internal) internal += std::string(spec.name) + " ";
    EXPECT_EQ(internal,
              "CLEARBLOCKTARGET CREATEJOB DELETEJOB GETBLOCKTARGET GETREMOTEBITMAP MERGETARGETBITMAP "
              "RESTARTVOLUMEPIPE SETBLOCKTARGET UPDATEJOB ");
    EXPECT_NE(usage().find("destroy data"), std::string::npos);
    EXPECT_GT(usage().find("UPDATEJOB"), usage().find("For the service"));
}

// Spec: EMC-022, EMC-023, EMC-026, EMC-027, EMC-065, EMC-237
TEST(StatusNumbers, AreTheManualsAndEndWithTheirExitCodes) {
    EXPECT_EQ(status_line(Status::success), "Status = 0\n");
    EXPECT_EQ(exit_code(Status::success), 0);
    EXPECT_EQ(exit_code(Status::invalid_parameter), 87);
    EXPECT_EQ(exit_code(Status::more_data), 234);
    EXPECT_EQ(exit_code(Status::operation_aborted), 251);
    EXPECT_EQ(status_line(Status::service_marked_for_delete), "Status = 1072\n");
    EXPECT_EQ(exit_code(Status::service_marked_for_delete), 0);
    for (const int value : {0,   1,   2,   3,   5,   15,   22,   33,   46,   50,   51,   53,   64,   87,  121,
                            170, 207, 232, 234, 995, 1072, 1131, 1225, 1229, 1231, 1235, 1265, 1326, 1450})
        EXPECT_NE(meaning(value), "") << value;
    EXPECT_EQ(meaning(4), "");
}

// Spec: EMC-065, EMC-219
TEST(StatusNumbers, ErrorsBecomeTheNumberThatSaysMost) {
    const auto of = [](Code code, const char* text) { return status_of(Error{code, text, 0}); };
    EXPECT_EQ(of(Code::not_found, "no volume E on n1"), Status::file_not_found);
    EXPECT_EQ(of(Code::unreachable, "n2 does not answer"), Status::bad_network_path);
    EXPECT_EQ(of(Code::bad_argument, "sector sizes differ"), Status::invalid_parameter);
    EXPECT_EQ(of(Code::has_dependents, "being resynchronised"), Status::busy);
    EXPECT_EQ(of(Code::failure, "/dev/x is in use by bash (pid 7)"), Status::lock_violation);
    EXPECT_EQ(of(Code::failure, "/dev/x is mounted on /mnt: unmount it first"), Status::lock_violation);
    EXPECT_EQ(of(Code::failure, "anything else"), Status::invalid_function);
}

VolumeFacts two_targets() {
    setenv("TZ", "UTC", 1);
    tzset();
    VolumeFacts volume;
    volume.volume = VolumeId("E");
    volume.system = "n1";
    volume.local_address = "10.8.0.11";
    volume.role = Role::source;
    volume.label = "data1";
    volume.file_system = "ext4";
    volume.size = 4294967296;
    volume.attributes = 0x20;
    volume.modified = 1709632980;
    Remote one;
    one.node = "n2";
    one.address = "10.8.0.12";
    one.volume = VolumeId("E");
    one.state = MirrorState::mirroring;
    one.type = MirrorType::async;
    one.blocks = 65536;
    one.new_writes = 211;
    one.pass = 1;
    one.resync_started = 1709632931;
    one.resync_last = 1709633380;
    Remote two = one;
    two.address = "10.8.0.13";
    two.state = MirrorState::paused;
    two.type = MirrorType::sync;
    two.user_requested = true;
    volume.remotes = {one, two};
    return volume;
}

VolumeFacts target() {
    VolumeFacts volume = two_targets();
    volume.system = "n2";
    volume.local_address = "10.8.0.12";
    volume.role = Role::target;
    volume.size.reset();
    volume.remotes.resize(1);
    volume.remotes[0].address = "10.8.0.11";
    return volume;
}

VolumeFacts alone() {
    VolumeFacts volume = two_targets();
    volume.role = Role::none;
    volume.remotes.clear();
    return volume;
}

// Spec: EMC-041, EMC-044, EMC-045, EMC-191, EMC-192, EMC-193, EMC-194
TEST(Report, MirrorVolInfo) {
    EXPECT_EQ(mirror_vol_info(two_targets()), "E: 1 n1 10.8.0.12 1\nE: 1 n1 10.8.0.13 4\n");
    EXPECT_EQ(mirror_vol_info(target()), "E: 2 10.8.0.11 n2 1\n");
    EXPECT_EQ(mirror_vol_info(alone()), "E: 0 - - 0\n");
    VolumeFacts unknown = target();
    unknown.remotes[0].state = MirrorState::invalid;
    EXPECT_EQ(mirror_vol_info(unknown), "E: 2 10.8.0.11 n2 -1\n");
}

// Spec: EMC-046, EMC-189, EMC-190
TEST(Report, MirrorType) {
    EXPECT_EQ(mirror_type(two_targets()),
              "Target system 10.8.0.12, Type 2\nTarget system 10.8.0.13, Type 1\n");
    EXPECT_EQ(mirror_type(target()), "Target system 10.8.0.12, Type 2\n");
    EXPECT_EQ(mirror_type(alone()), "Target system -, Type 0\n");
}

// Spec: EMC-042, EMC-207, EMC-208
TEST(Report, VolumeDriverState) {
    EXPECT_EQ(volume_drv_state(two_targets()), "1 10.8.0.12\n4 10.8.0.13\n");
    EXPECT_EQ(volume_drv_state(target()), "1 10.8.0.11\n");
    EXPECT_EQ(volume_drv_state(alone()), "0\n");
}

// Spec: EMC-047, EMC-063, EMC-064, EMC-199, EMC-200
TEST(Report, ResyncStatus) {
    EXPECT_EQ(resync_status(two_targets()), R"(Resync Status for Volume E:
Target 0 (Target System 10.8.0.12)
ResyncPhase     : 3
BitmapPass      : 1
NumberOfBlocks  : 65536
DirtyBlocks     : 0
CurrentBlock    : 0
NewWrites       : 211
ResyncStartTime : Tue Mar 05 10:02:11 2024
LastResyncTime  : Tue Mar 05 10:09:40 2024
Target 1 (Target System 10.8.0.13)
ResyncPhase     : 0
BitmapPass      : 1
NumberOfBlocks  : 65536
DirtyBlocks     : 0
CurrentBlock    : 0
NewWrites       : 211
ResyncStartTime : Tue Mar 05 10:02:11 2024
LastResyncTime  : Tue Mar 05 10:09:40 2024
)");
    EXPECT_EQ(resync_status(target()), "Resync Status for Volume E:\n");
}

// Spec: EMC-043, EMC-045, EMC-046, EMC-209, EMC-210, EMC-211, EMC-212, MOP-140, MOP-141, REP-094
TEST(Report, VolumeInfo) {
    const std::string first = R"(-----LEVEL 1 INFO-----
Volume Root      = E:
Last Modified    = Tue Mar 05 10:03:00 2024
Mirror Role      = SOURCE
Label            = data1
FileSystem       = ext4
Total Space      = 4294967296
Num Targets      = 2
Attributes       : 20h
)";
    VolumeFacts volume = two_targets();
    EXPECT_EQ(volume_info(volume, 1), first);
    const std::string second = first + R"(-----LEVEL 2 INFO-----
>> Remote [0]    = 10.8.0.12, E:
Mirror State     = MIRROR
Mirror Type      = ASYNCHRONOUSLY
>> Remote [1]    = 10.8.0.13, E:
Mirror State     = PAUSED
Mirror Type      = SYNCHRONOUSLY
)";
    EXPECT_EQ(volume_info(volume, 2), second);
    EXPECT_EQ(volume_info(volume, 3), second + R"(-----LEVEL 3 INFO-----
>> Remote [0]    = 10.8.0.12, E:
No Resync or CompVol Statistics to report
>> Remote [1]    = 10.8.0.13, E:
No Resync or CompVol Statistics to report
)");
    volume.remotes[0].state = MirrorState::resync;
    volume.remotes[0].dirty_blocks = 9;
    EXPECT_NE(volume_info(volume, 3).find("ResyncPhase     : 2\n"), std::string::npos);
    EXPECT_NE(volume_info(volume, 3).find("DirtyBlocks     : 9\n"), std::string::npos);
    EXPECT_NE(volume_info(target(), 1).find("Total Space      = N/A\nNum Targets      = 0\n"),
              std::string::npos);
}

// Spec: EMC-048, EMC-049, EMC-177, EMC-181, REP-303
TEST(Report, Configuration) {
    VolumeFacts volume = two_targets();
    volume.attributes = lifekeeper_config | shared_volume;
    EXPECT_EQ(configuration(volume), R"(** Calling GetConfiguration [Volume E] **
All Net Alert bit          IS NOT enabled
Net Alert                  IS NOT enabled
Broken State Alert         IS NOT enabled
Resync Done Alert          IS NOT enabled
Failover Alert             IS NOT enabled
Net Failure Alert          IS NOT enabled
LK Config                  IS enabled
Auto Resync                IS NOT enabled
MS Failover Cluster Config IS NOT enabled
Shared Volume              IS enabled
Configuration mask         = 288 (120h)
)");
    volume.attributes = 800;
    EXPECT_NE(configuration(volume).find("Configuration mask         = 800 (320h)\n"), std::string::npos);
    volume.attributes = net_failure_alert;
    EXPECT_NE(configuration(volume).find("\nNet Alert                  IS enabled\n"), std::string::npos);
}

// Spec: EMC-044, EMC-175, EMC-176
TEST(Report, CompleteVolumeList) {
    EXPECT_EQ(complete_volume_list(std::vector{two_targets(), target(), alone()}), R"(Volume 1 information:
Volume Root        = E:
Volume Label       = data1
Volume File System = ext4
Volume Total Space = 4294967296
Mirror Role        = 01
Number of targets  = 2
Target 0 information:
Volume State        = 0001
Target System       = 10.8.0.12
Target Drive Letter = E
Target 1 information:
Volume State        = 0004
Target System       = 10.8.0.13
Target Drive Letter = E
Volume 2 information:
Volume Root        = E:
Volume Label       = data1
Volume File System = ext4
Volume Total Space = N/A
Mirror Role        = 02
Number of targets  = 1
Target 0 information:
Volume State        = 0001
Target System       = n2
Target Drive Letter = E
Volume 3 information:
Volume Root        = E:
Volume Label       = data1
Volume File System = ext4
Volume Total Space = 4294967296
Mirror Role        = 00
Number of targets  = 0
)");
}

// Spec: EMC-024, EMC-044, EMC-204, EMC-205, EMC-206
TEST(Report, SourceAndTargetVolumes) {
    EXPECT_EQ(source_mirrored_volumes(std::vector{two_targets(), target()}), R"(Status = 0
Source Volume  = E:
Source Label   = data1
Source #Targs  = 2
Target 0
Target System  = 10.8.0.12
Mirror State   = 0001
Target 1
Target System  = 10.8.0.13
Mirror State   = 0004
)");
    EXPECT_EQ(target_mirrored_volumes(std::vector{two_targets(), target()}),
              R"(** Calling GetTargetMirroredVolumes **
Returned 1 Target Volumes
Target Volume 1 information:
Volume Root  = E:
Volume State = 1
Source       = 10.8.0.11
Target       = n2
)");
    EXPECT_EQ(source_mirrored_volumes({}), "Status = 0\n");
    EXPECT_EQ(target_mirrored_volumes({}),
              "** Calling GetTargetMirroredVolumes **\nReturned 0 Target Volumes\n");
}

// Spec: EMC-201, EMC-202
TEST(Report, ServiceInfo) {
    two_targets();
    EXPECT_EQ(service_info({"Understudy Service", "Release", "0.1", "0", 0x1000070, 1709629201, 1709633380}),
              R"(Service Description:= Understudy Service
Service Build Type: = Release
Service Version     = 0.1
Service Build       = 0
Driver Version      = 0.1
Driver Build        = 0
Volume Bit Map      = 1000070h
Service Start Time  = Tue Mar 05 09:00:01 2024
Last Modified Time  = Tue Mar 05 10:09:40 2024
)");
}

// Spec: EMC-183
TEST(Report, ExtendedVolumeInfo) {
    EXPECT_EQ(extended_volume_info({"8c41f0d2-0000-0000-0000-000000000000", 1048576, 0x31b4}),
              "-----EXTENDED INFO ---\n"
              "Physical Disk Signature = {8c41f0d2-0000-0000-0000-000000000000}\n"
              "Physical Disk Offset = 1048576\nInternal Disk ID = 0x31b4\n");
}

// Spec: EMC-213
TEST(Report, BreakUserRequested) {
    EXPECT_EQ(break_user_requested(two_targets()),
              "Target 0, remote system 10.8.0.12: FALSE\nTarget 1, remote system 10.8.0.13: TRUE\n");
}

// Spec: EMC-215, EMC-216, MOP-055, REP-019
TEST(Report, PotentialMirrorVolume) {
    Eligibility found;
    EXPECT_EQ(potential_mirror_vol(found), "TRUE\n");
    found.raw = found.swap = found.bitmaps = true;
    EXPECT_EQ(potential_mirror_vol(found),
              "RAW filesystem\nContains PageFile\nContains DataKeeper bitmap files\n");
    found.opened = false;
    EXPECT_TRUE(potential_mirror_vol(found).starts_with("Unable to open - "));
    found.opened = true;
    found.readable = false;
    EXPECT_TRUE(potential_mirror_vol(found).starts_with("Unable to retrieve the volume information"));
}

// Spec: EMC-209, EMC-215
TEST(FileSystems, AreKnownByTheirFirstBytes) {
    std::vector<std::byte> bytes(kProbeBytes);
    const auto put = [&bytes](std::size_t at, std::string_view text) {
        std::memcpy(bytes.data() + at, text.data(), text.size());
    };
    EXPECT_EQ(probe_file_system(bytes), FileSystem{});
    put(0x438, "\x53\xEF");
    put(0x478, "data1");
    EXPECT_EQ(probe_file_system(bytes), (FileSystem{"ext2", "data1"}));
    bytes[1024 + 0x60] = std::byte{0x40};
    EXPECT_EQ(probe_file_system(bytes).type, "ext4");
    bytes.assign(kProbeBytes, std::byte{0});
    put(0, "XFSB");
    put(0x6C, "archive");
    EXPECT_EQ(probe_file_system(bytes), (FileSystem{"xfs", "archive"}));
    bytes.assign(kProbeBytes, std::byte{0});
    put(4086, "SWAPSPACE2");
    EXPECT_EQ(probe_file_system(bytes).type, "swap");
    EXPECT_EQ(probe_file_system(std::span(bytes).first(100)), FileSystem{});
}

}  // namespace
}  // namespace understudy::mirror::emcmd
