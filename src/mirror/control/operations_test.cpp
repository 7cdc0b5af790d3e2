// Random sequences of what administrators do to a mirror, against a model of what must result: who is source,
// which state, which lock; and at no moment two sides that can be written to, but for one that was unlocked.
// emcmd/sequences_test.cpp does it with three hosts and jobs. UNDERSTUDY_SEEDS=n runs n sequences,
// UNDERSTUDY_SEED=s the one that failed.

#include "base/test_seeds.h"
#include "mirror/control/test_pair.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kSeeds = 500;
constexpr int kOperations = 25;
constexpr runtime::Duration kSettle = std::chrono::seconds(90);

/// What the operations so far must have led to.
struct Model {
    bool left_is_source = true;
    MirrorState state = MirrorState::mirroring;  // of the source, when nothing moves any more
    bool unlocked = false;                       // the target
    MirrorType type = MirrorType::sync;
};

class Life {
  public:
    explicit Life(unsigned seed) : random_(seed), pair_(seed) {}

    /// Empty, or what went wrong.
    std::string live() {
        if (const auto made = pair_.create(); made.exit_code != 0) return made.err;
        pair_.watch = [this] { look_for_two_writable_sides(); };
        std::string wrong = settle();
        for (int i = 0; i < kOperations && wrong.empty(); ++i) {
            wrong = step();
            if (wrong.empty()) wrong = settle();
            if (wrong.empty() && both_writable_) wrong = "both sides could be written to";
        }
        return wrong.empty() ? wrong : fmt::format("{}\nafter:{}", wrong, history_);
    }

  private:
    Host& source() { return model_.left_is_source ? pair_.left : pair_.right; }
    Host& target() { return model_.left_is_source ? pair_.right : pair_.left; }

    /// At any moment, also in the middle of an operation. An administrator's unlock is the only excuse.
    void look_for_two_writable_sides() {
        if (!may_be_unlocked_ && pair_.writable().size() > 1) both_writable_ = true;
    }

    std::string run(Host& host, std::vector<std::string> words, bool succeeds) {
        history_ += fmt::format(" {}:{}", host.name, words.front());
        const auto reply = pair_.run(host, std::move(words));
        if ((reply.exit_code == 0) == succeeds) return {};
        return fmt::format("{}: {}", succeeds ? "refused" : "not refused", reply.err);
    }

    std::string step() {
        const bool stopped = model_.state != MirrorState::mirroring;
        switch (std::uniform_int_distribution<int>(0, 11)(random_)) {
            case 0:  // a broken mirror has nothing to pause
                if (model_.state == MirrorState::broken) return run(source(), {"pause", "R"}, false);
                model_.state = MirrorState::paused;
                return run(source(), {"pause", "R"}, true);
            case 1:  // an unlocked target is not written to
                if (!model_.unlocked) model_.state = MirrorState::mirroring;
                return run(source(), {"continue", "R"}, true);
            case 2:
                model_.state = MirrorState::broken;
                return run(source(), {"break", "R"}, true);
            case 3:
                model_.state = model_.unlocked ? MirrorState::broken : MirrorState::mirroring;
                return run(source(), {"resync", "R"}, true);
            case 4:
                model_.unlocked = may_be_unlocked_ = true;
                if (!stopped) model_.state = MirrorState::paused;
                return run(target(), {"unlock", "R"}, true);
            case 5:
                model_.unlocked = false;
                return run(target(), {"lock", "R"}, true);
            case 6: {  // only a target that mirrors takes over
                Host& next = target();
                const bool allowed = !stopped && !model_.unlocked;
                const std::string wrong = run(next, {"promote", "R"}, allowed);
                if (allowed) model_.left_is_source = !model_.left_is_source;
                return wrong;
            }
            case 7: {
                const char* verb = std::array{"pause", "continue", "break", "resync"}[random_() % 4];
                return run(target(), {verb, "R"}, false);
            }
            case 8:
                return run(source(), {"lock", "R"}, false);
            case 9:
                model_.type = model_.type == MirrorType::sync ? MirrorType::async : MirrorType::sync;
                return run(source(), {"type", "R", model_.type == MirrorType::sync ? "sync" : "async"}, true);
            case 10: {
                Host& host = random_() % 2 == 0 ? source() : target();
                history_ += fmt::format(" {}:killed", host.name);
                pair_.kill(host);
                pair_.sim.run_for(std::chrono::milliseconds(random_() % 3000));
                pair_.start(host);
                return {};
            }
            default: {
                Host& host = model_.unlocked && random_() % 2 == 0 ? target() : source();
                history_ += fmt::format(" {}:write", host.name);
                const std::size_t block = random_() % kBlocks;
                return pair_.write(host, block, static_cast<int>(random_() % 1000))
                           ? ""
                           : "a write was not answered";
            }
        }
    }

    bool as_expected() {
        for (Host* host : {&source(), &target()})
            if (host->daemon == nullptr || !host->daemon->manager.find(VolumeId("R"))) return false;
        const MirrorRecord& from = pair_.record(source());
        const MirrorRecord& to = pair_.record(target());
        if (from.role != Role::source || to.role != Role::target) return false;
        if (from.peers.front().state != model_.state || to.unlocked != model_.unlocked) return false;
        if (from.peers.front().type != model_.type || to.peers.front().type != model_.type) return false;
        if (!source().daemon->host->exported()) return false;
        if (target().daemon->host->exported() != model_.unlocked) return false;
        if (model_.state == MirrorState::mirroring)
            return pair_.in_sync() && source().disk.blocks == target().disk.blocks;
        // Nobody continues it but a person.
        return from.peers.front().user_requested;
    }

    std::string settle() {
        if (pair_.until([this] { return as_expected(); }, kSettle)) {
            may_be_unlocked_ = model_.unlocked;
            return {};
        }
        const auto show = [this](Host& host) {
            if (host.daemon == nullptr || !host.daemon->manager.find(VolumeId("R")))
                return host.name + " has no mirror";
            const MirrorRecord& record = pair_.record(host);
            return fmt::format("{} {} {} {}{}{} {}", host.name, to_string(record.role),
                               to_string(record.peers.front().state), to_string(record.peers.front().type),
                               record.unlocked ? " unlocked" : "",
                               host.daemon->host->exported() ? " exported" : "",
                               record.peers.front().problem);
        };
        return fmt::format("expected {} source, {}{}; found {} and {}", source().name,
                           to_string(model_.state), model_.unlocked ? ", target unlocked" : "",
                           show(source()), show(target()));
    }

    std::mt19937 random_;
    Pair pair_;
    Model model_;
    bool may_be_unlocked_ = false;  // the target is, or is being unlocked or locked
    bool both_writable_ = false;
    std::string history_;
};

// Spec: EMC-067, EMC-070, EMC-086, MOP-003, MOP-006, MOP-075, MOP-076
TEST(Operations, RandomSequencesEndAsTheModelSays) {
    const auto [first, end] = test_seeds(kSeeds);
    for (std::uint64_t seed = first; seed < end; ++seed) {
        const std::string wrong = Life(seed).live();
        ASSERT_EQ(wrong, "") << "UNDERSTUDY_SEED=" << seed;
    }
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
