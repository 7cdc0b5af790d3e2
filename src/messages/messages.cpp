#include "messages/messages.h"

#include "messages/sink.h"

#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace understudy::messages {
namespace {

constexpr std::size_t kLogFileBytes = 8UL << 20;
constexpr std::size_t kLogFiles = 4;

spdlog::level::level_enum level(Severity severity) {
    switch (severity) {
        case Severity::debug:
            return spdlog::level::debug;
        case Severity::info:
            return spdlog::level::info;
        case Severity::warning:
            return spdlog::level::warn;
        case Severity::error:
            return spdlog::level::err;
        case Severity::critical:
            return spdlog::level::critical;
    }
    return spdlog::level::info;
}

std::shared_ptr<spdlog::logger>& logger() {
    static auto instance = [] {
        auto made =
            std::make_shared<spdlog::logger>("understudy", std::make_shared<spdlog::sinks::stderr_sink_mt>());
        made->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
        made->set_level(spdlog::level::warn);
        return made;
    }();
    return instance;
}

Sink& other_sink() {
    static Sink sink;
    return sink;
}

std::string_view word(Severity severity) {
    switch (severity) {
        case Severity::debug:
            return "DEBUG";
        case Severity::info:
            return "INFO";
        case Severity::warning:
            return "*WARNING*";
        case Severity::error:
            return "*ERROR*";
        case Severity::critical:
            return "CRITICAL";
    }
    return "INFO";
}

}  // namespace

Language language() {
    static const Language chosen = [] {
        for (const auto* name : {"LC_ALL", "LC_MESSAGES", "LANG"}) {
            const auto* value = std::getenv(name);
            if (value != nullptr && *value != '\0')
                return std::string_view(value).starts_with("ja") ? Language::japanese : Language::english;
        }
        return Language::english;
    }();
    return chosen;
}

std::string layout(Severity severity, int number, std::string_view text, std::string_view process, int pid) {
    if (number == 0) return fmt::format("Process: {}({})\n{} {}\n", process, pid, word(severity), text);
    return fmt::format("Process: {}({})\n{} (No. {}) {}\n", process, pid, word(severity), number, text);
}

void configure(const LogOptions& options) {
    std::vector<spdlog::sink_ptr> sinks{std::make_shared<spdlog::sinks::stderr_sink_mt>()};
    if (!options.file.empty())
        sinks.push_back(
            std::make_shared<spdlog::sinks::rotating_file_sink_mt>(options.file, kLogFileBytes, kLogFiles));
    auto made = std::make_shared<spdlog::logger>(options.process, sinks.begin(), sinks.end());
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %n[%P] %l: %v");
    made->set_level(level(options.least));
    made->flush_on(spdlog::level::info);
    logger() = std::move(made);
    other_sink() = nullptr;
}

void log_to(Sink sink) {
    // What the sink does not take goes there after all.
    logger()->sinks().front()->set_level(spdlog::level::off);
    other_sink() = std::move(sink);
}

void log_numbered(Severity severity, int number, std::string_view text) {
    const auto as = level(severity);
    auto& log = *logger();
    if (!log.should_log(as)) return;
    const bool taken = other_sink() && other_sink()(severity, number, text);
    const auto line = number == 0 ? std::string(text) : fmt::format("(No. {}) {}", number, text);
    log.log(as, line);
    if (other_sink() && !taken) fmt::print(stderr, "{}\n", line);
}

void log_text(Severity severity, std::string_view text) {
    if (other_sink()) return log_numbered(severity, 0, text);
    logger()->log(level(severity), text);
}

}  // namespace understudy::messages
