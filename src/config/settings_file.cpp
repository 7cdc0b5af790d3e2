#include "config/settings_file.h"

#include "messages/messages.h"

namespace understudy::config {

SettingsFile::SettingsFile(runtime::World world, std::string path, Settings at_start)
    : world_(world), path_(std::move(path)), settings_(std::move(at_start)) {}

const Settings& SettingsFile::now() {
    const auto time = world_.clock.now();
    if (read_ && time - looked_ < kSettingsAge) return settings_;
    looked_ = time;
    auto text = world_.files.read(path_);
    if (!text) return settings_;
    const bool first = !std::exchange(read_, true);
    if (!first && *text == content_) return settings_;
    std::vector<std::string> problems;
    settings_ = Settings::parse_leniently(*text, problems);
    content_ = std::move(*text);
    if (!first)  // the daemon's start has told them
        for (const auto& problem : problems)
            messages::warning("{}: {}", path_, problem);
    return settings_;
}

}  // namespace understudy::config
