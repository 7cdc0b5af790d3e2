// understudy-export: offers a file or a block device as it is, unreplicated, in the ways a volume is offered.
// The reference for benchmarks, and a tool to try an export by hand.

#include "base/text.h"
#include "mirror/export/export.h"
#include "mirror/io/raw_backend.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <string>
#include <string_view>

namespace {

using namespace understudy;
using namespace understudy::mirror;

constexpr char kUsage[] =
    "usage: understudy-export FILE --fuse MOUNTDIR --device DIR [--name NAME] [--keeper SOCKET] "
    "[--read-only]\n"
    "       understudy-export FILE --ublk --device DIR [--queues N] [--name NAME] [--read-only]\n"
    "       understudy-export FILE --nbd SOCKET [--name NAME] [--read-only]\n"
    "Offers FILE as block device DIR/NAME or as NBD server, in the foreground. Prints the path when it is "
    "ready.\n"
    "SIGTERM takes the device away; while it is in use this is refused and said, a second SIGTERM within "
    "five\n"
    "seconds takes it away by force. SIGUSR2 ends the process and leaves the device to the next one "
    "(--keeper, --ublk).\n";

constexpr auto kForceWithin = std::chrono::seconds(5);

struct Arguments {
    std::string file;
    std::map<std::string, std::string, std::less<>> options;
    bool read_only = false;
    bool ublk = false;
    std::uint32_t queues = 1;
};

bool parse(int argc, char** argv, Arguments& arguments) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "--read-only") {
            arguments.read_only = true;
        } else if (word == "--ublk") {
            arguments.ublk = true;
        } else if (word == "--fuse" || word == "--device" || word == "--nbd" || word == "--name" ||
                   word == "--keeper" || word == "--queues") {
            if (++i == argc) return false;
            arguments.options[std::string(word)] = argv[i];
        } else if (word.starts_with("-") || !arguments.file.empty()) {
            return false;
        } else {
            arguments.file = word;
        }
    }
    if (arguments.options.contains("--queues")) {
        constexpr int kMostQueues = 64;
        const auto queues = text::to_int(arguments.options["--queues"]);
        if (!queues || *queues < 1 || *queues > kMostQueues) return false;
        arguments.queues = static_cast<std::uint32_t>(*queues);
    }
    const bool fuse = arguments.options.contains("--fuse"), nbd = arguments.options.contains("--nbd");
    const bool device = arguments.options.contains("--device");
    return !arguments.file.empty() && (fuse ? 1 : 0) + (nbd ? 1 : 0) + (arguments.ublk ? 1 : 0) == 1 &&
           device != nbd;
}

/// Runs one export until a signal ends it.
class Server {
  public:
    Server(Reactor& reactor, int signals) : reactor_(reactor), signals_(signals) {
        signal_op_.owner = this;
        signal_op_.done = [](IoOperation& op, int result) {
            auto& self = *static_cast<Server*>(op.owner);
            if (result > 0) self.on_signal(static_cast<int>(self.info_.ssi_signo));
        };
    }

    ExportReady on_ready() {
        return [this](Result<std::unique_ptr<Export>> made) {
            if (!made) return end(made.error());
            export_ = std::move(*made);
            std::printf("%s\n", export_->device_path().c_str());
            std::fflush(stdout);
            wait_for_signal();
        };
    }
    [[nodiscard]] std::function<void()> on_lost() {
        return [this] { end({Code::failure, "the device has ended", 0}); };
    }
    int run() {
        reactor_.run();
        return exit_code_;
    }
    /// Before the reactor goes: callbacks still know this object.
    void forget_export() { export_.reset(); }

  private:
    void wait_for_signal() {
        reactor_.read(signal_op_, signals_, std::as_writable_bytes(std::span(&info_, 1)), 0);
    }
    void on_signal(int number) {
        if (number == SIGUSR2) return export_->release([this] { reactor_.stop(); });
        const bool again = asked_ && reactor_.now() - *asked_ < kForceWithin;
        asked_ = reactor_.now();
        export_->stop(again ? StopMode::forced : StopMode::orderly, [this](const Result<>& result) {
            if (result) return reactor_.stop();
            std::fprintf(stderr, "understudy-export: %s\n", result.error().text.c_str());
            wait_for_signal();
        });
    }
    void end(const Error& error) {
        std::fprintf(stderr, "understudy-export: %s\n", error.text.c_str());
        exit_code_ = static_cast<int>(error.code);
        reactor_.stop();
    }

    Reactor& reactor_;
    int signals_;
    signalfd_siginfo info_{};
    IoOperation signal_op_;
    std::unique_ptr<Export> export_;
    std::optional<std::chrono::steady_clock::time_point> asked_;
    int exit_code_ = 0;
};

int report(const Error& error) {
    std::fprintf(stderr, "understudy-export: %s\n", error.text.c_str());
    return static_cast<int>(error.code);
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    if (argc == 2 && std::string_view(argv[1]) == "--help") {
        std::fputs(kUsage, stdout);
        return 0;
    }
    if (!parse(argc, argv, arguments)) {
        std::fputs(kUsage, stderr);
        return static_cast<int>(Code::syntax);
    }
    sigset_t set;
    sigemptyset(&set);
    for (int number : {SIGTERM, SIGINT, SIGUSR2})
        sigaddset(&set, number);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    signal(SIGPIPE, SIG_IGN);
    if (auto safe = protect_from_memory_pressure(); !safe)
        std::fprintf(stderr, "understudy-export: warning: %s\n", safe.error().text.c_str());

    auto reactor = Reactor::create();
    if (!reactor) return report(reactor.error());
    auto backend = RawBackend::open(
        **reactor,
        {.path = arguments.file, .read_only = arguments.read_only, .busy_wait = std::chrono::seconds(10)});
    if (!backend) return report(backend.error());
    Server server(**reactor, signalfd(-1, &set, SFD_CLOEXEC));
    const VolumeId name(arguments.options.contains("--name") ? arguments.options["--name"] : "volume");
    if (arguments.options.contains("--nbd")) {
        make_nbd_export(
            **reactor, **backend,
            {.volume = name, .socket_path = arguments.options["--nbd"], .read_only = arguments.read_only},
            server.on_ready());
    } else if (arguments.ublk) {
        UblkOptions options;
        options.volume = name;
        options.device_directory = arguments.options["--device"];
        options.read_only = arguments.read_only;
        options.queues = arguments.queues;
        options.lost = server.on_lost();
        make_ublk_export(**reactor, backend->get(), options, server.on_ready());
    } else {
        FuseLoopOptions options;
        options.volume = name;
        options.mount_directory = arguments.options["--fuse"];
        options.device_directory = arguments.options["--device"];
        options.keeper_socket = arguments.options["--keeper"];
        options.read_only = arguments.read_only;
        options.lost = server.on_lost();
        make_fuse_loop_export(**reactor, backend->get(), options, server.on_ready());
    }
    const int exit_code = server.run();
    server.forget_export();
    return exit_code;
}
