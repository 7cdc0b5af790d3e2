#pragma once
// Connections that failed because two living hosts do not accept each other. An Error's code is the exit code
// of a command and has none for that, so what the error says tells it: these are the words that its makers
// use. Pure; any thread.

#include "base/result.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace understudy::runtime {

inline constexpr std::string_view kForeignCertificate = "its certificate was not issued by this cluster's CA";
inline constexpr std::string_view kNoCertificate = "it showed no certificate";
inline constexpr std::string_view kOwnRefused = "it refused this node's certificate";

/// Whether something answered there, and one of the two ends did not accept the certificate of the other: the
/// host there lives. False when this host's own credentials are what is missing. Spec: EMC-249
[[nodiscard]] inline bool is_certificate_refusal(const Error& error) {
    constexpr std::array kWords{kForeignCertificate, kNoCertificate, kOwnRefused};
    return std::any_of(kWords.begin(), kWords.end(), [&error](std::string_view words) {
        return error.text.find(words) != std::string::npos;
    });
}

}  // namespace understudy::runtime
