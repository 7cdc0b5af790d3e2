#pragma once
// Nodes whose certificates are void: they were removed from the cluster. Every member keeps the whole set and
// only ever adds to it, so two members that differ take both their sets, in any order, and agree.
//
// A name may be used again: each certificate of a name has a number (PeerIdentity::issue), and a removal
// concerns the numbers up to its own. Pure; any thread. Spec: CLU-099, DEP-216.

#include "base/result.h"
#include "base/types.h"
#include "runtime/network.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::runtime {

/// More names than a cluster can ever have removed; a longer set is refused as a whole.
inline constexpr std::size_t kMaxRemovedNodes = 4096;

class RemovedNodes {
  public:
    struct Removal {
        std::uint32_t issue = 0;  // this certificate and all before it are void
        std::int64_t when_s = 0;  // wall clock of the member that did it, for people
        std::string by;
        friend bool operator==(const Removal&, const Removal&) = default;
    };

    /// The set's text: a line "NAME ISSUE WHEN BY" each. Code::internal for anything else.
    static Result<RemovedNodes> parse(std::string_view text);
    [[nodiscard]] std::string text() const;

    /// Takes over what the other set knows better; the names for which that is so.
    std::vector<NodeName> merge(const RemovedNodes& other);
    /// All certificates that the node has had so far become void.
    void remove(const NodeName& node, std::int64_t when_s, const std::string& by);

    /// Whether a certificate is void.
    [[nodiscard]] const Removal* find(std::string_view name, std::uint32_t issue) const;
    /// The number of the node's next certificate.
    [[nodiscard]] std::uint32_t next_issue(const NodeName& node) const;
    /// Why the peer is refused, for a person; empty when it is not.
    [[nodiscard]] std::string why_not(const PeerIdentity& peer) const;

    friend bool operator==(const RemovedNodes&, const RemovedNodes&) = default;

  private:
    std::map<NodeName, Removal> removed_;
};

}  // namespace understudy::runtime
