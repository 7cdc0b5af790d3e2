#pragma once
// The NBD protocol's server side as pure code: fixed newstyle negotiation and the transmission phase's
// fixed-size headers (NetworkBlockDevice/nbd, doc/proto.md). No I/O; input comes from strangers and may be
// anything.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::mirror::nbd {

inline constexpr std::size_t kRequestSize = 28;
inline constexpr std::size_t kSimpleReplySize = 16;
/// Headers of a structured reply's chunks, with what follows them but data.
inline constexpr std::size_t kDataChunkSize = 28, kHoleChunkSize = 32, kErrorChunkSize = 26;
/// A read that is answered in pieces: at most one for each of these bytes.
inline constexpr std::uint32_t kFragment = 64U << 10;
inline constexpr std::uint32_t kMaxOptionSize =
    8192;  // a name has 4096 at most; larger options end the connection
inline constexpr std::uint32_t kMaxOptions = 64;  // per connection

enum class Command : std::uint16_t {
    read = 0,
    write = 1,
    disconnect = 2,
    flush = 3,
    trim = 4,
    write_zeroes = 6,
    block_status = 7
};
inline constexpr std::uint16_t kFlagFua = 1;           // of a command
inline constexpr std::uint16_t kFlagNoHole = 2;        // of write_zeroes
inline constexpr std::uint16_t kFlagDontFragment = 4;  // of read, with structured replies
inline constexpr std::uint16_t kFlagOneExtent = 8;     // of block_status

/// What a client may learn of where the export holds nothing but zeroes, and the number we give it.
inline constexpr std::string_view kAllocation = "base:allocation";
inline constexpr std::uint32_t kAllocationId = 1;
inline constexpr std::size_t kMostExtents = 128;  // of one answer; clients ask again for the rest

/// What clients are told about the export.
struct ExportInfo {
    std::string name;
    std::uint64_t size = 0;
    std::uint32_t sector_size = 512;
    std::uint32_t max_request = 1 << 20;  // bytes of payload
    bool read_only = false;
};

/// The negotiation of one connection. Feed it what arrives; send what it returns.
class Negotiation {
  public:
    /// `start_tls`: once all output is sent TLS begins, with the next byte that comes; then secured().
    enum class Status { more, start_tls, transmission, close };
    enum class Tls {
        none,      // clients that want it are told that there is none
        offered,   // they may have it
        required,  // nothing is told or done before it
    };

    explicit Negotiation(ExportInfo info, Tls tls = Tls::none) : info_(std::move(info)), tls_(tls) {}

    /// What the server says first.
    static std::vector<std::byte> greeting();
    /// Takes a prefix of `input` and returns its size; appends answers to `output`. Call again while it takes
    /// something; 0 means that it waits for more than `input` holds, or that status() has changed.
    std::size_t consume(std::span<const std::byte> input, std::vector<std::byte>& output);
    [[nodiscard]] Status status() const { return status_; }
    /// TLS has begun. What was agreed on before it counts for nothing: anybody may have said it.
    void secured();
    /// Reads are answered in chunks, of which some may be holes.
    [[nodiscard]] bool structured() const { return structured_; }
    /// Clients may ask for block_status.
    [[nodiscard]] bool allocation() const { return allocation_; }

  private:
    void start_tls(std::span<const std::byte> data, std::vector<std::byte>& output);
    void option(std::uint32_t option, std::span<const std::byte> data, std::vector<std::byte>& output);
    void export_name(std::span<const std::byte> data, std::vector<std::byte>& output);
    void info_or_go(std::uint32_t option, std::span<const std::byte> data, std::vector<std::byte>& output);
    void meta_context(std::uint32_t option, std::span<const std::byte> data, std::vector<std::byte>& output);
    [[nodiscard]] bool known(std::span<const std::byte> name) const;
    void choose(std::span<const std::byte> name);
    [[nodiscard]] std::uint16_t transmission_flags() const;

    ExportInfo info_;
    Tls tls_;
    bool secure_ = false;
    Status status_ = Status::more;
    bool flags_received_ = false;
    bool no_zeroes_ = false;
    bool structured_ = false;
    bool allocation_ = false;
    std::string allocation_of_;  // contexts are agreed on for one name of the export
    std::uint32_t options_ = 0;
};

struct Request {
    Command command = Command::read;
    std::uint16_t flags = 0;
    std::uint64_t cookie = 0;
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
};

/// Nothing when the magic is wrong: the stream cannot be trusted any more. The command may be one we do not
/// know.
std::optional<Request> parse_request(std::span<const std::byte, kRequestSize> input);

/// 0, or the positive errno to answer with, for a request that the export cannot serve.
int check(const Request& request, const ExportInfo& info, bool structured = false, bool allocation = false);

/// The errors that may appear on the wire; anything else becomes EIO. Takes and returns positive numbers.
std::uint32_t wire_error(int error);

void write_simple_reply(std::span<std::byte, kSimpleReplySize> output, std::uint32_t error,
                        std::uint64_t cookie);

/// A piece of what was read: `data` of the request from `begin` on.
struct Piece {
    std::uint32_t begin = 0, length = 0;
    bool hole = false;  // all zero
    friend bool operator==(const Piece&, const Piece&) = default;
};
/// Cuts what was read into data and holes of whole fragments, counted from the beginning of the request.
/// Nothing for no data.
std::vector<Piece> pieces_of(std::span<const std::byte> data);

/// Appends the chunk's header; of a data chunk the data follows. `last`: the reply ends with it.
void append_data_chunk(std::vector<std::byte>& output, std::uint64_t cookie, bool last, std::uint64_t offset,
                       std::uint32_t length);
void append_hole_chunk(std::vector<std::byte>& output, std::uint64_t cookie, bool last, std::uint64_t offset,
                       std::uint32_t length);
/// A run of bytes that are alike.
struct Extent {
    std::uint32_t length = 0;
    bool hole = false;  // not stored, and reads as zeroes
    friend bool operator==(const Extent&, const Extent&) = default;
};
/// The whole answer to a block_status.
void append_status_chunk(std::vector<std::byte>& output, std::uint64_t cookie,
                         std::span<const Extent> extents);
void append_error_chunk(std::vector<std::byte>& output, std::uint64_t cookie, std::uint32_t error);

}  // namespace understudy::mirror::nbd
