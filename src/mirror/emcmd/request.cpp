#include "mirror/emcmd/request.h"

#include "base/text.h"

#include <cctype>

namespace understudy::mirror::emcmd {

tl::expected<Request, Refusal> parse(std::span<const std::string> words) {
    const auto wrong = [](std::string text) { return tl::unexpected<Refusal>(Refusal{std::move(text), {}}); };
    if (words.size() < 2) return wrong(usage());
    Request request;
    request.system = words[0];
    request.spec = find(words[1]);
    if (request.spec == nullptr)
        return tl::unexpected<Refusal>(
            Refusal{fmt::format("emcmd: there is no command \"{}\"\n{}", words[1], usage()), words[1]});
    request.arguments.assign(words.begin() + 2, words.end());
    auto& arguments = request.arguments;
    if (arguments.size() >= 2 && text::iequals(arguments[arguments.size() - 2], "-proxy")) {
        request.proxy = arguments.back();
        arguments.resize(arguments.size() - 2);
    }
    const std::string line = "usage: " + synopsis(*request.spec) + "\n";
    if (request.system.empty() || (request.proxy && request.proxy->empty())) return wrong(line);
    if (arguments.size() < request.spec->least || arguments.size() > request.spec->most) return wrong(line);
    return request;
}

std::optional<VolumeId> volume_of(std::string_view argument) {
    constexpr std::string_view kLong = "vol:";
    if (argument.size() > kLong.size() && text::iequals(argument.substr(0, kLong.size()), kLong))
        return VolumeId(std::string(argument.substr(kLong.size())));
    if (argument.empty() || std::isalpha(static_cast<unsigned char>(argument.front())) == 0)
        return std::nullopt;
    return VolumeId(std::string(1, static_cast<char>(std::toupper(static_cast<unsigned char>(argument[0])))));
}

std::string volume_letter(const VolumeId& volume) {
    const std::string& name = volume.str();
    const bool letter = name.size() == 1 && name.front() >= 'A' && name.front() <= 'Z';
    return letter ? name : "vol:" + name;
}

std::string volume_root(const VolumeId& volume) {
    const std::string letter = volume_letter(volume);
    return letter.size() == 1 ? letter + ":" : letter;
}

std::optional<MirrorType> type_of(std::string_view letter) {
    if (text::iequals(letter, "A")) return MirrorType::async;
    if (text::iequals(letter, "S")) return MirrorType::sync;
    return std::nullopt;
}

std::optional<unsigned> mask_of(std::string_view input) {
    constexpr unsigned kAllBits = 0x3FF;
    unsigned value = 0;
    if (text::iequals(input.substr(0, 2), "0x")) {
        if (input.size() < 3 || input.size() > 10) return std::nullopt;
        for (const char c : input.substr(2)) {
            const auto digit = std::string_view("0123456789abcdef")
                                   .find(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
            if (digit == std::string_view::npos) return std::nullopt;
            value = value * 16 + static_cast<unsigned>(digit);
        }
    } else {
        const auto number = text::to_int(input);
        if (!number || *number < 0 || *number > kAllBits) return std::nullopt;
        value = static_cast<unsigned>(*number);
    }
    if (value > kAllBits) return std::nullopt;
    return value;
}

}  // namespace understudy::mirror::emcmd
