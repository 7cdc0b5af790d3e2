#include "mirror/export/nbd_protocol.h"

#include "mirror/export/nbd_extents.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <string_view>

namespace understudy::mirror::nbd {
namespace {

using Bytes = std::vector<std::byte>;

/// Builds what a client sends.
struct Writer {
    Bytes bytes;
    template <class T>
    Writer& number(T value) {
        for (std::size_t i = sizeof(T); i-- > 0;)
            bytes.push_back(static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i)));
        return *this;
    }
    Writer& text(std::string_view value) {
        for (char c : value)
            bytes.push_back(static_cast<std::byte>(c));
        return *this;
    }
    Writer& option(std::uint32_t code, const Bytes& data = {}) {
        text("IHAVEOPT").number(code).number(static_cast<std::uint32_t>(data.size()));
        bytes.insert(bytes.end(), data.begin(), data.end());
        return *this;
    }
};

std::uint64_t number_at(const Bytes& bytes, std::size_t at, std::size_t size) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i)
        value = value << 8 | std::to_integer<std::uint64_t>(bytes.at(at + i));
    return value;
}
std::uint32_t reply_type(const Bytes& output, std::size_t at = 0) {
    return static_cast<std::uint32_t>(number_at(output, at + 12, 4));
}
std::size_t next_reply(const Bytes& output, std::size_t at) {
    return at + 20 + number_at(output, at + 16, 4);
}

constexpr std::uint32_t kOptExportName = 1, kOptAbort = 2, kOptList = 3, kOptStartTls = 5, kOptInfo = 6,
                        kOptGo = 7, kOptStructured = 8, kOptListMeta = 9, kOptSetMeta = 10;
constexpr std::uint32_t kAck = 1, kServer = 2, kInfo = 3, kMetaContext = 4, kUnsupported = 0x80000001,
                        kInvalid = 0x80000003, kTlsRequired = 0x80000005, kUnknown = 0x80000006;

class NegotiationTest : public ::testing::Test {
  protected:
    static ExportInfo info() { return {"data", 1 << 30, 4096, 1 << 20, false}; }
    /// Everything the server answers to `input`, given in pieces of `piece` bytes.
    Bytes feed(const Bytes& input, std::size_t piece = SIZE_MAX) {
        Bytes output;
        std::size_t taken = 0, available = 0;
        while (available < input.size()) {
            available = std::min(input.size(), available + std::min(piece, input.size()));
            while (const auto step = negotiation_.consume(
                       std::span<const std::byte>(input).subspan(taken, available - taken), output))
                taken += step;
        }
        taken_ = taken;
        return output;
    }
    static Bytes go_data(std::string_view name, std::vector<std::uint16_t> requests = {}) {
        Writer writer;
        writer.number(static_cast<std::uint32_t>(name.size())).text(name);
        writer.number(static_cast<std::uint16_t>(requests.size()));
        for (auto request : requests)
            writer.number(request);
        return writer.bytes;
    }
    void greet() { feed(Writer().number(std::uint32_t{3}).bytes); }

    Negotiation negotiation_{info()};
    std::size_t taken_ = 0;
};

TEST_F(NegotiationTest, GreetsAsFixedNewstyle) {
    const Bytes greeting = Negotiation::greeting();
    ASSERT_EQ(greeting.size(), 18U);
    EXPECT_EQ(greeting, Writer().text("NBDMAGIC").text("IHAVEOPT").number(std::uint16_t{3}).bytes);
}

TEST_F(NegotiationTest, GoTellsSizeFlagsAndBlockSizesAndStartsTransmission) {
    greet();
    const Bytes output = feed(Writer().option(kOptGo, go_data("data", {3})).bytes);
    EXPECT_EQ(reply_type(output), kInfo);
    EXPECT_EQ(number_at(output, 20, 2), 0U);
    EXPECT_EQ(number_at(output, 22, 8), 1U << 30);
    const auto flags = number_at(output, 30, 2);
    EXPECT_EQ(flags, 1U | 4U | 8U | 32U | 64U | 256U);
    const std::size_t sizes = next_reply(output, 0);
    EXPECT_EQ(reply_type(output, sizes), kInfo);
    EXPECT_EQ(number_at(output, sizes + 20, 2), 3U);
    EXPECT_EQ(number_at(output, sizes + 22, 4), 4096U);
    EXPECT_EQ(number_at(output, sizes + 30, 4), 1U << 20);
    EXPECT_EQ(reply_type(output, next_reply(output, sizes)), kAck);
    EXPECT_EQ(negotiation_.status(), Negotiation::Status::transmission);
}

