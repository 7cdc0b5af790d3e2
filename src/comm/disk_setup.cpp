#include "comm/disk_setup.h"

#include "comm/disk_format.h"

namespace understudy::comm {
namespace {

using Answer = runtime::OneShot<Result<std::string>>;

Result<bool> needs_header(const std::string& start, const std::string& device, const disk::Pair& pair) {
    const auto found = disk::probe(std::as_bytes(std::span(start.data(), start.size())), pair);
    switch (found.contents) {
        case disk::Contents::ours:
            return false;
        case disk::Contents::blank:
            return true;
        case disk::Contents::other_pair: {
            // NOLINTNEXTLINE(bugprone-unchecked-optional-access): this verdict comes with the pair
            const auto& [first, second] = *found.pair;
            return fail(Code::bad_argument,
                        "{} carries a path between {} and {}; if those are of an earlier cluster, erase it "
                        "(dd if=/dev/zero of={} bs=128K count=1) and try again",
                        device, first.str(), second.str(), device);
        }
        case disk::Contents::foreign:
            return fail(
                Code::bad_argument,
                "{} is not empty: a DISK path needs a partition of its own without a file system. If "
                "nothing on it is needed, erase its beginning (dd if=/dev/zero of={} bs=128K count=1)",
                device, device);
    }
    return false;
}

}  // namespace

runtime::Task<Result<>> prepare_disk(runtime::SharedDisks& disks, runtime::Clock& clock,
                                     runtime::Tasks& tasks, std::string device, NodeName self,
                                     NodeName peer) {
    const auto disk = disks.open(device, runtime::SharedDisks::Use::setup);
    const auto pair = disk::Pair::of(self, peer);
    Answer read(tasks);
    disk->read(0, disk::kProbeBytes, [read](Result<std::string> result) { read.set(std::move(result)); });
    Answer written(tasks);
    const auto silent = [read, written, device] {
        const Result<std::string> why =
            fail(Code::failure, "{} did not answer within {} s", device, kDiskSetupLimit.count());
        read.set(why);
        written.set(why);
    };
    const auto timer = tasks.after(kDiskSetupLimit, silent);
    Result<std::string> start = co_await read;
    Result<> outcome;
    if (!start) {
        outcome = fail(start.error());
    } else if (const auto wanted = needs_header(*start, device, pair); !wanted) {
        outcome = fail(wanted.error());
    } else if (*wanted) {
        disk->write(0, disk::encode_header(pair, clock.wall().time_since_epoch().count()),
                    [written](const Result<>& result) {
                        written.set(result ? Result<std::string>(std::string())
                                           : Result<std::string>(tl::unexpected<Error>(result.error())));
                    });
        Result<std::string> done = co_await written;
        if (!done) outcome = fail(done.error());
    }
    tasks.cancel(timer);
    co_return outcome;
}

}  // namespace understudy::comm
