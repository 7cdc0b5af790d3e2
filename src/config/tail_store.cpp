#include "config/tail_store.h"

#include "base/checksum.h"
#include "messages/messages.h"

#include <algorithm>
#include <span>

namespace understudy::config {
namespace {

constexpr std::size_t kHeaderBytes = 8;
constexpr char kChange = 'c';
constexpr char kHistory = 'h';
constexpr std::string_view kEnd("\0\0\0\0\0\0\0\0", kHeaderBytes);

std::uint32_t checksum(std::string_view bytes) {
    return crc32c(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

void put(std::string& to, std::uint32_t number) {
    for (int shift = 0; shift < 32; shift += 8)
        to += static_cast<char>((number >> shift) & 0xffU);
}

std::uint32_t get(std::string_view from) {
    std::uint32_t number = 0;
    for (int i = 3; i >= 0; --i)
        number = (number << 8U) | static_cast<unsigned char>(from[static_cast<std::size_t>(i)]);
    return number;
}

std::string record(char kind, const std::string& encoded) {
    const std::string payload = kind + encoded;
    std::string result;
    result.reserve(kHeaderBytes + payload.size());
    put(result, static_cast<std::uint32_t>(payload.size()));
    put(result, checksum(payload));
    return result + payload;
}

}  // namespace

Tail parse_tail(std::string_view bytes, const NodeName& owner, std::uint64_t generation) {
    Tail tail;
    std::vector<HistoryEntry> history;
    while (bytes.size() - tail.sound_bytes >= kHeaderBytes) {
        const auto rest = bytes.substr(tail.sound_bytes);
        const std::size_t length = get(rest);
        if (length == 0 || length > rest.size() - kHeaderBytes) break;
        const auto payload = rest.substr(kHeaderBytes, length);
        if (checksum(payload) != get(rest.substr(4))) break;
        const auto encoded = payload.substr(1);
        if (payload.front() == kHistory) {
            auto entry = decode_history(encoded);
            if (!entry) break;
            history.push_back(std::move(*entry));
        } else {
            auto change = decode_change(encoded);
            if (payload.front() != kChange || !change || change->owner != owner) break;
            if (change->generation > generation) {
                if (change->generation != generation + 1) {
                    tail.fits = false;
                    return tail;
                }
                ++generation;
                tail.entries.push_back({std::move(*change), std::exchange(history, {})});
            }
            history.clear();
        }
        tail.sound_bytes += kHeaderBytes + length;
    }
    return tail;
}

void apply(NodeConfig& config, const Tail& tail) {
    if (config.index.digest == 0) config.reindex();
    for (const auto& entry : tail.entries) {
        for (const auto& edit : entry.change.edits)
            apply(config, edit);
        config.generation = entry.change.generation;
    }
}

TailStore::TailStore(Store& below, std::unique_ptr<runtime::ReservedFile> file, bool same_boot,
                     std::size_t reserved)
    : below_(below), file_(std::move(file)), same_boot_(same_boot), reserve_(reserved) {}

TailStore::~TailStore() {
    *alive_ = false;
    if (on_disk_ == newest_) (void)file_->remove();
}

Tail TailStore::read(const NodeName& self, std::uint64_t generation) {
    const auto bytes = file_->read();
    if (!bytes) {
        if (bytes.error().code != Code::not_found) messages::warning("{}", bytes.error().text);
        return {};
    }
    auto tail = parse_tail(*bytes, self, generation);
    if (!tail.fits) {
        messages::warning(
            "{} holds changes of the configuration that do not continue the database (at generation {}); "
            "they "
            "are left out",
            file_->path(), generation);
        return {};
    }
    bytes_ = tail.sound_bytes;
    return tail;
}

Result<Store::Loaded> TailStore::load(const NodeName& self) {
    UNDERSTUDY_TRY(auto loaded, below_.load(self));
    newest_ = on_disk_ = loaded.own.generation;
    if (!same_boot_) {
        if (const auto removed = file_->remove(); !removed) give_up(removed.error().text);
        empty();
        return loaded;
    }
    const auto tail = read(self, loaded.own.generation);
    if (tail.entries.empty()) {
        empty();
        return loaded;
    }
    messages::info(
        "{} changes of the configuration were not on the disk when understudyd ended; {} has kept them",
        tail.entries.size(), file_->path());
    reserve();
    // What was being written when the process was killed was not committed for anybody.
    if (const auto ended = file_->write(bytes_, kEnd); !ended) give_up(ended.error().text);
    apply(loaded.own, tail);
    newest_ = loaded.own.generation;
    for (const auto& entry : tail.entries) {
        for (const auto& history : entry.history) {
            loaded.last_history_id = std::max(loaded.last_history_id, history.id);
            below_.append_history(history);
        }
        // The last one's success tells of all.
        write_below(entry.change, [](const Result<>&) {});
    }
    return loaded;
}

void TailStore::append_history(const HistoryEntry& entry) {
    history_ += record(kHistory, encode(entry));
    below_.append_history(entry);
}

void TailStore::write(const Change& change, std::function<void(Result<>)> durable) {
    if (!change.edits.empty()) {
        keep(std::exchange(history_, {}) + record(kChange, encode(change)));
        newest_ = change.generation;
    }
    write_below(change, std::move(durable));
}

void TailStore::write_below(const Change& change, std::function<void(Result<>)> durable) {
    if (!durable) return below_.write(change, {});
    below_.write(change, [this, alive = alive_, generation = change.generation,
                          durable = std::move(durable)](Result<> result) {
        if (*alive && result) {
            on_disk_ = std::max(on_disk_, generation);
            if (on_disk_ == newest_ && (broken_ || bytes_ > kTidyTailBytes || room_ < reserve_)) empty();
        }
        durable(std::move(result));
    });
}

void TailStore::keep(const std::string& records) {
    if (broken_) return;
    if (bytes_ + records.size() > kMaxTailBytes)
        return give_up(fmt::format("{} is full with {} bytes", file_->path(), bytes_));
    // In one write, so that no old record ever follows a new one.
    if (const auto added = file_->write(bytes_, records + std::string(kEnd)); !added)
        return give_up(added.error().text);
    bytes_ += records.size();
    if (room_ < bytes_ + reserve_ / 2) reserve();
}

void TailStore::reserve() {
    const auto reserved = file_->reserve(bytes_ + reserve_);
    if (reserved)
        room_ = bytes_ + reserve_;
    else if (told_ != reserved.error().text)
        messages::warning("{}; it is tried again", reserved.error().text);
    told_ = reserved ? std::string() : reserved.error().text;
}

void TailStore::empty() {
    bytes_ = 0;
    reserve();
    const auto emptied = file_->write(0, kEnd);
    if (!emptied) return give_up(emptied.error().text);
    if (file_->shrink(reserve_)) room_ = std::min(room_, reserve_);
    if (std::exchange(broken_, false)) messages::info("{} keeps commits again", file_->path());
}

void TailStore::give_up(const std::string& why) {
    if (std::exchange(broken_, true)) return;
    messages::warning(
        "{}: until the disk has the configuration again nothing is started here or moved from here; make "
        "room",
        why);
}

}  // namespace understudy::config
