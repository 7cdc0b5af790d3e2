#include "kits/sdk/cluster.h"

#include "base/text.h"
#include "cli/client.h"

#include <algorithm>

namespace understudy::kits {
namespace {

constexpr auto kCopyLimit = std::chrono::seconds(90);  // lcdrcp's own is 60 s

/// NODE TAG of canextend and extend; empty when they were called with key=value words only.
std::vector<std::string> positional(const Instance& instance) {
    const auto& arguments = instance.arguments;
    const bool plain = arguments.size() >= 2 && arguments[0].find('=') == std::string::npos &&
                       arguments[1].find('=') == std::string::npos;
    return plain ? std::vector<std::string>(arguments.begin(), arguments.begin() + 2)
                 : std::vector<std::string>();
}

/// INFO of canextend, empty when there is none.
std::string info_argument(const Instance& instance) {
    return !positional(instance).empty() && instance.arguments.size() > 2 ? instance.arguments[2]
                                                                          : std::string();
}

}  // namespace

Result<std::string> command(const config::Layout& layout, const std::string& name,
                            const std::vector<std::string>& words) {
    UNDERSTUDY_TRY(auto reply, cli::run(layout, name, words));
    if (reply.exit_code != 0)
        return fail(static_cast<Code>(reply.exit_code), "{}: {}", name, text::trim(reply.err));
    return std::move(reply.out);
}

Result<std::string> on_node(const config::Layout& layout, const NodeName& node, const std::string& line) {
    UNDERSTUDY_TRY(auto reply, cli::run(layout, "lcdremexec", {"-e", "-d", node.str(), "--", line}));
    if (reply.exit_code != 0) {
        const auto why = text::trim(reply.err.empty() ? reply.out : reply.err);
        return fail(
            reply.exit_code == static_cast<int>(Code::unreachable) ? Code::unreachable : Code::failure,
            "{} on {}: {}", line, node.str(), why.empty() ? "it failed" : why);
    }
    // What was cut is said there, with exit code 0.
    if (reply.err.find("was left out") != std::string::npos)
        return fail(Code::failure, "{} on {}: {}", line, node.str(), text::trim(reply.err));
    return std::move(reply.out);
}

Result<> copy_to_node(const std::string& file, const NodeName& node, const std::string& path) {
    return must_run({{"lcdrcp", file, node.str() + ":" + path}, "", "/", kCopyLimit});
}

std::string shell_quoted(const std::string& word) {
    std::string result = "'";
    for (const auto c : word)
        result += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return result + "'";
}

Result<std::vector<Peer>> peers_of(const Instance& instance) {
    UNDERSTUDY_TRY(const auto out, command(instance.layout, "eqv_list", {"-t", instance.tag.str()}));
    std::vector<Peer> peers;
    for (const auto& line : text::split(text::trim(out), '\n'))
        if (const auto fields = text::split(line, '\x01'); fields.size() > 3)
            peers.push_back({NodeName(fields[2]), Tag(fields[3])});
    return peers;
}

Result<Words> words_of_arguments(const Instance& instance) {
    Words words;
    for (const auto& argument : instance.arguments) {
        const auto equals = argument.find('=');
        // The information that canextend gets in one argument begins with a word too, and holds blanks.
        if (equals == std::string::npos || equals == 0 || argument == info_argument(instance)) continue;
        if (!words.emplace(argument.substr(0, equals), argument.substr(equals + 1)).second)
            return fail(Code::bad_argument, "{}= is given twice", argument.substr(0, equals));
    }
    return words;
}

Result<> check_words(const Words& words, const std::vector<std::string>& known) {
    for (const auto& [key, value] : words)
        if (std::find(known.begin(), known.end(), key) == known.end())
            return fail(Code::bad_argument, "\"{}=\" is not one of {}", key, text::join(known, "=, ") + "=");
    return {};
}

Result<Words> create_words(const Instance& instance) {
    UNDERSTUDY_TRY(auto words, words_of_arguments(instance));
    if (!instance.exists) return words;
    UNDERSTUDY_TRY(auto info, parse_info(instance.info_text));
    words.merge(info);
    return words;
}

std::string word(const Words& words, const std::string& key, const std::string& otherwise) {
    const auto at = words.find(key);
    return at == words.end() ? otherwise : at->second;
}

Result<std::string> info_word(const std::string& key, const std::string& value) {
    if (value.find('"') != std::string::npos)
        return fail(Code::bad_argument, "{} must not hold a quote: {}", key, value);
    const bool plain = !value.empty() && value.find(' ') == std::string::npos;
    return plain ? fmt::format("{}={}", key, value) : fmt::format("{}=\"{}\"", key, value);
}

Result<> define_instance(const Instance& instance, const NewInstance& wanted) {
    const auto& tag = instance.tag.str();
    const auto run = [&](const char* name, const std::vector<std::string>& words) -> Result<> {
        const auto done = command(instance.layout, name, words);
        return done ? Result<>{} : Result<>(fail(done.error()));
    };
    const char* recovery = wanted.local_recovery ? "Y" : "N";
    if (instance.exists) {
        if (!wanted.id.empty() && instance.id.str() != wanted.id)
            return fail(Code::bad_argument, "the id of {} must be \"{}\", not \"{}\" (--id)", tag, wanted.id,
                        instance.id.str());
        UNDERSTUDY_CHECK(run("ins_setin", {"-t", tag, "-v", wanted.info}));
        if (!wanted.quick_check) UNDERSTUDY_CHECK(run("ins_setchkint", {"-t", tag, "-c", "q", "-v", "0"}));
        if (!wanted.deep_check) UNDERSTUDY_CHECK(run("ins_setchkint", {"-t", tag, "-c", "d", "-v", "0"}));
        return run("ins_setlocalrecover", {"-t", tag, "-l", recovery});
    }
    std::vector<std::string> words{"-a", wanted.app,  "-r", wanted.type,
                                   "-t", tag,         "-i", wanted.id.empty() ? tag : wanted.id,
                                   "-v", wanted.info, "-l", recovery};
    if (!wanted.quick_check) words.insert(words.end(), {"-Q", "0"});
    if (!wanted.deep_check) words.insert(words.end(), {"-D", "0"});
    return run("ins_create", words);
}

Result<Template> template_of(const Instance& instance) {
    std::vector<NodeName> candidates;
    auto tag = instance.tag;
    UNDERSTUDY_TRY(const auto words, words_of_arguments(instance));
    if (words.contains("template")) {
        candidates.emplace_back(words.at("template"));
    } else if (const auto places = positional(instance); places.size() >= 2) {
        candidates.emplace_back(places[0]);
        tag = Tag(places[1]);
    } else {
        UNDERSTUDY_TRY(const auto out, command(instance.layout, "sys_list", {}));
        for (const auto& line : text::split(text::trim(out), '\n'))
            candidates.emplace_back(text::split(line, '\x01').front());
    }
    for (const auto& node : candidates) {
        if (node.str() == instance.node) continue;
        const auto out = command(instance.layout, "ins_list", {"-d", node.str(), "-t", tag.str()});
        if (!out) continue;
        const auto fields = text::split(text::trim(*out), '\x01');
        if (fields.size() > 6) return Template{node, tag, ResourceId(fields[4]), fields[5]};
    }
    return fail(Code::not_found, "no node that can be reached has a resource {} to extend from", tag.str());
}

Result<Words> extension_words(const Instance& instance, const Template& from) {
    UNDERSTUDY_TRY(auto words, words_of_arguments(instance));
    words.erase("template");
    auto text = from.info;
    if (instance.exists)
        text = instance.info_text;
    else if (const auto given = info_argument(instance); !given.empty())
        text = given;
    UNDERSTUDY_TRY(auto info, parse_info(text));
    words.merge(info);
    return words;
}

}  // namespace understudy::kits
