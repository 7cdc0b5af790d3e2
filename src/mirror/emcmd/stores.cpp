#include "mirror/emcmd/stores.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::mirror::emcmd {

namespace {

using Json = nlohmann::json;
constexpr std::string_view kSuffix = ".json";

std::vector<std::string> stems(const runtime::Files& files, const std::string& directory) {
    std::vector<std::string> out;
    for (const std::string& name : files.list(directory))
        if (name.ends_with(kSuffix)) out.push_back(name.substr(0, name.size() - kSuffix.size()));
    return out;
}

}  // namespace

// --- volumes

std::string encode(const VolumeSettings& settings) {
    return Json{{"device", settings.device},
                {"mount_point", settings.mount_point},
                {"attributes", settings.attributes},
                {"block_target", settings.block_target},
                {"snapshot_location", settings.snapshot_location},
                {"area", settings.area},
                {"locked", settings.locked}}
               .dump(2, ' ', false, Json::error_handler_t::replace) +
           "\n";
}

Result<VolumeSettings> decode_settings(std::string_view input) {
    const Json json = Json::parse(input, nullptr, false);
    if (!json.is_object()) return fail(Code::internal, "the volume's settings are damaged: no JSON object");
    try {
        return VolumeSettings{json.at("device"),
                              json.at("mount_point"),
                              json.at("attributes"),
                              json.at("block_target"),
                              json.at("snapshot_location"),
                              json.value("area", ""),  // not there in files of older builds
                              json.at("locked")};
    } catch (const Json::exception& error) {
        return fail(Code::internal, "the volume's settings are damaged: {}", error.what());
    }
}

std::string VolumeSettingsStore::path(const VolumeId& volume) const {
    return fmt::format("{}/{}{}", directory_, volume.str(), kSuffix);
}

Result<VolumeSettings> VolumeSettingsStore::get(const VolumeId& volume) const {
    if (const auto known = read_.find(volume); known != read_.end()) return known->second;
    VolumeSettings found;
    if (files_.exists(path(volume))) {
        UNDERSTUDY_TRY(const std::string text, files_.read(path(volume)));
        auto settings = decode_settings(text);
        if (!settings) return with_context(settings.error(), path(volume));
        found = std::move(*settings);
    }
    read_[volume] = found;
    return found;
}

Result<> VolumeSettingsStore::put(const VolumeId& volume, const VolumeSettings& settings) {
    UNDERSTUDY_CHECK(files_.make_directories(directory_, 0700));
    UNDERSTUDY_CHECK(files_.write_atomic(path(volume), encode(settings), 0600));
    read_[volume] = settings;
    return {};
}

Result<> VolumeSettingsStore::remove(const VolumeId& volume) {
    read_.erase(volume);
    return files_.remove(path(volume));
}

std::vector<VolumeId> VolumeSettingsStore::all() const {
    std::vector<VolumeId> out;
    for (const std::string& name : stems(files_, directory_))
        out.emplace_back(name);
    return out;
}

bool VolumeSettingsStore::switchover_flag(const VolumeId& volume) const {
    return files_.exists(flags_ + "/" + volume.str());
}

Result<> VolumeSettingsStore::set_switchover_flag(const VolumeId& volume, bool set) {
    const std::string flag = flags_ + "/" + volume.str();
    if (!set) return files_.remove(flag);
    UNDERSTUDY_CHECK(files_.make_directories(flags_, 0700));
    return files_.write_atomic(flag, "", 0600);
}

// --- jobs

std::string JobStore::path(const std::string& id) const {
    return fmt::format("{}/{}{}", directory_, id, kSuffix);
}

std::vector<Job> JobStore::all(std::vector<std::string>* damaged) const {
    std::vector<Job> out;
    for (const std::string& id : stems(files_, directory_)) {
        auto job = get(id);
        if (job)
            out.push_back(std::move(*job));
        else if (damaged != nullptr)
            damaged->push_back(job.error().text);
    }
    std::sort(out.begin(), out.end(),
              [](const Job& a, const Job& b) { return std::tie(a.name, a.id) < std::tie(b.name, b.id); });
    return out;
}

Result<Job> JobStore::get(const std::string& id) const {
    if (!is_job_id(id)) return fail(Code::bad_argument, "\"{}\" is no job id", id);
    const std::string file = path(normal_job_id(id));
    if (!files_.exists(file)) return fail(Code::not_found, "there is no job {}", id);
    UNDERSTUDY_TRY(const std::string text, files_.read(file));
    auto job = decode_job(text);
    if (!job) return with_context(job.error(), file);
    return job;
}

Result<> JobStore::put(const Job& job) {
    if (!is_job_id(job.id)) return fail(Code::bad_argument, "\"{}\" is no job id", job.id);
    if (const std::string problem = problem_of(job); !problem.empty())
        return fail(Code::bad_argument, "job {}: {}", job.name, problem);
    if (files_.exists(grave(job.id)))
        return fail(Code::exists, "job {} was deleted here while one of its systems could not be asked",
                    job.name);
    if (const auto known = get(job.id); known && is_newer(*known, job))
        return fail(Code::exists, "job {} is newer here (version {}) than what was sent (version {})",
                    job.name, known->version, job.version);
    UNDERSTUDY_CHECK(files_.make_directories(directory_, 0700));
    return files_.write_atomic(path(job.id), encode(job), 0600);
}

std::string JobStore::grave(const std::string& id) const {
    return fmt::format("{}/{}.deleted", directory_, normal_job_id(id));
}

Result<> JobStore::bury(const std::string& id) {
    if (!is_job_id(id)) return fail(Code::bad_argument, "\"{}\" is no job id", id);
    UNDERSTUDY_CHECK(files_.make_directories(directory_, 0700));
    UNDERSTUDY_CHECK(files_.write_atomic(grave(id), "", 0600));
    return remove(id);
}

Result<> JobStore::remove(const std::string& id) {
    if (!is_job_id(id)) return fail(Code::bad_argument, "\"{}\" is no job id", id);
    return files_.remove(path(normal_job_id(id)));
}

}  // namespace understudy::mirror::emcmd
