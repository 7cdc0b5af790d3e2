// Feeds arbitrary bytes to the NBD server's parser: negotiation in pieces of arbitrary size, then requests.

#include "mirror/export/nbd_extents.h"
#include "mirror/export/nbd_protocol.h"

#include <algorithm>
#include <cstdlib>
#include <span>
#include <vector>

using namespace understudy::mirror::nbd;

namespace {

/// Data and holes as the input has it.
struct Runs {
    std::span<const std::byte> input;
    [[nodiscard]] understudy::mirror::BlockExtent extent_at(std::uint64_t offset,
                                                            std::uint64_t length) const {
        const auto byte = std::to_integer<std::uint64_t>(input[offset % input.size()]);
        return {std::min(length, byte * 100 + 1), (byte & 1) != 0};
    }
};

void must(bool holds) {
    if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const ExportInfo info{"data", 1 << 30, (data[0] & 1) != 0 ? 512U : 4096U, 1 << 20, (data[0] & 2) != 0};
    const std::size_t piece = std::size_t{data[0]} / 16 + 1;
    const auto tls = static_cast<Negotiation::Tls>((data[0] >> 2) % 3);
    const auto input = std::as_bytes(std::span(data + 1, size - 1));

    Negotiation negotiation(info, tls);
    bool secure = false;
    std::vector<std::byte> output;
    std::size_t taken = 0, available = 0;
    while (available < input.size() && negotiation.status() == Negotiation::Status::more) {
        available = std::min(available + piece, input.size());
        while (const std::size_t step =
                   negotiation.consume(input.subspan(taken, available - taken), output)) {
            taken += step;
            must(taken <= available);
            if (negotiation.status() != Negotiation::Status::start_tls) continue;
            must(tls != Negotiation::Tls::none && !secure);
            secure = true;
            negotiation.secured();
            must(!negotiation.structured() && !negotiation.allocation());
        }
        must(output.size() <= std::size_t{kMaxOptions} * 256 + 256);
    }
    if (negotiation.status() == Negotiation::Status::close) return 0;

    if (negotiation.status() == Negotiation::Status::transmission)
        must(secure || tls != Negotiation::Tls::required);
    must(negotiation.structured() || !negotiation.allocation());

    for (auto rest = input.subspan(taken); rest.size() >= kRequestSize; rest = rest.subspan(kRequestSize)) {
        const auto request = parse_request(rest.first<kRequestSize>());
        if (!request) break;
        if (check(*request, info, negotiation.structured(), negotiation.allocation()) != 0) continue;
        if (request->command == Command::disconnect || request->command == Command::flush) continue;
        must(request->length > 0 && request->offset + request->length <= info.size);
        must(request->offset % info.sector_size == 0 && request->length % info.sector_size == 0);
        if (request->command == Command::block_status) {
            must(negotiation.allocation());
            const auto extents = extents_of(*request, info.sector_size, Runs{input});
            must(!extents.empty() && extents.size() <= kMostExtents);
            std::uint64_t covered = 0;
            for (const Extent& extent : extents) {
                must(extent.length > 0 && extent.length % info.sector_size == 0);
                covered += extent.length;
            }
            must(covered <= request->length);
            continue;
        }
        must(!info.read_only || request->command == Command::read);
    }

    // What was read is anything as well: its pieces cover it, each once, and only zeroes are called a hole.
    std::uint32_t at = 0;
    for (const Piece& part : pieces_of(input)) {
        must(part.begin == at && part.length > 0);
        at += part.length;
        for (const std::byte byte : input.subspan(part.begin, part.hole ? part.length : 0))
            must(byte == std::byte{0});
    }
    must(at == input.size());
    return 0;
}