TEST_F(NegotiationTest, UnderstandsInputInPiecesOfOneByteAndLeavesRequestsAlone) {
    Bytes input = Writer()
                      .number(std::uint32_t{1})
                      .option(kOptList)
                      .option(kOptInfo, go_data(""))
                      .option(kOptGo, go_data("", {1}))
                      .text("next")
                      .bytes;
    const Bytes output = feed(input, 1);
    EXPECT_EQ(negotiation_.status(), Negotiation::Status::transmission);
    EXPECT_EQ(taken_, input.size() - 4);
    EXPECT_EQ(reply_type(output), kServer);
    EXPECT_EQ(number_at(output, 20, 4), 4U);
}

TEST_F(NegotiationTest, TheOldExportNameWorksWithAndWithoutPadding) {
    feed(Writer().number(std::uint32_t{1}).bytes);
    EXPECT_EQ(feed(Writer().option(kOptExportName, Writer().text("data").bytes).bytes).size(), 8U + 2 + 124);
    EXPECT_EQ(negotiation_.status(), Negotiation::Status::transmission);
    negotiation_ = Negotiation(info());
    greet();
    EXPECT_EQ(feed(Writer().option(kOptExportName).bytes).size(), 10U);
    negotiation_ = Negotiation(info());
    greet();
    EXPECT_TRUE(feed(Writer().option(kOptExportName, Writer().text("other").bytes).bytes).empty());
    EXPECT_EQ(negotiation_.status(), Negotiation::Status::close);
}

TEST_F(NegotiationTest, RefusesWhatItCannotDoAndGoesOn) {
    greet();
    EXPECT_EQ(reply_type(feed(Writer().option(kOptStartTls).bytes)), kUnsupported);
    EXPECT_EQ(reply_type(feed(Writer().option(kOptGo, go_data("other")).bytes)), kUnknown);
    EXPECT_EQ(reply_type(feed(Writer().option(kOptGo, Bytes(3)).bytes)), kInvalid);
    Bytes long_name = go_data("data");
    long_name[3] = std::byte{200};
    EXPECT_EQ(reply_type(feed(Writer().option(kOptGo, long_name).bytes)), kInvalid);
    Bytes too_many = go_data("data");
    too_many.back() = std::byte{9};
    EXPECT_EQ(reply_type(feed(Writer().option(kOptInfo, too_many).bytes)), kInvalid);
    EXPECT_EQ(reply_type(feed(Writer().option(kOptList, Bytes(1)).bytes)), kInvalid);
    EXPECT_EQ(negotiation_.status(), Negotiation::Status::more);
    EXPECT_EQ(reply_type(feed(Writer().option(kOptAbort).bytes)), kAck);
    EXPECT_EQ(negotiation_.status(), Negotiation::Status::close);
}

TEST_F(NegotiationTest, StructuredRepliesAreAgreedAndNamedInTheFlags) {
    greet();
    EXPECT_FALSE(negotiation_.structured());
    EXPECT_EQ(reply_type(feed(Writer().option(kOptStructured, Bytes(1)).bytes)), kInvalid);
    EXPECT_EQ(reply_type(feed(Writer().option(kOptSetMeta).bytes)), kInvalid)
        << "structured replies come first";
    EXPECT_EQ(reply_type(feed(Writer().option(kOptStructured).bytes)), kAck);
    EXPECT_TRUE(negotiation_.structured());
    const Bytes go = feed(Writer().option(kOptGo, go_data("data")).bytes);
    EXPECT_EQ(number_at(go, 20 + 2 + 8, 2) & 128, 128U) << "reads in one piece on demand";
}

