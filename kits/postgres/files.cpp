#include "kits/postgres/files.h"

#include "base/text.h"

#include <vector>

namespace understudy::kits {
namespace {

/// "a" "b c" d: words as PostgreSQL quotes them.
std::vector<std::string> quoted_words(std::string_view text) {
    std::vector<std::string> words;
    std::string word;
    bool inside = false;
    bool any = false;
    for (const auto c : text) {
        if (c == '"') {
            inside = !inside;
            any = true;
        } else if (!inside && (c == ' ' || c == '\n')) {
            if (any) words.push_back(word);
            word.clear();
            any = false;
        } else {
            word += c;
            any = true;
        }
    }
    if (any) words.push_back(word);
    return words;
}

}  // namespace

std::optional<PidFile> parse_pid_file(std::string_view text) {
    std::vector<std::string> lines;
    for (const auto& line : text::split(text, '\n'))
        lines.emplace_back(text::trim(line));
    lines.resize(8);
    const auto pid = text::to_int(lines[0]);
    if (!pid || *pid <= 0) return std::nullopt;
    return PidFile{static_cast<int>(*pid), lines[1], lines[3], lines[4], lines[5], lines[7]};
}

std::optional<std::string> port_argument(std::string_view options) {
    const auto words = quoted_words(options);
    std::optional<std::string> port;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const auto& word = words[i];
        const auto next = i + 1 < words.size() ? words[i + 1] : std::string();
        if (word == "-p")
            port = next;
        else if (word.starts_with("--port="))
            port = word.substr(7);
        else if (word == "-c" && next.starts_with("port="))
            port = next.substr(5);
        else if (word.starts_with("-p") && text::to_int(word.substr(2)))
            port = word.substr(2);
    }
    return port;  // the last one counts, as it does for the server
}

std::string host_to_ask(const PidFile& file) {
    if (!file.socket_directory.empty()) return file.socket_directory;
    if (file.listen_address == "::") return "::1";
    if (!file.listen_address.empty() && file.listen_address != "*" && file.listen_address != "0.0.0.0")
        return file.listen_address;
    return "127.0.0.1";
}

Verdict verdict(int psql, bool timed_out, std::string_view output, int is_ready) {
    constexpr int kNoConnection = 2;
    // The session was there and was lost: the server, or its part for us, has died.
    const bool lost = output.find("server closed the connection") != std::string_view::npos ||
                      output.find("terminating connection") != std::string_view::npos;
    if (timed_out || lost || psql != kNoConnection) return Verdict::failed;
    return is_ready == 0 || is_ready == 1 ? Verdict::undetermined : Verdict::failed;
}

}  // namespace understudy::kits
