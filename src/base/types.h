#pragma once
// Strong types for the names and numbers that must not be mixed up.

#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace understudy {

/// A string with a meaning of its own; Purpose makes each alias a distinct type.
template <class Purpose>
class Name {
  public:
    Name() = default;
    explicit Name(std::string value) : value_(std::move(value)) {}
    explicit Name(std::string_view value) : value_(value) {}
    explicit Name(const char* value) : value_(value) {}

    [[nodiscard]] const std::string& str() const { return value_; }
    [[nodiscard]] bool empty() const { return value_.empty(); }

    friend auto operator<=>(const Name&, const Name&) = default;
    friend bool operator==(const Name&, const Name&) = default;

  private:
    std::string value_;
};

using NodeName = Name<struct NodePurpose>;    // a system of the cluster, as sys_list prints it
using Tag = Name<struct TagPurpose>;          // human readable name of a resource, unique per node
using ResourceId = Name<struct IdPurpose>;    // a resource's internal id, unique per node
using AppName = Name<struct AppPurpose>;      // application, e.g. "filesys"
using TypeName = Name<struct TypePurpose>;    // resource type within an application, e.g. "volume"
using FlagName = Name<struct FlagPurpose>;    // named marker in a node's database
using VolumeId = Name<struct VolumePurpose>;  // replicated volume, 1 to 32 of [A-Za-z0-9_-]

/// Number of bytes.
enum class ByteCount : std::uint64_t {};
[[nodiscard]] constexpr std::uint64_t bytes(ByteCount count) {
    return static_cast<std::uint64_t>(count);
}

/// Priority of a node for a resource: 1 is the highest, 1024 the largest stored value. Spec: CLU-108.
struct Priority {
    static constexpr int kMin = 1;
    static constexpr int kMaxForPeople = 999;
    static constexpr int kMax = 1024;
    int value = kMin;

    friend auto operator<=>(const Priority&, const Priority&) = default;
};

}  // namespace understudy

template <class Purpose>
struct std::hash<understudy::Name<Purpose>> {
    std::size_t operator()(const understudy::Name<Purpose>& name) const noexcept {
        return std::hash<std::string>{}(name.str());
    }
};
