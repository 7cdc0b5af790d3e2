#include "mirror/export/nbd_protocol.h"

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <cstring>
#include <string_view>

namespace understudy::mirror::nbd {
namespace {

constexpr std::uint64_t kMagic = 0x4e42444d41474943;        // "NBDMAGIC"
constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
constexpr std::uint64_t kOptionReplyMagic = 0x3e889045565a9;
constexpr std::uint32_t kRequestMagic = 0x25609513;
constexpr std::uint32_t kSimpleReplyMagic = 0x67446698;
constexpr std::uint32_t kStructuredReplyMagic = 0x668e33ef;

constexpr std::uint16_t kFixedNewstyle = 1, kNoZeroes = 2;  // handshake flags, both directions

constexpr std::uint32_t kOptExportName = 1, kOptAbort = 2, kOptList = 3, kOptStartTls = 5, kOptInfo = 6,
                        kOptGo = 7, kOptStructuredReply = 8, kOptListMetaContext = 9, kOptSetMetaContext = 10;

constexpr std::uint32_t kReplyAck = 1, kReplyServer = 2, kReplyInfo = 3, kReplyMetaContext = 4;
constexpr std::uint32_t kError = 1U << 31;
constexpr std::uint32_t kErrorUnsupported = kError + 1, kErrorInvalid = kError + 3,
                        kErrorTlsRequired = kError + 5, kErrorUnknown = kError + 6;

constexpr std::uint16_t kInfoExport = 0, kInfoName = 1, kInfoBlockSize = 3;

constexpr std::uint16_t kHasFlags = 1, kReadOnly = 2, kSendFlush = 4, kSendFua = 8, kSendTrim = 32,
                        kSendWriteZeroes = 64, kSendDontFragment = 128, kCanMultiConnection = 256;

constexpr std::uint16_t kChunkDone = 1;  // flag of a chunk
constexpr std::uint16_t kChunkData = 1, kChunkHole = 2, kChunkStatus = 5, kChunkError = 0x8001;
constexpr std::uint32_t kStateHole = 1, kStateZero = 2;  // of base:allocation

constexpr std::size_t kOptionHeader = 16;
constexpr std::size_t kClientFlags = 4;
constexpr std::size_t kOldPadding = 124;
constexpr std::uint32_t kPreferredBlock = 4096;

template <std::unsigned_integral T>
T get(std::span<const std::byte> input, std::size_t at) {
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
        value = static_cast<T>((value << 8) | std::to_integer<T>(input[at + i]));
    return value;
}
template <std::unsigned_integral T>
void set(std::byte* at, T value) {
    for (std::size_t i = sizeof(T); i-- > 0; value = static_cast<T>(value >> 8))
        at[i] = static_cast<std::byte>(value & 0xff);
}
template <std::unsigned_integral T>
void append(std::vector<std::byte>& output, T value) {
    output.resize(output.size() + sizeof(T));
    set(output.data() + output.size() - sizeof(T), value);
}
void append(std::vector<std::byte>& output, std::string_view text) {
    const auto bytes = std::as_bytes(std::span(text));
    output.insert(output.end(), bytes.begin(), bytes.end());
}

void reply_header(std::vector<std::byte>& output, std::uint32_t option, std::uint32_t type,
                  std::size_t length) {
    append(output, kOptionReplyMagic);
    append(output, option);
    append(output, type);
    append(output, static_cast<std::uint32_t>(length));
}
void refuse(std::vector<std::byte>& output, std::uint32_t option, std::uint32_t error, std::string_view why) {
    reply_header(output, option, error, why.size());
    append(output, why);
}

}  // namespace

std::vector<std::byte> Negotiation::greeting() {
    std::vector<std::byte> output;
    append(output, kMagic);
    append(output, kOptionMagic);
    append(output, static_cast<std::uint16_t>(kFixedNewstyle | kNoZeroes));
    return output;
}

std::size_t Negotiation::consume(std::span<const std::byte> input, std::vector<std::byte>& output) {
    if (status_ != Status::more) return 0;
    if (!flags_received_) {
        if (input.size() < kClientFlags) return 0;
        const auto flags = get<std::uint32_t>(input, 0);
        flags_received_ = true;
        no_zeroes_ = (flags & kNoZeroes) != 0;
        // Clients without fixed newstyle cannot be told about errors; nobody has them any more.
        if ((flags & ~std::uint32_t{kFixedNewstyle | kNoZeroes}) != 0 || (flags & kFixedNewstyle) == 0)
            status_ = Status::close;
        return kClientFlags;
    }
    if (input.size() < kOptionHeader) return 0;
    const auto length = get<std::uint32_t>(input, 12);
    if (get<std::uint64_t>(input, 0) != kOptionMagic || length > kMaxOptionSize || options_ >= kMaxOptions) {
        status_ = Status::close;
        return 0;
    }
    if (input.size() < kOptionHeader + length) return 0;
    ++options_;
    option(get<std::uint32_t>(input, 8), input.subspan(kOptionHeader, length), output);
    return kOptionHeader + length;
}

void Negotiation::option(std::uint32_t option, std::span<const std::byte> data,
                         std::vector<std::byte>& output) {
    if (tls_ == Tls::required && !secure_ && option != kOptStartTls && option != kOptAbort) {
        if (option != kOptExportName)
            return refuse(output, option, kErrorTlsRequired, "this server speaks TLS only");
        status_ = Status::close;  // it knows no errors
        return;
    }
    switch (option) {
        case kOptExportName:
            return export_name(data, output);
        case kOptAbort:
            reply_header(output, option, kReplyAck, 0);
            status_ = Status::close;
            return;
        case kOptList:
            if (!data.empty()) return refuse(output, option, kErrorInvalid, "LIST takes no data");
            reply_header(output, option, kReplyServer, 4 + info_.name.size());
            append(output, static_cast<std::uint32_t>(info_.name.size()));
            append(output, info_.name);
            reply_header(output, option, kReplyAck, 0);
            return;
        case kOptStartTls:
            return start_tls(data, output);
        case kOptInfo:
        case kOptGo:
            return info_or_go(option, data, output);
        case kOptStructuredReply:
            if (!data.empty()) return refuse(output, option, kErrorInvalid, "STRUCTURED_REPLY takes no data");
            structured_ = true;
            reply_header(output, option, kReplyAck, 0);
            return;
        case kOptListMetaContext:
        case kOptSetMetaContext:
            return meta_context(option, data, output);
        default:
            return refuse(output, option, kErrorUnsupported, "");
    }
}

void Negotiation::start_tls(std::span<const std::byte> data, std::vector<std::byte>& output) {
    if (tls_ == Tls::none) return refuse(output, kOptStartTls, kErrorUnsupported, "");
    if (!data.empty()) return refuse(output, kOptStartTls, kErrorInvalid, "STARTTLS takes no data");
    if (secure_) return refuse(output, kOptStartTls, kErrorInvalid, "TLS has begun already");
    reply_header(output, kOptStartTls, kReplyAck, 0);
    status_ = Status::start_tls;
}

void Negotiation::secured() {
    secure_ = true;
    structured_ = false;
    allocation_ = false;
    status_ = Status::more;
}

/// The transmission is about to begin.
void Negotiation::choose(std::span<const std::byte> name) {
    const auto agreed = std::as_bytes(std::span(allocation_of_));
    if (!std::equal(name.begin(), name.end(), agreed.begin(), agreed.end())) allocation_ = false;
    status_ = Status::transmission;
}

/// The old way in: it has no error reply, an unknown name ends the connection.
void Negotiation::export_name(std::span<const std::byte> data, std::vector<std::byte>& output) {
    if (!known(data)) {
        status_ = Status::close;
        return;
    }
    append(output, info_.size);
    append(output, transmission_flags());
    if (!no_zeroes_) output.resize(output.size() + kOldPadding);
    choose(data);
}

void Negotiation::info_or_go(std::uint32_t option, std::span<const std::byte> data,
                             std::vector<std::byte>& output) {
    constexpr std::size_t kFixed = 6;  // length of the name, number of information requests
    if (data.size() < kFixed) return refuse(output, option, kErrorInvalid, "too short");
    const auto name_length = get<std::uint32_t>(data, 0);
    if (name_length > data.size() - kFixed)
        return refuse(output, option, kErrorInvalid, "name longer than the option");
    const auto count = get<std::uint16_t>(data, 4 + name_length);
    if (data.size() != kFixed + name_length + 2 * std::size_t{count})
        return refuse(output, option, kErrorInvalid, "length does not match the number of requests");
    if (!known(data.subspan(4, name_length))) return refuse(output, option, kErrorUnknown, "no such export");

    reply_header(output, option, kReplyInfo, 12);
    append(output, kInfoExport);
    append(output, info_.size);
    append(output, transmission_flags());
    for (std::size_t i = 0; i < count; ++i)
        if (get<std::uint16_t>(data, kFixed + name_length + 2 * i) == kInfoName) {
            reply_header(output, option, kReplyInfo, 2 + info_.name.size());
            append(output, kInfoName);
            append(output, info_.name);
            break;
        }
    // Sent unasked as well: requests that are not whole sectors fail, whether the client asked or not.
    reply_header(output, option, kReplyInfo, 14);
    append(output, kInfoBlockSize);
    append(output, info_.sector_size);
    append(output, std::max(info_.sector_size, kPreferredBlock));
    append(output, info_.max_request);
    reply_header(output, option, kReplyAck, 0);
    if (option == kOptGo) choose(data.subspan(4, name_length));
}

/// Contexts that the server does not have are left out of the answer.
void Negotiation::meta_context(std::uint32_t option, std::span<const std::byte> data,
                               std::vector<std::byte>& output) {
    if (!structured_) return refuse(output, option, kErrorInvalid, "structured replies come first");
    constexpr std::size_t kLength = 4;
    std::size_t at = kLength;
    const auto string = [&data, &at](std::size_t length) {
        if (length > data.size() - at) return false;
        at += length;
        return true;
    };
    const auto invalid = [&] { refuse(output, option, kErrorInvalid, "length does not match the queries"); };
    if (data.size() < kLength) return invalid();
    const auto name_length = get<std::uint32_t>(data, 0);
    if (!string(name_length) || data.size() - at < kLength) return invalid();
    const auto queries = get<std::uint32_t>(data, at);
    at += kLength;
    const bool list = option == kOptListMetaContext;
    bool wanted = list && queries == 0;
    for (std::uint32_t i = 0; i < queries; ++i) {
        if (data.size() - at < kLength) return invalid();
        const auto length = get<std::uint32_t>(data, at);
        at += kLength;
        if (!string(length)) return invalid();
        const auto bytes = data.subspan(at - length, length);
        const std::string_view query(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        // The name of a namespace alone asks which there are, and chooses none.
        wanted = wanted || query == kAllocation || (list && query == "base:");
    }
    if (at != data.size()) return invalid();
    const auto name = data.subspan(kLength, name_length);
    if (!list) allocation_ = false;  // the last one counts, also when it fails
    if (!known(name)) return refuse(output, option, kErrorUnknown, "no such export");
    if (wanted) {
        reply_header(output, option, kReplyMetaContext, sizeof kAllocationId + kAllocation.size());
        append(output, kAllocationId);
        append(output, kAllocation);
    }
    reply_header(output, option, kReplyAck, 0);
    if (list) return;
    allocation_ = wanted;
    allocation_of_.assign(reinterpret_cast<const char*>(name.data()), name.size());
}

bool Negotiation::known(std::span<const std::byte> name) const {
    return name.empty() || (name.size() == info_.name.size() &&
                            std::memcmp(name.data(), info_.name.data(), name.size()) == 0);
}

/// Several connections are safe: they share one backend, so a flush on one covers what completed on any.
std::uint16_t Negotiation::transmission_flags() const {
    std::uint16_t flags = kHasFlags | kSendFlush | kSendFua | kCanMultiConnection;
    if (structured_) flags |= kSendDontFragment;
    flags |= info_.read_only ? kReadOnly : kSendTrim | kSendWriteZeroes;
    return flags;
}

std::optional<Request> parse_request(std::span<const std::byte, kRequestSize> input) {
    if (get<std::uint32_t>(input, 0) != kRequestMagic) return std::nullopt;
    Request request;
    request.flags = get<std::uint16_t>(input, 4);
    request.command = static_cast<Command>(get<std::uint16_t>(input, 6));
    request.cookie = get<std::uint64_t>(input, 8);
    request.offset = get<std::uint64_t>(input, 16);
    request.length = get<std::uint32_t>(input, 24);
    return request;
}

int check(const Request& request, const ExportInfo& info, bool structured, bool allocation) {
    std::uint16_t allowed = kFlagFua;
    switch (request.command) {
        case Command::read:
            if (structured) allowed |= kFlagDontFragment;
            [[fallthrough]];
        case Command::write:
            if (request.length > info.max_request) return EOVERFLOW;
            break;
        case Command::trim:
            break;
        case Command::block_status:
            if (!allocation) return EINVAL;
            allowed = kFlagOneExtent;
            break;
        case Command::write_zeroes:
            allowed |= kFlagNoHole;
            break;
        case Command::flush:
            return request.flags == 0 && request.offset == 0 && request.length == 0 ? 0 : EINVAL;
        case Command::disconnect:
            return 0;
        default:
            return EINVAL;
    }
    if ((request.flags & ~allowed) != 0) return EINVAL;
    const bool changes = request.command != Command::read && request.command != Command::block_status;
    if (info.read_only && changes) return EPERM;
    if (request.length == 0) return EINVAL;
    if (request.offset > info.size || request.length > info.size - request.offset)
        return changes ? ENOSPC : EINVAL;
    if (request.offset % info.sector_size != 0 || request.length % info.sector_size != 0) return EINVAL;
    return 0;
}

std::uint32_t wire_error(int error) {
    constexpr std::uint32_t kPermission = 1, kIo = 5, kNoMemory = 12, kInvalid = 22, kNoSpace = 28,
                            kOverflow = 75, kNotSupported = 95, kShutdown = 108;
    switch (error) {
        case 0:
            return 0;
        case EPERM:
        case EACCES:
        case EROFS:
            return kPermission;
        case ENOMEM:
            return kNoMemory;
        case EINVAL:
            return kInvalid;
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
            return kNoSpace;
        case EOVERFLOW:
            return kOverflow;
        case EOPNOTSUPP:
            return kNotSupported;
        case ESHUTDOWN:
            return kShutdown;
        default:
            return kIo;
    }
}

void write_simple_reply(std::span<std::byte, kSimpleReplySize> output, std::uint32_t error,
                        std::uint64_t cookie) {
    set(output.data(), kSimpleReplyMagic);
    set(output.data() + 4, error);
    set(output.data() + 8, cookie);
}

std::vector<Piece> pieces_of(std::span<const std::byte> data) {
    std::vector<Piece> out;
    for (std::size_t at = 0; at < data.size(); at += kFragment) {
        const auto part = data.subspan(at, std::min<std::size_t>(kFragment, data.size() - at));
        const bool hole = part.size() == kFragment && part[0] == std::byte{0} &&
                          std::memcmp(part.data(), part.data() + 1, part.size() - 1) == 0;
        if (!out.empty() && out.back().hole == hole)
            out.back().length += static_cast<std::uint32_t>(part.size());
        else
            out.push_back({static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(part.size()), hole});
    }
    return out;
}

namespace {

void append_chunk(std::vector<std::byte>& output, std::uint64_t cookie, bool last, std::uint16_t type,
                  std::uint32_t length) {
    append(output, kStructuredReplyMagic);
    append(output, static_cast<std::uint16_t>(last ? kChunkDone : 0));
    append(output, type);
    append(output, cookie);
    append(output, length);
}

}  // namespace

void append_data_chunk(std::vector<std::byte>& output, std::uint64_t cookie, bool last, std::uint64_t offset,
                       std::uint32_t length) {
    append_chunk(output, cookie, last, kChunkData, static_cast<std::uint32_t>(sizeof offset) + length);
    append(output, offset);
}

void append_hole_chunk(std::vector<std::byte>& output, std::uint64_t cookie, bool last, std::uint64_t offset,
                       std::uint32_t length) {
    append_chunk(output, cookie, last, kChunkHole, sizeof offset + sizeof length);
    append(output, offset);
    append(output, length);
}

void append_status_chunk(std::vector<std::byte>& output, std::uint64_t cookie,
                         std::span<const Extent> extents) {
    constexpr std::size_t kDescriptor = 8;
    append_chunk(output, cookie, true, kChunkStatus,
                 static_cast<std::uint32_t>(sizeof kAllocationId + extents.size() * kDescriptor));
    append(output, kAllocationId);
    for (const Extent& extent : extents) {
        append(output, extent.length);
        append(output, extent.hole ? kStateHole | kStateZero : std::uint32_t{0});
    }
}

void append_error_chunk(std::vector<std::byte>& output, std::uint64_t cookie, std::uint32_t error) {
    append_chunk(output, cookie, true, kChunkError, sizeof error + sizeof(std::uint16_t));
    append(output, error);
    append(output, std::uint16_t{0});  // bytes of a message
}

}  // namespace understudy::mirror::nbd
