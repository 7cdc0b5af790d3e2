#include "mirror/emcmd/job.h"

#include "base/text.h"
#include "config/address.h"
#include "mirror/emcmd/request.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

namespace understudy::mirror::emcmd {

namespace {

using Json = nlohmann::json;

constexpr std::size_t kFieldsOfPair = 7;

bool is_address(std::string_view address) {
    if (address.empty()) return false;
    const auto legal = config::is_v6(address) ? std::string_view("0123456789abcdefABCDEF:.%")
                                              : std::string_view("0123456789.");
    return address.find_first_not_of(legal) == std::string_view::npos || address.find('%') != address.npos;
}

bool legal_system(std::string_view name) {
    return !name.empty() && name.size() <= kMostNameBytes &&
           name.find_first_of("; \t\n") == std::string_view::npos;
}

std::string_view short_name(std::string_view name) {
    return name.substr(0, name.find('.'));
}

bool joins(const JobPair& pair, std::string_view one, std::string_view other) {
    return (same_system(pair.first.system, one) && same_system(pair.second.system, other)) ||
           (same_system(pair.first.system, other) && same_system(pair.second.system, one));
}

/// The pair's end on the system; the name may also be its address.
const JobEnd* end_on(const JobPair& pair, std::string_view system) {
    for (const JobEnd* end : {&pair.first, &pair.second})
        if (same_system(end->system, system) || (end->address == system && end->address != kNoAddress))
            return end;
    return nullptr;
}

}  // namespace

bool same_system(std::string_view one, std::string_view other) {
    if (text::iequals(one, other)) return true;
    const bool one_short = one.find('.') == std::string_view::npos;
    const bool other_short = other.find('.') == std::string_view::npos;
    return one_short != other_short && text::iequals(short_name(one), short_name(other));
}

std::string to_text(const JobPair& pair) {
    return fmt::format("{};{};{};{};{};{};{}", pair.first.system, volume_letter(pair.first.volume),
                       pair.first.address, pair.second.system, volume_letter(pair.second.volume),
                       pair.second.address, pair.type);
}

Result<JobPair> parse_pair(std::string_view input) {
    const auto fields = text::split(input, ';');
    return pair_of(fields);
}

Result<JobPair> pair_of(std::span<const std::string> fields) {
    if (fields.size() != kFieldsOfPair)
        return fail(Code::bad_argument, "a pair has {} fields (system;volume;IP twice, type), not {}",
                    kFieldsOfPair, fields.size());
    JobPair pair;
    for (const std::size_t i : {0UL, 3UL}) {
        if (!legal_system(fields[i])) return fail(Code::bad_argument, "\"{}\" is no system name", fields[i]);
        const auto volume = volume_of(fields[i + 1]);
        if (!volume) return fail(Code::bad_argument, "\"{}\" is no volume", fields[i + 1]);
        if (!is_address(fields[i + 2]))
            return fail(Code::bad_argument, "\"{}\" is no IP address", fields[i + 2]);
        (i == 0 ? pair.first : pair.second) = {fields[i], *volume, fields[i + 2]};
    }
    if (fields[6].size() != 1 || std::string_view("ASDasd").find(fields[6][0]) == std::string_view::npos)
        return fail(Code::bad_argument, "\"{}\" is no type of a pair: A, S or D", fields[6]);
    pair.type = static_cast<char>(std::toupper(static_cast<unsigned char>(fields[6][0])));
    return pair;
}

std::string problem_of(const Job& job) {
    if (job.name.empty()) return "a job has a name";
    if (job.name.size() > kMostNameBytes || job.description.size() > kMostNameBytes)
        return fmt::format("names and descriptions have at most {} bytes", kMostNameBytes);
    for (const std::string& text : {job.name, job.description})
        if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return std::iscntrl(c) != 0; }))
            return "names and descriptions are one line";
    if (job.pairs.size() > kMostPairs) return fmt::format("a job has at most {} pairs", kMostPairs);
    std::map<std::string, std::string> owner;  // of an address
    for (std::size_t i = 0; i < job.pairs.size(); ++i) {
        const JobPair& pair = job.pairs[i];
        const bool same = same_system(pair.first.system, pair.second.system);
        if (same && pair.first.volume == pair.second.volume)
            return fmt::format("volume {} of {} cannot be mirrored to itself",
                               volume_letter(pair.first.volume), pair.first.system);
        if (pair.type == 'D') {
            if (pair.first.address != kNoAddress || pair.second.address != kNoAddress)
                return fmt::format("a pair of type D has the address {} at both ends", kNoAddress);
            continue;
        }
        if (pair.first.address == kNoAddress || pair.second.address == kNoAddress)
            return fmt::format("the pair of {} and {} has no address", pair.first.system, pair.second.system);
        if (config::is_v6(pair.first.address) != config::is_v6(pair.second.address))
            return fmt::format("{} and {} are of different address families", pair.first.address,
                               pair.second.address);
        for (const JobEnd* end : {&pair.first, &pair.second}) {
            const auto [at, is_new] = owner.emplace(text::lower(end->address), end->system);
            if (!is_new && !same_system(at->second, end->system))
                return fmt::format("{} is the address of {} and of {}", end->address, at->second,
                                   end->system);
        }
        for (std::size_t j = 0; j < i; ++j)
            if (joins(job.pairs[j], pair.first.system, pair.second.system) &&
                end_on(job.pairs[j], pair.first.system)->volume == pair.first.volume &&
                end_on(job.pairs[j], pair.second.system)->volume == pair.second.volume)
                return fmt::format("{} and {} have two pairs of volume {}", pair.first.system,
                                   pair.second.system, volume_letter(pair.first.volume));
    }
    return {};
}

