#pragma once
// What the kernel's packet filter would do with a packet that comes in: the rules as `nft -j list ruleset`
// prints them, walked through as the kernel does. Tells whether a port is open, and which rule or policy
// closes it. Pure. Spec: DEP-102.
//
// A condition that cannot be decided here (a limit, an interface, an expression that is not known) is taken
// not to hold: a rule that needs it neither admits nor drops.

#include "base/result.h"
#include "config/address.h"
#include "config/ports.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::cli {

/// Set by our table on what it admits, and asked for by one rule of ours in every other chain that may drop:
/// a table cannot admit what another one drops. No bit that Kubernetes, Cilium, Calico or Tailscale use.
inline constexpr std::uint32_t kAdmittedMark = 0x2000;
inline constexpr std::string_view kOurComment = "understudy";  // with which our rules' comments begin
inline constexpr std::string_view kOurTable = "understudy";

/// The first packet of a connection, or a ping.
struct Packet {
    config::Transport transport = config::Transport::tcp;
    std::string source;      // numeric
    std::uint16_t port = 0;  // of this host
};

struct Verdict {
    bool accepted = true;
    bool ours = false;  // our table has admitted it
    std::string by;     // what dropped it: "the policy of chain input in table inet filter"
};

/// A chain of somebody else through which incoming packets pass and which may drop them.
struct DroppingChain {
    std::string family, table, name;
    std::vector<std::uint64_t> ours;  // handles of our rules in it
    bool ours_first = false;          // one of ours is its first rule

    [[nodiscard]] std::string text() const { return family + " " + table + " " + name; }
};

class NftRuleset {
  public:
    /// Code::bad_argument: not what nft prints.
    static Result<NftRuleset> parse(std::string_view json);
    NftRuleset(NftRuleset&&) noexcept;
    NftRuleset& operator=(NftRuleset&&) noexcept;
    ~NftRuleset();

    [[nodiscard]] Verdict incoming(const Packet& packet) const;
    [[nodiscard]] std::vector<DroppingChain> dropping_chains() const;
    /// What follows kOurComment in the comment of our table's first rule; empty: there is no such table.
    [[nodiscard]] std::string our_version() const;
    [[nodiscard]] bool has_our_table() const;
    /// Whether firewalld has a table here: it puts its own rules back whenever it likes.
    [[nodiscard]] bool has_firewalld() const;

  private:
    struct Impl;
    explicit NftRuleset(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace understudy::cli
