#include "daemons/remote_commands.h"

#include "base/text.h"
#include "messages/messages.h"

namespace understudy::daemons {
namespace {

using config::Command;
using config::Reply;

constexpr std::string_view kExecute = "remote.exec";
constexpr std::string_view kCopy = "remote.copy";
constexpr auto kCopyLimit = std::chrono::seconds(60);
// The answer of a command that was ended at its limit still has to come back.
constexpr auto kAnswerTime = std::chrono::seconds(5);
constexpr std::string_view kShell = "/bin/sh";
constexpr int kCopiedMode = 0644;

Reply refusal(Code code, std::string text) {
    return config::failure({code, std::move(text), 0});
}

}  // namespace

RemoteCommands::RemoteCommands(runtime::World world, config::Database& database, comm::Cluster& cluster,
                               const NodeOptions& options, std::map<std::string, std::string> environment)
    : world_(world),
      database_(database),
      cluster_(cluster),
      options_(options),
      environment_(std::move(environment)) {}

RemoteCommands::~RemoteCommands() {
    *alive_ = false;
}

runtime::Duration RemoteCommands::limit() const {
    return std::chrono::seconds(options_.settings.integer("REMOTETIMEOUT"));
}

void RemoteCommands::start() {
    serve(std::string(kExecute), &RemoteCommands::execute_here);
    serve(std::string(kCopy), &RemoteCommands::copy_here);
}

void RemoteCommands::serve(const std::string& method,
                           void (RemoteCommands::*here)(const Command&, const Done&)) {
    cluster_.serve(method, [this, method, here](const NodeName& caller, std::string_view payload,
                                                comm::Cluster::Answer answer) {
        auto command = config::decode_command(payload);
        if (!command) return answer(fail(command.error()));
        // Its certificate was good, but it may have been removed since. Spec: CLU-099.
        if (!database_.own().systems.contains(caller))
            return answer(
                fail(Code::not_found, "{} is no system of {}", caller.str(), database_.self().str()));
        messages::info("{} asks for {}: {}", caller.str(), command->name,
                       method == kExecute ? text::join(command->arguments, " ") : command->get("to"));
        (this->*here)(*command, [answer](const Reply& reply) { answer(config::encode(reply)); });
    });
}

bool RemoteCommands::run(const Command& command, const Done& done) {
    const bool execute = command.name == "lcdremexec";
    if (!execute && command.name != "lcdrcp") return false;
    const NodeName to(command.get("d"));
    if (to == database_.self())
        execute ? execute_here(command, done) : copy_here(command, done);
    else if (!database_.own().systems.contains(to))
        done(refusal(Code::not_found,
                     fmt::format("no system \"{}\"; sys_list names those that exist", to.str())));
    else
        send(to, std::string(execute ? kExecute : kCopy), command,
             execute ? limit() + kAnswerTime : kCopyLimit, done);
    return true;
}

void RemoteCommands::send(const NodeName& to, const std::string& method, const Command& command,
                          runtime::Duration limit, const Done& done) {
    cluster_.call(to, method, config::encode(command), limit, [done, to](const Result<std::string>& answer) {
        if (!answer) return done(config::failure(answer.error()));
        auto reply = config::decode_reply(*answer);
        done(reply ? *reply : config::failure(reply.error()));
    });
}

void RemoteCommands::execute_here(const Command& command, const Done& done) {
    if (running_ >= kMaxRemoteCommands)
        return done(
            refusal(Code::failure, fmt::format("{} is running {} commands of other nodes already; try "
                                               "again later",
                                               database_.self().str(), running_)));
    runtime::ProcessSpec spec;
    spec.path = kShell;
    spec.arguments = {"-c", text::join(command.arguments, " ")};
    spec.environment = environment_;
    spec.directory = options_.layout.lkroot();
    spec.limit = limit();
    spec.max_output = kMaxRemoteOutput;
    spec.separate_errors = command.has("e");
    ++running_;
    world_.processes.start(
        spec, {},
        [this, done, alive = alive_, what = spec.arguments[1]](const Result<runtime::ProcessResult>& result) {
            if (!*alive) return;
            --running_;
            if (!result) return done(config::failure(result.error()));
            if (result->timed_out)
                return done(refusal(
                    Code::unreachable,
                    fmt::format("\"{}\" on {} did not end within REMOTETIMEOUT={} s and was ended", what,
                                database_.self().str(), options_.settings.integer("REMOTETIMEOUT"))));
            Reply reply;
            reply.exit_code = result->exit_code;
            reply.out = result->output;
            reply.err = result->errors;
            reply.raw = true;
            if (result->truncated)
                reply.err +=
                    fmt::format("lcdremexec: output beyond {} bytes was left out\n", kMaxRemoteOutput);
            done(reply);
        });
}

void RemoteCommands::copy_here(const Command& command, const Done& done) {
    const auto& node = database_.self().str();
    auto target = command.get("to");
    if (command.arguments.size() != 1 || target.empty() || command.get("name").empty())
        return done(refusal(Code::internal, "a file to copy came without its name or content"));
    // As for lcdremexec, relative means below $LKROOT.
    if (target.front() != '/') target = options_.layout.lkroot() + "/" + target;
    const bool is_directory = world_.files.exists(target + "/.");
    if (!is_directory && (command.has("several") || target.ends_with('/')))
        return done(refusal(Code::bad_argument, fmt::format("{} is not a directory on {}", target, node)));
    if (is_directory) target += "/" + command.get("name");
    // A disk may be slow, and heartbeats must not wait for it.
    const auto written = std::make_shared<Result<>>();
    const bool taken = world_.tasks.run_blocking(
        [&files = world_.files, target, content = command.arguments[0], written] {
            *written = files.write_atomic(target, content, kCopiedMode);
        },
        [done, written, node, target] {
            if (*written) return done(config::success());
            done(refusal(written->error().code == Code::not_found ? Code::failure : written->error().code,
                         fmt::format("{} on {}: {}", target, node, written->error().text)));
        });
    if (!taken) done(refusal(Code::failure, fmt::format("{} is too busy with its disks; try again", node)));
}

}  // namespace understudy::daemons
