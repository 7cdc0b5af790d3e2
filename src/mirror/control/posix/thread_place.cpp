#include "mirror/control/posix/thread_place.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

namespace understudy::mirror::control {
namespace {

static_assert(kMostProcessors <= CPU_SETSIZE);

std::optional<unsigned> number(std::string_view word) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc{} || end != word.data() + word.size() || value >= kMostProcessors) return {};
    return value;
}

}  // namespace

Result<std::vector<unsigned>> parse_processors(std::string_view list) {
    std::vector<unsigned> out;
    for (std::string_view rest = list; !rest.empty();) {
        const std::string_view part = rest.substr(0, rest.find(','));
        rest.remove_prefix(std::min(part.size() + 1, rest.size()));
        const auto dash = part.find('-');
        const auto first = number(part.substr(0, dash));
        const auto last = dash == std::string_view::npos ? first : number(part.substr(dash + 1));
        if (!first || !last || *last < *first)
            return fail(Code::bad_argument,
                        "\"{}\" is not a list of processors such as 0-3,6 (numbers up to {})", list,
                        kMostProcessors - 1);
        for (unsigned processor = *first; processor <= *last; ++processor)
            out.push_back(processor);
    }
    return out;
}

Result<> place_this_thread(const std::vector<unsigned>& processors) {
    if (processors.empty()) return {};
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const unsigned processor : processors)
        CPU_SET(processor, &set);
    if (const int error = pthread_setaffinity_np(pthread_self(), sizeof set, &set); error != 0)
        return fail(Code::failure, "cannot keep a volume's thread to the processors of MirrorProcessors: {}",
                    std::strerror(error));
    return {};
}

}  // namespace understudy::mirror::control