Bytes queries(std::string_view name, const std::vector<std::string_view>& all) {
    Writer writer;
    writer.number(static_cast<std::uint32_t>(name.size())).text(name);
    writer.number(static_cast<std::uint32_t>(all.size()));
    for (const auto one : all)
        writer.number(static_cast<std::uint32_t>(one.size())).text(one);
    return writer.bytes;
}

TEST_F(NegotiationTest, TheOneContextIsAllocationAndNoQueryIsTrusted) {
    greet();
    feed(Writer().option(kOptStructured).bytes);
    for (const std::uint32_t option : {kOptListMeta, kOptSetMeta}) {
        const Bytes known = feed(Writer().option(option, queries("data", {"x:", "base:allocation"})).bytes);
        EXPECT_EQ(reply_type(known), kMetaContext);
        EXPECT_EQ(number_at(known, 16, 4), 4 + kAllocation.size());
        EXPECT_EQ(number_at(known, 20, 4), kAllocationId);
        EXPECT_EQ(reply_type(known, next_reply(known, 0)), kAck);
        EXPECT_EQ(next_reply(known, next_reply(known, 0)), known.size());
        EXPECT_EQ(negotiation_.allocation(), option == kOptSetMeta);
        // Without queries, or with that of a namespace, a list names all; a choice chooses nothing.
        for (const auto& some : {queries("data", {}), queries("data", {"base:"})})
            EXPECT_EQ(reply_type(feed(Writer().option(option, some).bytes)),
                      option == kOptListMeta ? kMetaContext : kAck);
        EXPECT_FALSE(negotiation_.allocation()) << "the last choice counts";
        EXPECT_EQ(reply_type(feed(Writer().option(option, queries("data", {"base:allocatio"})).bytes)), kAck);
        EXPECT_EQ(reply_type(feed(Writer().option(option, queries("other", {})).bytes)), kUnknown);
        const Bytes whole = queries("data", {"base:allocation"});
        for (std::size_t size = 0; size < whole.size(); ++size)
            EXPECT_EQ(
                reply_type(feed(Writer()
                                    .option(option, Bytes(whole.begin(),
                                                          whole.begin() + static_cast<std::ptrdiff_t>(size)))
                                    .bytes)),
                kInvalid)
                << size;
        EXPECT_FALSE(negotiation_.allocation());
        Bytes more = whole;
        more.resize(more.size() + 1);
        EXPECT_EQ(reply_type(feed(Writer().option(option, more).bytes)), kInvalid);
        negotiation_ = Negotiation(info());
        greet();
        feed(Writer().option(kOptStructured).bytes);
    }
}

TEST_F(NegotiationTest, AContextIsOfTheNameUnderWhichItWasAgreed) {
    const auto after = [this](std::string_view chosen, std::string_view used) {
        negotiation_ = Negotiation(info());
        greet();
        feed(Writer().option(kOptStructured).bytes);
        feed(Writer().option(kOptSetMeta, queries(chosen, {"base:allocation"})).bytes);
        feed(Writer().option(kOptGo, go_data(used)).bytes);
        EXPECT_EQ(negotiation_.status(), Negotiation::Status::transmission);
        return negotiation_.allocation();
    };
    EXPECT_TRUE(after("data", "data"));
    EXPECT_TRUE(after("", ""));
    EXPECT_FALSE(after("data", ""));
    EXPECT_FALSE(after("", "data"));
}

