#include "runtime/posix/posix_world.h"

#include "runtime/posix/event_loop.h"
#include "runtime/posix/posix_files.h"
#include "runtime/posix/posix_network.h"
#include "runtime/posix/posix_processes.h"
#include "runtime/posix/posix_random.h"

namespace understudy::runtime {

struct PosixWorld::Impl {
    Impl(CredentialPaths paths, std::string records)
        : processes(loop, kKillGrace, std::move(records)), network(loop, std::move(paths), files) {
        // No credentials, or bad ones, are legal here: listen and connect say so, reload_credentials why.
        (void)network.reload_credentials();
    }

    EventLoop loop;  // first: everything else waits on it
    PosixFiles files;
    PosixRandom random;
    PosixProcesses processes;
    PosixNetwork network;
};

PosixWorld::PosixWorld(CredentialPaths credentials, std::string process_records)
    : impl_(std::make_unique<Impl>(std::move(credentials), std::move(process_records))) {}

PosixWorld::~PosixWorld() = default;

World PosixWorld::world() {
    return {impl_->loop, impl_->loop, impl_->network, impl_->processes, impl_->files, impl_->random};
}

std::vector<std::string> PosixWorld::end_unfinished_processes() {
    return impl_->processes.end_unfinished();
}

void PosixWorld::run() {
    impl_->loop.run();
}

void PosixWorld::stop() {
    impl_->loop.stop();
}

void PosixWorld::on_terminate(std::function<void()> handler) {
    impl_->loop.on_terminate(std::move(handler));
}

void PosixWorld::on_refused(RefusalHandler handler) {
    impl_->network.on_refused(std::move(handler));
}

}  // namespace understudy::runtime
