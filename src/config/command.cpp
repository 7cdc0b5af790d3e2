#include "config/command.h"

#include "command.pb.h"
#include "config/codec.h"
#include "runtime/network.h"

#include <algorithm>

namespace understudy::config {
namespace {

template <class Message>
Result<> parse_frame(Message& message, char kind, std::string_view data, std::string_view what) {
    if (data.empty() || data.front() != kind)
        return fail(Code::internal, "the frame is not a {}; do client and daemon have the same version?",
                    what);
    if (data.size() > runtime::kMaxFrameBytes)
        return fail(Code::internal, "a {} of {} bytes is too long", what, data.size());
    data.remove_prefix(1);
    if (!message.ParseFromArray(data.data(), static_cast<int>(data.size())))
        return fail(Code::internal, "the {} is malformed", what);
    return {};
}

constexpr std::string_view kSecretOptions[] = {"token", "password", "secret", "key"};
constexpr std::size_t kMaxCommandLineBytes = 4096;

}  // namespace

std::string command_line(const Command& command) {
    auto line = command.name;
    for (const auto& [name, value] : command.options) {
        line += fmt::format(" {}{}", name.size() == 1 ? "-" : "--", name);
        const bool secret =
            std::find(std::begin(kSecretOptions), std::end(kSecretOptions), name) != std::end(kSecretOptions);
        if (!value.empty()) line += " " + (secret ? "***" : value);
    }
    for (const auto& argument : command.arguments)
        line += " " + argument;
    if (line.size() > kMaxCommandLineBytes) line.resize(kMaxCommandLineBytes);
    return line;
}

Reply success(std::string out) {
    Reply reply;
    reply.out = std::move(out);
    return reply;
}

Reply failure(const Error& error) {
    Reply reply;
    // A failure never looks like success, whatever made the error.
    reply.exit_code =
        error.code == Code::ok ? static_cast<int>(Code::internal) : static_cast<int>(error.code);
    reply.err = error.text;
    reply.message_number = error.number;
    return reply;
}

std::string encode(const Command& command) {
    wire::Command out;
    out.set_name(command.name);
    for (const auto& [name, value] : command.options) {
        auto* option = out.add_options();
        option->set_name(name);
        option->set_value(value);
    }
    for (const auto& argument : command.arguments)
        out.add_arguments(argument);
    out.set_uid(command.uid);
    out.set_pid(command.pid);
    out.set_user(command.user);
    std::string frame(1, kCommandFrame);
    out.AppendToString(&frame);
    return frame;
}

Result<Command> decode_command(std::string_view data) {
    wire::Command in;
    UNDERSTUDY_CHECK(parse_frame(in, kCommandFrame, data, "command"));
    Command command;
    command.name = in.name();
    for (const auto& option : in.options())
        if (!command.options.emplace(option.name(), option.value()).second)
            return fail(Code::internal, "the command has option {} twice", option.name());
    command.arguments.assign(in.arguments().begin(), in.arguments().end());
    command.uid = in.uid();
    command.pid = in.pid();
    command.user = in.user();
    return command;
}

std::string encode(const Reply& reply) {
    wire::Reply out;
    out.set_exit_code(reply.exit_code);
    out.set_out(reply.out);
    out.set_err(reply.err);
    out.set_message_number(reply.message_number);
    out.set_raw(reply.raw);
    std::string frame(1, kReplyFrame);
    out.AppendToString(&frame);
    return frame;
}

Result<Reply> decode_reply(std::string_view data) {
    wire::Reply in;
    UNDERSTUDY_CHECK(parse_frame(in, kReplyFrame, data, "reply"));
    return Reply{in.exit_code(), in.out(), in.err(), in.message_number(), in.raw()};
}

}  // namespace understudy::config
