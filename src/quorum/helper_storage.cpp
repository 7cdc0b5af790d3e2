#include "quorum/helper_storage.h"

#include "base/text.h"

namespace understudy::quorum {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

std::string to_hex(std::string_view bytes) {
    std::string out;
    for (const char byte : bytes) {
        out += kDigits[static_cast<unsigned char>(byte) >> 4U];
        out += kDigits[static_cast<unsigned char>(byte) & 15U];
    }
    return out;
}

std::optional<std::string> from_hex(std::string_view text) {
    if (text.size() % 2 != 0 || text.size() / 2 > kObjectBytes) return std::nullopt;
    std::string out;
    for (std::size_t i = 0; i < text.size(); i += 2) {
        const auto high = kDigits.find(text[i]);
        const auto low = kDigits.find(text[i + 1]);
        if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
        out += static_cast<char>(high << 4U | low);
    }
    return out;
}

/// "error NUMBER TEXT", or "note" instead of "error".
Error error_of(std::string_view text) {
    const auto words = text::words(text);
    const auto number = words.size() > 1 ? text::to_int(words[1]) : std::nullopt;
    const auto at =
        words.size() > 2 ? text.find(words[2], text.find(words[1]) + words[1].size()) : text.size();
    return {Code::failure, std::string(text.substr(at)), static_cast<int>(number.value_or(18132))};
}

std::string error_text(const Error& error) {
    std::string line = error.text;
    for (char& c : line)
        if (c == '\n') c = ' ';
    return fmt::format("error {} {}\n", error.number != 0 ? error.number : 18132, line);
}

std::string_view without_padding(std::string_view bytes) {
    return bytes.substr(0, bytes.find('\0'));
}

}  // namespace

std::vector<std::string> helper_arguments(const Storage::Request& request) {
    const auto& configuration = request.configuration;
    std::vector<std::string> words{std::string(to_string(configuration.type)), configuration.endpoints,
                                   configuration.regions};
    if (!request.own.empty()) {
        words.emplace_back("write");
        words.push_back(text::join(configuration.objects.at(configuration.self), ","));
        words.emplace_back(without_padding(request.own));
    }
    for (const auto& [node, paths] : configuration.objects) {
        words.emplace_back("read");
        words.push_back(node.str());
        words.push_back(text::join(paths, ","));
    }
    return words;
}

Result<HelperTask> parse_helper_arguments(const std::vector<std::string>& words) {
    const auto usage = fail(Error{Code::syntax,
                                  "usage: understudy-qwk file|aws_s3 ENDPOINTS REGIONS [write PATHS RECORD] "
                                  "[read NODE PATHS]...",
                                  18104});
    if (words.size() < 3 || (words[0] != "file" && words[0] != "aws_s3")) return usage;
    HelperTask task;
    task.type = words[0] == "file" ? StorageType::file : StorageType::aws_s3;
    const auto list = [](const std::string& text) {
        return text.empty() ? std::vector<std::string>() : text::split(text, ',');
    };
    task.endpoints = list(words[1]);
    task.regions = list(words[2]);
    for (std::size_t i = 3; i < words.size(); i += 3) {
        if (i + 2 >= words.size() || (words[i] != "write" && words[i] != "read")) return usage;
        if (words[i] == "write") {
            task.write_paths = list(words[i + 1]);
            task.record = words[i + 2];
            if (task.record.size() > kObjectBytes) return usage;
            task.record.resize(kObjectBytes, '\0');
        } else {
            task.reads.emplace_back(NodeName(words[i + 1]), list(words[i + 2]));
        }
    }
    return task;
}

std::string write_line(const Result<>& written) {
    return "write " + (written ? std::string("ok\n") : error_text(written.error()));
}

std::string object_line(const NodeName& node, const Result<std::string>& bytes) {
    return fmt::format(
        "object {} {}", node.str(),
        bytes ? fmt::format("ok {}\n", to_hex(without_padding(*bytes))) : error_text(bytes.error()));
}

CycleOutcome read_helper_output(const Storage::Request& request, std::string_view output) {
    CycleOutcome outcome;
    const auto missing = fail(Error{Code::failure, "understudy-qwk said nothing about it", 18132});
    if (!request.own.empty()) outcome.write = missing;
    for (const auto& [node, paths] : request.configuration.objects)
        outcome.objects.emplace(node, missing);
    for (const auto& line : text::split(output, '\n')) {
        const auto words = text::words(line);
        if (words.size() >= 2 && words[0] == "write")
            outcome.write = words[1] == "ok" ? Result<>() : fail(error_of(line.substr(6)));
        if (words.size() >= 3 && words[0] == "note") {
            const auto error = error_of(line);
            outcome.notes.push_back({Note::Severity::error, error.number, error.text});
        }
        if (words.size() < 3 || words[0] != "object") continue;
        const auto at = outcome.objects.find(NodeName(words[1]));
        if (at == outcome.objects.end()) continue;
        if (words[2] != "ok") {
            at->second = fail(error_of(line.substr(line.find(" error ") + 1)));
        } else if (auto bytes = from_hex(words.size() > 3 ? words[3] : "")) {
            at->second = std::move(*bytes);
        }
    }
    return outcome;
}

HelperStorage::HelperStorage(runtime::World world, std::string program,
                             std::function<std::map<std::string, std::string>()> environment)
    : world_(world), program_(std::move(program)), environment_(std::move(environment)) {}

HelperStorage::~HelperStorage() {
    *alive_ = false;
}

void HelperStorage::cycle(const Request& request, Done done) {
    runtime::ProcessSpec spec;
    spec.path = program_;
    spec.arguments = helper_arguments(request);
    spec.environment = environment_();
    spec.separate_errors = true;
    spec.limit = request.configuration.interval();
    world_.processes.start(
        spec, [](std::string_view) {},
        [request, done = std::move(done), alive = alive_](const Result<runtime::ProcessResult>& ended) {
            if (!*alive) return;
            CycleOutcome outcome;
            if (ended) {
                outcome = read_helper_output(request, ended->output);
                if (ended->timed_out && outcome.write)
                    outcome.write = fail(Error{Code::failure, "the storage did not answer in time", 18132});
            } else {
                outcome.write = fail(Error{Code::failure, ended.error().text, 18132});
            }
            done(std::move(outcome));
        });
}

}  // namespace understudy::quorum
