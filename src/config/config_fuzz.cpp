// Bytes from the network and from the database file: whatever they are, decoding ends with a value or an
// error, and what was accepted survives being written and read again.

#include "config/codec.h"
#include "config/command.h"
#include "config/locks.h"

#include <cstdint>
#include <cstdlib>
#include <string_view>

using namespace understudy::config;

namespace {

void require(bool condition) {
    if (!condition) std::abort();
}

void walk(const NodeConfig& config) {
    for (const auto& [tag, instance] : config.instances) {
        require(config.find(tag) == &instance);
        require(!config.subtree(tag).empty());
        require(!config.ancestry(tag).empty());
    }
    (void)config.roots();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    if (const auto command = decode_command(input)) {
        const auto again = decode_command(encode(*command));
        require(again && again->name == command->name && again->options == command->options &&
                again->arguments == command->arguments);
    }
    if (const auto reply = decode_reply(input)) {
        const auto again = decode_reply(encode(*reply));
        require(again && again->out == reply->out && again->exit_code == reply->exit_code);
    }
    if (const auto change = decode_change(input)) {
        const auto again = decode_change(encode(*change));
        require(again && encode(*again) == encode(*change));
        NodeConfig config;
        for (const auto& edit : change->edits)
            understudy::config::apply(config, edit);
        if (size < 4096) walk(config);
    }
    if (const auto config = decode_config(input)) {
        const auto again = decode_config(encode(*config));
        require(again && *again == *config);
        if (size < 4096) walk(*config);
    }
    if (const auto entry = decode_history(input)) {
        const auto again = decode_history(encode(*entry));
        require(again && *again == *entry);
    }
    if (const auto list = decode_history_list(input))
        require(decode_history_list(encode(*list))->entries == list->entries);
    if (const auto query = decode_history_query(input)) require(query->limit <= kMaxHistoryAnswer);
    if (const auto notice = decode_lock_notice(input)) {
        LockTable table(understudy::NodeName("self"), 1);
        require(table.hear(understudy::NodeName("peer"), *notice).agreed.size() <= notice->requests.size());
        (void)table.grantable({});
        require(decode_lock_notice(encode(*notice))->requests == notice->requests);
    }
    if (const auto answer = decode_lock_answer(input))
        require(decode_lock_answer(encode(*answer))->agreed == answer->agreed);
    if (const auto entry = decode_journal(input)) require(decode_journal(encode(*entry)).has_value());
    return 0;
}
