#include "quorum/object.h"

#include <cassert>
#include <charconv>
#include <optional>

namespace understudy::quorum {
namespace {

tl::unexpected<Error> damaged(int number, std::string what) {
    return fail(Error{Code::bad_argument, "QWK object: " + std::move(what), number});
}

std::optional<std::uint64_t> to_u64(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
    return value;
}

/// Takes lines one after the other.
class Lines {
  public:
    explicit Lines(std::string_view text) : text_(text) {}
    /// The value of the next line when it has this key.
    std::optional<std::string_view> take(std::string_view key) {
        const auto end = text_.find('\n', at_);
        if (end == std::string_view::npos) return std::nullopt;
        const auto line = text_.substr(at_, end - at_);
        if (line.size() <= key.size() || !line.starts_with(key) || line[key.size()] != '=')
            return std::nullopt;
        at_ = end + 1;
        return line.substr(key.size() + 1);
    }
    [[nodiscard]] std::size_t at() const { return at_; }

  private:
    std::string_view text_;
    std::size_t at_ = 0;
};

}  // namespace

std::string_view to_string(CommStat stat) {
    switch (stat) {
        case CommStat::unknown:
            return "UNKNOWN";
        case CommStat::up:
            return "UP";
        case CommStat::down:
            return "DOWN";
    }
    return "?";
}

std::uint64_t checksum(std::string_view bytes) {
    std::uint64_t hash = 14695981039346656037ULL;
    for (const char byte : bytes)
        hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211ULL;
    return hash;
}

std::string encode(const Object& object) {
    std::string out = fmt::format("signature={}\nlocal_node={}\ntime={}\nsequence={}\n", kSignature,
                                  object.owner.str(), object.time, object.sequence);
    for (const auto& [node, stat] : object.peers)
        out += fmt::format("node={}\ncommstat={}\n", node.str(), to_string(stat));
    out += fmt::format("checksum={}\n", checksum(out));
    assert(out.size() <= kObjectBytes);
    out.resize(kObjectBytes, '\0');
    return out;
}

Result<Object> decode_object(std::string_view bytes, const NodeName& owner) {
    if (bytes.size() > kObjectBytes) return damaged(18133, fmt::format("{} bytes", bytes.size()));
    Lines lines(bytes);
    Object object;
    const auto signature = lines.take("signature");
    if (!signature) return damaged(18135, "no signature");
    if (*signature != kSignature) return damaged(18136, fmt::format("signature \"{}\"", *signature));
    const auto local = lines.take("local_node");
    if (!local) return damaged(18137, "no local_node");
    if (*local != owner.str()) return damaged(18138, fmt::format("it is of node \"{}\"", *local));
    object.owner = owner;
    const auto time = lines.take("time");
    if (!time) return damaged(18139, "no time");
    object.time = *time;
    const auto sequence = lines.take("sequence");
    if (!sequence) return damaged(18140, "no sequence");
    const auto number = to_u64(*sequence);
    if (!number) return damaged(18141, fmt::format("sequence \"{}\"", *sequence));
    object.sequence = *number;
    while (const auto node = lines.take("node")) {
        const auto stat = lines.take("commstat");
        if (!stat) return damaged(18143, fmt::format("no commstat of {}", *node));
        CommStat seen = CommStat::unknown;
        if (*stat == to_string(CommStat::up)) seen = CommStat::up;
        if (*stat == to_string(CommStat::down)) seen = CommStat::down;
        object.peers.emplace_back(NodeName(*node), seen);
    }
    const auto covered = bytes.substr(0, lines.at());
    const auto sum = lines.take("checksum");
    if (!sum) return damaged(18144, "no checksum");
    const auto value = to_u64(*sum);
    if (!value) return damaged(18145, fmt::format("checksum \"{}\"", *sum));
    if (*value != checksum(covered)) return damaged(18146, "checksum does not match");
    return object;
}

}  // namespace understudy::quorum
