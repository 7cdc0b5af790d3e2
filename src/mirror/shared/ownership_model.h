#pragma once
// A few hosts and the disk they share, in virtual time: every access takes its own time, reads of the blocks
// of one access happen at different moments, writes may be torn, fail and reach the disk later, hosts pause,
// die in the middle of a write and come back, and their clocks run at different speeds. Everything from one
// seed.

#include "mirror/shared/ownership.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace understudy::mirror::shared::model {

struct ModelOptions {
    std::uint64_t seed = 1;
    unsigned hosts = 3;
    Duration lease = std::chrono::seconds(6);
    Duration margin = std::chrono::seconds(3);
    unsigned faults = 10;  // in a thousand decisions
};

struct ModelReport {
    std::string violation;  // empty: never two owners
    unsigned owners = 0;    // how often somebody became one
    unsigned by_silence = 0, by_release = 0, of_own_earlier_life = 0;
    unsigned crashes = 0, pauses = 0, torn = 0, failed = 0, lost = 0;
    unsigned reopened = 0, replaced = 0, stale = 0;
    bool settled = false;  // one host alone became the owner in the end
};

class OwnershipModel {
  public:
    explicit OwnershipModel(ModelOptions options);
    OwnershipModel(const OwnershipModel&) = delete;
    OwnershipModel& operator=(const OwnershipModel&) = delete;
    ~OwnershipModel();
    ModelReport run(Duration length);

  private:
    struct Host;
    using Time = Duration;  // true time; hosts have their own

    std::uint64_t random();
    std::uint64_t below(std::uint64_t limit) { return random() % limit; }
    bool chance(unsigned in_thousand) { return below(1000) < in_thousand; }
    Time between(Time least, Time most);
    void start(Host& host);
    void make_ownership(Host& host);
    [[nodiscard]] bool may_reopen(const Host& host) const;
    void reopen(Host& host);
    void crash(Host& host);
    void decide(Host& host);
    void act(Host& host);
    void finish(Host& host);
    void check(Host& host);
    [[nodiscard]] const std::string& at(std::uint64_t block, Time time) const;
    void put(std::uint64_t block, Time time, std::string bytes);
    void note_owner(Host& host);

    ModelOptions options_;
    std::uint64_t state_;
    Time now_{};
    bool calm_ = false;
    std::vector<std::unique_ptr<Host>> hosts_;
    std::vector<std::map<Time, std::string>> blocks_;  // what each held from when on
    AreaHeader header_;
    std::string area_;  // for one read
    Host* last_owner_ = nullptr;
    bool last_released_ = false;
    ModelReport report_;
};

}  // namespace understudy::mirror::shared::model
