#include "mirror/export/ublk_session.h"

#include "mirror/export/locked_memory.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

namespace understudy::mirror::ublk {
namespace {

constexpr std::uint32_t kPage = 4096;
static_assert(sizeof(ublksrv_io_cmd) == kDeviceArgument);

class Server;

struct Slot {
    IoOperation io;
    BlockRequest request;
    Server* server = nullptr;  // null once nobody serves it
    std::byte* data = nullptr;
    const ublksrv_io_desc* description = nullptr;
    std::uint16_t queue = 0;
    std::uint16_t tag = 0;
};

/// What the kernel has addresses of. Lives until the kernel has forgotten them.
struct Memory {
    Memory(Descriptor side, const Geometry& of)
        : server_side(std::move(side)),
          geometry(of),
          data(std::size_t{of.queues} * of.depth * of.max_request),
          slots(std::size_t{of.queues} * of.depth) {
        for (unsigned queue = 0; queue < of.queues; ++queue)
            if (const auto* at = map_descriptions(server_side.get(), queue, of.depth); at != nullptr)
                descriptions.push_back(at);
    }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() {
        for (const auto* at : descriptions)
            unmap_descriptions(at, geometry.depth);
    }

    Descriptor server_side;
    Geometry geometry;
    LockedMemory data;
    std::vector<const ublksrv_io_desc*> descriptions;  // by queue
    std::vector<Slot> slots;
};

class Server final : public Session {
  public:
    Server(Reactor& reactor, RequestGate& gate, std::shared_ptr<Memory> memory)
        : reactor_(reactor),
          gate_(gate),
          memory_(std::move(memory)),
          registered_(reactor, memory_->data.all()) {
        const auto& geometry = memory_->geometry;
        for (std::size_t i = 0; i < memory_->slots.size(); ++i) {
            auto& slot = memory_->slots[i];
            slot.server = this;
            slot.queue = static_cast<std::uint16_t>(i / geometry.depth);
            slot.tag = static_cast<std::uint16_t>(i % geometry.depth);
            slot.data = memory_->data.data() + i * geometry.max_request;
            slot.description = memory_->descriptions[slot.queue] + slot.tag;
            slot.io.owner = &slot;
            slot.io.done = [](IoOperation& op, int result) {
                auto& fetched = *static_cast<Slot*>(op.owner);
                if (fetched.server != nullptr) fetched.server->fetched(fetched, result);
            };
            slot.request.owner = &slot;
            slot.request.data = slot.data;
            slot.request.done = [](BlockRequest& request) {
                auto& answered = *static_cast<Slot*>(request.owner);
                answered.server->answered(answered);
            };
        }
    }
    ~Server() override {
        bool in_kernel = false;
        for (auto& slot : memory_->slots) {
            slot.server = nullptr;
            in_kernel |= slot.io.in_flight;
        }
        if (in_kernel) reactor_.keep_until_closed(memory_);
    }

    void start(std::function<void(Error)> lost) override {
        lost_ = std::move(lost);
        for (auto& slot : memory_->slots) {
            ++fetching_;
            command(slot, kFetch, 0);
        }
    }
    void release(std::function<void()> done) override {
        released_ = true;
        gate_.when_quiet(std::move(done));
    }
    void await_end(std::function<void()> done) override {
        ended_ = std::move(done);
        tell_when_ended();
    }
    [[nodiscard]] const ExportStatistics& statistics() const override { return statistics_; }

  private:
    void command(Slot& slot, std::uint32_t what, std::int32_t result) {
        ublksrv_io_cmd argument{};
        argument.q_id = slot.queue;
        argument.tag = slot.tag;
        argument.result = result;
        argument.addr = reinterpret_cast<std::uintptr_t>(slot.data);
        reactor_.device_command(slot.io, memory_->server_side.get(), what,
                                std::as_bytes(std::span(&argument, 1)).first<kDeviceArgument>());
    }

    void fetched(Slot& slot, int result) {
        if (result != UBLK_IO_RES_OK) return end(result);
        if (released_) return;  // never answered here: the kernel gives it to the next server
        auto& request = slot.request;
        const int error = read_description(*slot.description, memory_->geometry.max_request, request);
        if (error != 0) {
            ++statistics_.errors;
            return command(slot, kCommitAndFetch, error);
        }
        gate_.submit(request);
    }

    void answered(Slot& slot) {
        statistics_.count(slot.request);
        command(slot, kCommitAndFetch, answer_of(slot.request));
        gate_.completed();
    }

    /// The kernel takes no more from this slot.
    void end(int result) {
        --fetching_;
        if (auto lost = std::exchange(lost_, {}); lost && !ended_) {
            const Error error{
                Code::failure,
                result == UBLK_IO_RES_ABORT
                    ? std::string("the ublk device has ended")
                    : fmt::format("the kernel refused to give requests: {}", std::strerror(-result)),
                0};
            reactor_.post([lost, error] { lost(error); });
        }
        tell_when_ended();
    }
    void tell_when_ended() {
        if (ended_ && fetching_ == 0) reactor_.post(std::exchange(ended_, {}));
    }

    Reactor& reactor_;
    RequestGate& gate_;
    std::shared_ptr<Memory> memory_;
    RegisteredMemory registered_;
    std::size_t fetching_ = 0;  // slots that the kernel has or will get back
    bool released_ = false;
    ExportStatistics statistics_;
    std::function<void(Error)> lost_;
    std::function<void()> ended_;
};

}  // namespace

Result<std::unique_ptr<Session>> Session::create(Reactor& reactor, RequestGate& gate, Descriptor server_side,
                                                 const Geometry& geometry) {
    const bool sane = geometry.queues >= 1 && geometry.depth >= 1 && geometry.depth <= kMaxDepth &&
                      std::uint32_t{geometry.queues} * geometry.depth <= kMaxSlots &&
                      geometry.max_request >= kPage && geometry.max_request % kPage == 0;
    if (!sane)
        return fail(Code::bad_argument, "a ublk export with {} queues of {} requests of {} bytes",
                    geometry.queues, geometry.depth, geometry.max_request);
    auto memory = std::make_shared<Memory>(std::move(server_side), geometry);
    if (memory->data.data() == nullptr || memory->descriptions.size() != geometry.queues)
        return fail(Code::failure, "no memory for {} requests of {} bytes", memory->slots.size(),
                    geometry.max_request);
    return std::make_unique<Server>(reactor, gate, std::move(memory));
}

}  // namespace understudy::mirror::ublk