TEST_F(NegotiationTest, WhereTlsIsRequiredNothingIsToldWithoutIt) {
    using Status = Negotiation::Status;
    const auto fresh = [this] {
        negotiation_ = Negotiation(info(), Negotiation::Tls::required);
        greet();
    };
    fresh();
    for (const std::uint32_t option : {kOptList, kOptStructured, 77U})
        EXPECT_EQ(reply_type(feed(Writer().option(option).bytes)), kTlsRequired) << option;
    for (const std::uint32_t option : {kOptInfo, kOptGo})
        EXPECT_EQ(reply_type(feed(Writer().option(option, go_data("data")).bytes)), kTlsRequired) << option;
    for (const std::uint32_t option : {kOptListMeta, kOptSetMeta})
        EXPECT_EQ(reply_type(feed(Writer().option(option, queries("data", {})).bytes)), kTlsRequired)
            << option;
    EXPECT_EQ(reply_type(feed(Writer().option(kOptStartTls, Bytes(1)).bytes)), kInvalid);
    EXPECT_EQ(negotiation_.status(), Status::more);
    EXPECT_EQ(reply_type(feed(Writer().option(kOptStartTls).bytes)), kAck);
    EXPECT_EQ(negotiation_.status(), Status::start_tls);
    EXPECT_TRUE(feed(Writer().option(kOptList).bytes).empty()) << "what comes before TLS is not read";
    EXPECT_EQ(taken_, 0U);
    negotiation_.secured();
    EXPECT_EQ(reply_type(feed(Writer().option(kOptStartTls).bytes)), kInvalid) << "it has begun";
    EXPECT_EQ(reply_type(feed(Writer().option(kOptList).bytes)), kServer);
    EXPECT_EQ(reply_type(feed(Writer().option(kOptGo, go_data("data")).bytes)), kInfo);
    EXPECT_EQ(negotiation_.status(), Status::transmission);

    fresh();
    EXPECT_TRUE(feed(Writer().option(kOptExportName, Writer().text("data").bytes).bytes).empty());
    EXPECT_EQ(negotiation_.status(), Status::close);
    fresh();
    EXPECT_EQ(reply_type(feed(Writer().option(kOptAbort).bytes)), kAck);
}

TEST_F(NegotiationTest, WhatWasAgreedBeforeTlsCountsForNothing) {
    negotiation_ = Negotiation(info(), Negotiation::Tls::offered);
    greet();
    feed(Writer().option(kOptStructured).bytes);
    feed(Writer().option(kOptSetMeta, queries("data", {"base:allocation"})).bytes);
    EXPECT_TRUE(negotiation_.structured() && negotiation_.allocation());
    EXPECT_EQ(reply_type(feed(Writer().option(kOptStartTls).bytes)), kAck);
    negotiation_.secured();
    EXPECT_FALSE(negotiation_.structured() || negotiation_.allocation());
    EXPECT_EQ(reply_type(feed(Writer().option(kOptSetMeta, queries("data", {"base:allocation"})).bytes)),
              kInvalid)
        << "structured replies come first, again";
}

/// Data and holes in turn, from data on.
struct Runs {
    std::vector<std::uint64_t> lengths;
    [[nodiscard]] BlockExtent extent_at(std::uint64_t offset, std::uint64_t length) const {
        bool hole = false;
        for (const std::uint64_t run : lengths) {
            if (offset < run) return {std::min(run - offset, length), hole};
            offset -= run;
            hole = !hole;
        }
        return {length, hole};
    }
};

TEST(NbdExtents, CoverWhatWasAskedInWholeSectors) {
    const Runs runs{{8192, 4096, 1000, 8192}};
    const auto of = [&runs](std::uint64_t offset, std::uint32_t length, std::uint16_t flags = 0,
                            std::uint32_t sector = 512) {
        return extents_of({Command::block_status, flags, 1, offset, length}, sector, runs);
    };
    EXPECT_EQ(of(0, 12288), (std::vector<Extent>{{8192, false}, {4096, true}}));
    EXPECT_EQ(of(4096, 6144), (std::vector<Extent>{{4096, false}, {2048, true}}));
    EXPECT_EQ(of(4096, 6144, kFlagOneExtent), (std::vector<Extent>{{4096, false}}));
    EXPECT_EQ(of(0, 2048, kFlagOneExtent), (std::vector<Extent>{{2048, false}})) << "not beyond it";
    // Data that ends within a sector makes the sector data, a hole that does is shorter.
    EXPECT_EQ(of(12288, 8192), (std::vector<Extent>{{1024, false}, {7168, true}}));
    EXPECT_EQ(of(8192, 16384, 0, 4096),
              (std::vector<Extent>{{4096, true}, {4096, false}, {4096, true}, {4096, false}}));
    Runs many;
    many.lengths.assign(4 * kMostExtents, 4096);
    const auto cut = extents_of({Command::block_status, 0, 1, 0, 4 * kMostExtents * 4096}, 4096, many);
    EXPECT_EQ(cut.size(), kMostExtents);
    EXPECT_EQ(extents_of({Command::block_status, 0, 1, 0, 4 * kMostExtents * 4096}, 8192, many).size(), 1U)
        << "every sector is partly data";
}

