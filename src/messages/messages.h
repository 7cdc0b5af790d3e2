#pragma once
// The message catalogue and the log.
//
// A message that reaches a person has a stable number and a text in English and Japanese (catalogue.def). The
// log goes to standard error (systemd's journal reads it) and to a file under out/; one line a record.
// Threading: log() may be called from any thread; configure() once, before the first thread starts.

#include "base/result.h"

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace understudy::messages {

enum class Severity { debug, info, warning, error, critical };
enum class Language { english, japanese };

struct Message {
    int number;
    Severity severity;
    std::string_view english;
    std::string_view japanese;
};

#define MESSAGE(number, severity, name, english, japanese) \
    inline constexpr Message name{number, Severity::severity, english, japanese};
#include "messages/catalogue.def"
#undef MESSAGE

/// Language of the process, from LC_ALL, LC_MESSAGES, LANG.
Language language();

/// The message's text in the process's language with its arguments filled in.
template <class... Args>
std::string text(const Message& message, const Args&... args) {
    const auto pattern = language() == Language::japanese ? message.japanese : message.english;
    return fmt::vformat(pattern, fmt::make_format_args(args...));
}

/// An Error that carries the message's number; printed with it by the commands.
template <class... Args>
tl::unexpected<Error> fail(Code code, const Message& message, const Args&... args) {
    return tl::unexpected<Error>(Error{code, text(message, args...), message.number});
}

/// "Process: ins_list(123)\n*ERROR* (No. 472) text". Spec: CMD-006, CLU-275.
std::string layout(Severity severity, int number, std::string_view text, std::string_view process, int pid);

struct LogOptions {
    std::string process;  // logical name in each record
    std::string file;     // empty: standard error only
    Severity least = Severity::info;
};
void configure(const LogOptions& options);

void log_text(Severity severity, std::string_view text);
template <class... Args>
void log(Severity severity, fmt::format_string<Args...> format, Args&&... args) {
    log_text(severity, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
    log_text(Severity::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
    log_text(Severity::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
    log_text(Severity::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace understudy::messages
