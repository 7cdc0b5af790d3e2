#include "cli/mirror_progress.h"

#include "base/text.h"
#include "cli/client.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

namespace understudy::cli {
namespace {

using Json = nlohmann::json;
using namespace std::chrono_literals;

constexpr auto kPoll = 500ms;
constexpr int kBarWidth = 20;

/// What is left of each target's resync or comparison, by node; nothing of those that have nothing to do.
std::map<std::string, std::uint64_t> left_of(const config::Layout& layout, const std::string& volume,
                                             const std::string& target) {
    std::map<std::string, std::uint64_t> out;
    const auto reply = run(layout, "understudy mirror status", {volume, "--json"});
    if (!reply || reply->exit_code != 0) return out;
    const Json json = Json::parse(reply->out, nullptr, false);
    if (!json.is_object() || !json.contains("mirrors") || json["mirrors"].empty()) return out;
    const Json& mirror = json["mirrors"].front();
    const auto size = mirror.value("size", std::uint64_t{0});
    for (const Json& one : mirror.value("targets", Json::array())) {
        const std::string peer = one.value("peer", "");
        if (!target.empty() && peer != target) continue;
        const Json compared = one.value("comparison", Json::object());
        if (compared.value("running", false))
            out[peer] = size - std::min(size, compared.value("compared_bytes", std::uint64_t{0}));
        else if (one.value("state", "") != "mirroring")
            out[peer] = one.value("dirty_bytes", std::uint64_t{0});
    }
    return out;
}

/// The lines that stand on the terminal, or what was said last without one.
class Display {
  public:
    void show(const std::map<std::string, ProgressMeter>& meters) {
        terminal_ ? redraw(meters) : tell(meters);
    }
    void clear() {
        if (terminal_ && lines_ > 0) print(fmt::format("\x1b[{}A\x1b[J", lines_));
        lines_ = 0;
    }

  private:
    static void print(const std::string& text) {
        std::fwrite(text.data(), 1, text.size(), stderr);
        std::fflush(stderr);
    }
    void redraw(const std::map<std::string, ProgressMeter>& meters) {
        clear();
        for (const auto& [name, meter] : meters)
            print(progress_line(name, meter) + "\n");
        lines_ = meters.size();
    }
    void tell(const std::map<std::string, ProgressMeter>& meters) {
        for (const auto& [name, meter] : meters) {
            const int tenth = static_cast<int>(meter.part_done() * 10);
            if (const auto at = told_.find(name); at != told_.end() && at->second >= tenth) continue;
            told_[name] = tenth;
            print(progress_line(name, meter) + "\n");
        }
    }
    const bool terminal_ = isatty(STDERR_FILENO) != 0;
    std::size_t lines_ = 0;
    std::map<std::string, int> told_;
};

}  // namespace

void ProgressMeter::add(Time at, std::uint64_t left) {
    // More than before is more to do; what has been done stays done.
    if (samples_.empty())
        most_ = left;
    else if (left > samples_.back().left)
        most_ += left - samples_.back().left;
    samples_.push_back({at, left});
    while (samples_.size() > 2 && samples_[1].at + kWindow <= at)
        samples_.pop_front();
}

double ProgressMeter::part_done() const {
    return most_ == 0 ? 0 : 1 - static_cast<double>(left()) / static_cast<double>(most_);
}

double ProgressMeter::rate() const {
    if (samples_.size() < 2) return 0;
    const Sample& first = samples_.front();
    const Sample& last = samples_.back();
    if (last.left >= first.left || last.at <= first.at) return 0;
    return static_cast<double>(first.left - last.left) * 1000 /
           static_cast<double>((last.at - first.at).count());
}

std::optional<std::chrono::seconds> ProgressMeter::time_left() const {
    const double bytes_a_second = rate();
    if (bytes_a_second <= 0) return std::nullopt;
    constexpr double kLongest = 365.0 * 24 * 3600;
    return std::chrono::seconds(
        static_cast<std::int64_t>(std::min(kLongest, static_cast<double>(left()) / bytes_a_second + 0.5)));
}

std::string duration_text(std::chrono::seconds duration) {
    const auto seconds = duration.count();
    if (seconds >= 3600) return fmt::format("{} h {:02} min", seconds / 3600, seconds % 3600 / 60);
    if (seconds >= 60) return fmt::format("{} min {:02} s", seconds / 60, seconds % 60);
    return fmt::format("{} s", seconds);
}

std::string progress_line(const std::string& name, const ProgressMeter& meter) {
    const int full = std::clamp(static_cast<int>(meter.part_done() * kBarWidth), 0, kBarWidth);
    std::string line =
        fmt::format("{:<12} [{}{}] {:3} %  {} left", name, std::string(static_cast<std::size_t>(full), '#'),
                    std::string(static_cast<std::size_t>(kBarWidth - full), '-'),
                    static_cast<int>(meter.part_done() * 100), text::human_bytes(meter.left()));
    if (meter.rate() > 0)
        line += fmt::format(", {}/s", text::human_bytes(static_cast<std::uint64_t>(meter.rate())));
    if (const auto time = meter.time_left()) line += ", " + duration_text(*time);
    return line;
}

config::Reply with_progress(const config::Layout& layout, const std::string& volume,
                            const std::string& target, const std::function<config::Reply()>& work) {
    config::Reply reply;
    std::atomic<bool> done = false;
    std::thread worker([&] {
        reply = work();
        done = true;
    });
    const auto begun = std::chrono::steady_clock::now();
    std::map<std::string, ProgressMeter> meters;
    Display display;
    for (auto next = begun; !done; std::this_thread::sleep_for(20ms)) {
        const auto now = std::chrono::steady_clock::now();
        if (now < next) continue;
        next = now + kPoll;
        const auto at = std::chrono::duration_cast<ProgressMeter::Time>(now - begun);
        const auto left = left_of(layout, volume, target);
        for (const auto& [name, bytes] : left)
            meters[name].add(at, bytes);
        std::erase_if(meters, [&](const auto& meter) { return !left.contains(meter.first); });
        if (!meters.empty()) display.show(meters);
    }
    display.clear();
    worker.join();
    return reply;
}

}  // namespace understudy::cli
