#include "mirror/control/log_place.h"

#include <algorithm>

namespace understudy::mirror::control {

LogPlace log_place(const config::Settings& settings, const std::string& default_directory) {
    if (!settings.present("BitmapBaseDir")) return {default_directory, true};
    const std::string directory = settings.text("BitmapBaseDir");
    return directory.empty() ? LogPlace{default_directory, false} : LogPlace{directory, true};
}

std::string log_file(const std::string& directory, const VolumeId& volume, const std::string& peer) {
    return fmt::format("{}/{}@{}.bitmap", directory, volume.str(), peer);
}

runtime::Duration log_directory_wait(const config::Settings& settings) {
    constexpr std::int64_t kLeast_ms = 60000;
    return std::chrono::milliseconds(std::max(settings.integer("WaitForBitmapBaseDirMs"), kLeast_ms));
}

}  // namespace understudy::mirror::control