TEST(NbdReply, ReadsAreCutIntoDataAndHoles) {
    constexpr std::size_t kUnit = kFragment;
    Bytes data(5 * kUnit + 100);
    EXPECT_EQ(pieces_of({}), std::vector<Piece>{});
    EXPECT_EQ(pieces_of(std::span(data).first(100)), (std::vector<Piece>{{0, 100, false}}))
        << "too small to matter";
    data[kUnit + 5] = data[4 * kUnit] = std::byte{1};
    EXPECT_EQ(pieces_of(data), (std::vector<Piece>{{0, kUnit, true},
                                                   {kUnit, kUnit, false},
                                                   {2 * kUnit, 2 * kUnit, true},
                                                   {4 * kUnit, kUnit + 100, false}}));
    EXPECT_EQ(pieces_of(std::span(data).subspan(2 * kUnit, kUnit)), (std::vector<Piece>{{0, kUnit, true}}));
    data[2 * kUnit - 1] = data[kUnit + 5] = std::byte{0};
    data[kUnit] = std::byte{1};
    EXPECT_FALSE(pieces_of(std::span(data).subspan(kUnit, kUnit))[0].hole);
    data[kUnit] = std::byte{0};
    data[2 * kUnit - 1] = std::byte{1};
    EXPECT_FALSE(pieces_of(std::span(data).subspan(kUnit, kUnit))[0].hole);
}

TEST(NbdReply, ChunksAreInNetworkOrder) {
    Bytes out;
    append_data_chunk(out, 0x0102030405060708, false, 0x1112131415161718, 0x20);
    ASSERT_EQ(out.size(), kDataChunkSize);
    EXPECT_EQ(number_at(out, 0, 4), 0x668e33efU);
    EXPECT_EQ(number_at(out, 4, 2), 0U);
    EXPECT_EQ(number_at(out, 6, 2), 1U);
    EXPECT_EQ(number_at(out, 8, 8), 0x0102030405060708U);
    EXPECT_EQ(number_at(out, 16, 4), 0x28U);
    EXPECT_EQ(number_at(out, 20, 8), 0x1112131415161718U);
    out.clear();
    append_hole_chunk(out, 7, true, 8, 9);
    ASSERT_EQ(out.size(), kHoleChunkSize);
    EXPECT_EQ(number_at(out, 4, 2), 1U);
    EXPECT_EQ(number_at(out, 6, 2), 2U);
    EXPECT_EQ(number_at(out, 16, 4), 12U);
    EXPECT_EQ(number_at(out, 28, 4), 9U);
    out.clear();
    append_error_chunk(out, 7, 5);
    ASSERT_EQ(out.size(), kErrorChunkSize);
    EXPECT_EQ(number_at(out, 4, 2), 1U);
    EXPECT_EQ(number_at(out, 6, 2), 0x8001U);
    EXPECT_EQ(number_at(out, 20, 4), 5U);
}

TEST(NbdRequest, AReadInOnePieceIsForClientsWithStructuredReplies) {
    const ExportInfo info{"data", 1 << 30, 512, 1 << 20, false};
    const Request whole{Command::read, kFlagDontFragment, 1, 0, 4096};
    EXPECT_EQ(check(whole, info, true), 0);
    EXPECT_EQ(check(whole, info), EINVAL);
    EXPECT_EQ(check({Command::write, kFlagDontFragment, 1, 0, 4096}, info, true), EINVAL);
}