std::vector<std::string> systems_of(const Job& job) {
    std::vector<std::string> out;
    for (const JobPair& pair : job.pairs)
        for (const JobEnd* end : {&pair.first, &pair.second})
            if (std::none_of(out.begin(), out.end(),
                             [end](const std::string& one) { return same_system(one, end->system); }))
                out.push_back(end->system);
    std::sort(out.begin(), out.end());
    return out;
}

std::vector<std::string> missing_pairs(const Job& job) {
    std::vector<std::string> out;
    std::set<std::string> volumes;
    for (const JobPair& pair : job.pairs) {
        volumes.insert(pair.first.volume.str());
        volumes.insert(pair.second.volume.str());
    }
    for (const std::string& name : volumes) {
        const VolumeId volume(name);
        std::vector<std::string> members;
        for (const std::string& system : systems_of(job))
            if (contains(job, system, volume)) members.push_back(system);
        for (std::size_t i = 0; i < members.size(); ++i)
            for (std::size_t j = i + 1; j < members.size(); ++j)
                if (find_pair(job, members[i], members[j], volume) == nullptr)
                    out.push_back(
                        fmt::format("volume {}: {} and {}", volume_letter(volume), members[i], members[j]));
    }
    return out;
}

std::vector<VolumeId> volumes_of(const Job& job) {
    std::set<VolumeId> out;
    for (const JobPair& pair : job.pairs)
        for (const JobEnd* end : {&pair.first, &pair.second})
            out.insert(end->volume);
    return {out.begin(), out.end()};
}

std::string address_of(const Job& job, std::string_view system) {
    for (const JobPair& pair : job.pairs)
        for (const JobEnd* end : {&pair.first, &pair.second})
            if (same_system(end->system, system) && end->address != kNoAddress) return end->address;
    return {};
}

bool contains(const Job& job, std::string_view system, const VolumeId& volume) {
    return std::any_of(job.pairs.begin(), job.pairs.end(), [&](const JobPair& pair) {
        const JobEnd* end = end_on(pair, system);
        return end != nullptr && end->volume == volume;
    });
}

const JobPair* find_pair(const Job& job, std::string_view one, std::string_view other,
                         const VolumeId& volume) {
    for (const JobPair& pair : job.pairs) {
        const JobEnd* first = end_on(pair, one);
        const JobEnd* second = end_on(pair, other);
        if (first != nullptr && second != nullptr && first != second && first->volume == volume) return &pair;
    }
    return nullptr;
}

std::string print(const Job& job) {
    std::string out = fmt::format("ID = {}\nName = {}\nDescription ={}{}\n", job.id, job.name,
                                  job.description.empty() ? "" : " ", job.description);
    for (const JobPair& pair : job.pairs)
        out += fmt::format("MirrorEndPoints = {}\n", to_text(pair));
    return out;
}

