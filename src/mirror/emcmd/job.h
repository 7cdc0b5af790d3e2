#pragma once
// A job: related mirrors under one name, with the endpoints of every pair of systems that could mirror to
// each other. A record in each of its systems; it makes and removes no mirrors. Pure. Spec: EMC-056 to
// EMC-062, EMC-138 to EMC-142, MOP-029, MOP-031, MOP-039.

#include "base/result.h"
#include "base/types.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::mirror::emcmd {

inline constexpr std::string_view kNoAddress = "0.0.0.0";  // of both ends of a pair of type D
inline constexpr std::size_t kMostPairs = 512;
inline constexpr std::size_t kMostNameBytes = 256;

struct JobEnd {
    std::string system;  // full name, or the short one where there is no domain
    VolumeId volume;
    std::string address;
    friend bool operator==(const JobEnd&, const JobEnd&) = default;
};

struct JobPair {
    JobEnd first, second;  // their order says nothing about roles. Spec: EMC-057
    char type = 'A';       // A, S; D: both are one shared disk
    friend bool operator==(const JobPair&, const JobPair&) = default;
};

struct Job {
    std::string id;  // GUID in lower case
    std::string name;
    std::string description;
    std::vector<JobPair> pairs;
    std::uint64_t version = 1;  // grows with each change: an older copy never replaces a newer one
    friend bool operator==(const Job&, const Job&) = default;
};

/// "n1.lab;E;10.8.0.11;n2.lab;E;10.8.0.12;A"
std::string to_text(const JobPair& pair);
/// Errors: not seven fields, volume, address or type not legal.
Result<JobPair> parse_pair(std::string_view text);
/// The seven arguments of a pair as emcmd takes them.
Result<JobPair> pair_of(std::span<const std::string> arguments);

/// Why the job may not be stored: an address of two systems, families mixed, a pair of one system with
/// itself, a pair twice, a name too long. Empty when it may. Spec: EMC-060, EMC-105, EMC-141, MOP-039,
/// MOP-053.
std::string problem_of(const Job& job);
/// Pairs of systems that could be source and target of each other and have no endpoints. Spec: EMC-059,
/// MOP-070, MOP-071.
std::vector<std::string> missing_pairs(const Job& job);
/// The job's systems, sorted, each once.
std::vector<std::string> systems_of(const Job& job);
/// The volumes of its pairs, sorted, each once.
std::vector<VolumeId> volumes_of(const Job& job);
/// An address of a system that is not kNoAddress; empty when the job has none.
std::string address_of(const Job& job, std::string_view system);
/// Whether two names mean one system: equal, or equal up to the domain when one has none.
bool same_system(std::string_view one, std::string_view other);
/// Whether the job has an end with this volume on the system, which may be a name or an address.
bool contains(const Job& job, std::string_view system, const VolumeId& volume);
/// nullptr: none joins the two systems for this volume of the first.
const JobPair* find_pair(const Job& job, std::string_view one, std::string_view other,
                         const VolumeId& volume);

/// Whether a copy replaces the other: it has the higher version or, of two systems that changed the same
/// version without hearing of each other, the greater text. The same on every system. Spec: EMC-061
bool is_newer(const Job& one, const Job& other);

std::string print(const Job& job);                 // Spec: EMC-186
std::string print(std::span<const Job> jobs);      // one blank line between
std::string encode(const Job& job);                // JSON, what is stored and sent
Result<Job> decode_job(std::string_view text);     // errors: damaged
bool is_job_id(std::string_view text);             // a GUID, braces allowed
std::string normal_job_id(std::string_view text);  // without braces, lower case

/// Replaces the pair of the same two systems and volumes, or adds it. Spec: EMC-277.
void put_pair(Job& job, JobPair pair);
bool is_system_of(const Job& job, std::string_view system);
/// Takes every pair that names the system out; false when there was none. Spec: MOP-160.
bool remove_system(Job& job, std::string_view system);

/// Moves the pairs of `volume` between two systems from one job to another. Error: no such pair, or the other
/// job would not be legal; both are unchanged then. Spec: MOP-037.
Result<> move_pairs(Job& from, Job& to, const VolumeId& volume);

}  // namespace understudy::mirror::emcmd