TEST_F(NegotiationTest, EndsWithClientsThatDoNotSpeakTheProtocol) {
    feed(Writer().number(std::uint32_t{0}).bytes);
    EXPECT_EQ(negotiation_.status(), Negotiation::Status::close);

    negotiation_ = Negotiation(info());
    greet();
    feed(Writer().text("GET / HTTP/1.1\r\n\r\n").bytes);
    EXPECT_EQ(negotiation_.status(), Negotiation::Status::close);

    negotiation_ = Negotiation(info());
    greet();
    feed(Writer().text("IHAVEOPT").number(kOptGo).number(kMaxOptionSize + 1).bytes);
    EXPECT_EQ(negotiation_.status(), Negotiation::Status::close);

    negotiation_ = Negotiation(info());
    greet();
    for (std::uint32_t i = 0; i < kMaxOptions; ++i)
        feed(Writer().option(kOptList).bytes);
    EXPECT_EQ(negotiation_.status(), Negotiation::Status::more);
    feed(Writer().option(kOptList).bytes);
    EXPECT_EQ(negotiation_.status(), Negotiation::Status::close);
}

TEST(NbdRequest, IsReadInNetworkOrder) {
    const Bytes wire = Writer()
                           .number(std::uint32_t{0x25609513})
                           .number(std::uint16_t{1})
                           .number(std::uint16_t{6})
                           .number(std::uint64_t{0x1122334455667788})
                           .number(std::uint64_t{8192})
                           .number(std::uint32_t{4096})
                           .bytes;
    const auto request = parse_request(std::span<const std::byte, kRequestSize>(wire.data(), kRequestSize));
    ASSERT_TRUE(request);
    EXPECT_EQ(request->command, Command::write_zeroes);
    EXPECT_EQ(request->flags, kFlagFua);
    EXPECT_EQ(request->cookie, 0x1122334455667788U);
    EXPECT_EQ(request->offset, 8192U);
    EXPECT_EQ(request->length, 4096U);
    EXPECT_FALSE(
        parse_request(std::span<const std::byte, kRequestSize>(Bytes(kRequestSize).data(), kRequestSize)));
}

TEST(NbdRequest, IsCheckedAgainstTheExport) {
    const ExportInfo info{"data", 1 << 30, 4096, 1 << 20, false};
    ExportInfo read_only = info;
    read_only.read_only = true;
    auto request = [](Command command, std::uint64_t offset, std::uint32_t length, std::uint16_t flags = 0) {
        return Request{command, flags, 1, offset, length};
    };
    EXPECT_EQ(check(request(Command::read, 0, 4096), info), 0);
    EXPECT_EQ(check(request(Command::read, 1 << 30, 4096), info), EINVAL);
    EXPECT_EQ(check(request(Command::write, (1 << 30) - 4096, 8192), info), ENOSPC);
    EXPECT_EQ(check(request(Command::write, ~std::uint64_t{0} - 4095, 4096), info), ENOSPC);
    EXPECT_EQ(check(request(Command::write, 512, 4096), info), EINVAL);
    EXPECT_EQ(check(request(Command::read, 0, (1 << 20) + 4096), info), EOVERFLOW);
    EXPECT_EQ(check(request(Command::trim, 0, 512 << 20), info), 0);
    EXPECT_EQ(check(request(Command::read, 0, 0), info), EINVAL);
    EXPECT_EQ(check(request(Command::write, 0, 4096, kFlagFua), info), 0);
    EXPECT_EQ(check(request(Command::write, 0, 4096, kFlagNoHole), info), EINVAL);
    EXPECT_EQ(check(request(Command::flush, 0, 0), info), 0);
    EXPECT_EQ(check(request(Command::flush, 0, 4096), info), EINVAL);
    EXPECT_EQ(check(request(static_cast<Command>(77), 0, 4096), info), EINVAL);
    EXPECT_EQ(check(request(Command::write, 0, 4096), read_only), EPERM);
    EXPECT_EQ(check(request(Command::read, 0, 4096), read_only), 0);
}

TEST(NbdRequest, OnlyErrorsOfTheProtocolAreSent) {
    EXPECT_EQ(wire_error(0), 0U);
    EXPECT_EQ(wire_error(EROFS), 1U);
    EXPECT_EQ(wire_error(ENOTCONN), 5U);
    EXPECT_EQ(wire_error(EOPNOTSUPP), 95U);
}

}  // namespace
}  // namespace understudy::mirror::nbd