std::string print(std::span<const Job> jobs) {
    std::string out;
    for (const Job& job : jobs)
        out += (out.empty() ? "" : "\n") + print(job);
    return out;
}

std::string encode(const Job& job) {
    Json pairs = Json::array();
    for (const JobPair& pair : job.pairs)
        pairs.push_back(to_text(pair));
    return Json{{"id", job.id},
                {"name", job.name},
                {"description", job.description},
                {"version", job.version},
                {"endpoints", pairs}}
               .dump(2, ' ', false, Json::error_handler_t::replace) +
           "\n";
}

bool is_newer(const Job& one, const Job& other) {
    return one.version != other.version ? one.version > other.version : encode(one) > encode(other);
}

Result<Job> decode_job(std::string_view input) {
    const Json json = Json::parse(input, nullptr, false);
    const auto damaged = [](std::string_view what) {
        return fail(Code::internal, "the job's record is damaged: {}", what);
    };
    if (!json.is_object()) return damaged("not a JSON object");
    for (const char* key : {"id", "name", "description"})
        if (!json.contains(key) || !json[key].is_string()) return damaged(key);
    if (!json.contains("endpoints") || !json["endpoints"].is_array()) return damaged("endpoints");
    if (!json.contains("version") || !json["version"].is_number_unsigned()) return damaged("version");
    Job job{json["id"], json["name"], json["description"], {}, json["version"]};
    if (!is_job_id(job.id)) return damaged("id");
    if (json["endpoints"].size() > kMostPairs) return damaged("too many endpoints");
    for (const Json& line : json["endpoints"]) {
        if (!line.is_string()) return damaged("endpoints");
        UNDERSTUDY_TRY(JobPair pair, parse_pair(line.get<std::string>()));
        job.pairs.push_back(std::move(pair));
    }
    return job;
}

std::string normal_job_id(std::string_view input) {
    if (input.size() >= 2 && input.front() == '{' && input.back() == '}')
        input = input.substr(1, input.size() - 2);
    return text::lower(input);
}

bool is_job_id(std::string_view input) {
    const std::string id = normal_job_id(input);
    if (id.size() != 36) return false;
    for (std::size_t i = 0; i < id.size(); ++i) {
        const bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
        if (hyphen ? id[i] != '-' : std::isxdigit(static_cast<unsigned char>(id[i])) == 0) return false;
    }
    return true;
}

void put_pair(Job& job, JobPair pair) {
    for (JobPair& old : job.pairs) {
        if (!joins(old, pair.first.system, pair.second.system)) continue;
        if (end_on(old, pair.first.system)->volume != pair.first.volume ||
            end_on(old, pair.second.system)->volume != pair.second.volume)
            continue;
        // The order of the ends stays. Spec: EMC-104
        const bool turned = !same_system(old.first.system, pair.first.system);
        old.first.address = turned ? pair.second.address : pair.first.address;
        old.second.address = turned ? pair.first.address : pair.second.address;
        old.type = pair.type;
        return;
    }
    job.pairs.push_back(std::move(pair));
}

bool is_system_of(const Job& job, std::string_view system) {
    const auto systems = systems_of(job);
    return std::any_of(systems.begin(), systems.end(),
                       [system](const std::string& one) { return same_system(one, system); });
}

bool remove_system(Job& job, std::string_view system) {
    return std::erase_if(job.pairs, [system](const JobPair& pair) {
               return same_system(pair.first.system, system) || same_system(pair.second.system, system);
           }) > 0;
}

Result<> move_pairs(Job& from, Job& to, const VolumeId& volume) {
    Job left = from, joined = to;
    const auto is_of_volume = [&volume](const JobPair& pair) {
        return pair.first.volume == volume || pair.second.volume == volume;
    };
    for (const JobPair& pair : from.pairs)
        if (is_of_volume(pair)) put_pair(joined, pair);
    if (std::erase_if(left.pairs, is_of_volume) == 0)
        return fail(Code::not_found, "job {} has no mirror of volume {}", from.name, volume_letter(volume));
    if (const std::string problem = problem_of(joined); !problem.empty())
        return fail(Code::bad_argument, "job {} cannot take volume {}: {}", to.name, volume_letter(volume),
                    problem);
    from = std::move(left);
    to = std::move(joined);
    return {};
}

}  // namespace understudy::mirror::emcmd
