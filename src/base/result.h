#pragma once
// Errors are values. A Result<T> carries either a T or an Error that says what was attempted, on what, and
// what the reader can do; its Code is one of the exit codes that every command returns (Spec: CMD-004).

#include <fmt/format.h>

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace understudy {

/// Exit codes of every LCD, LCDI and LRACI command. Spec: CMD-004.
enum class Code : int {
    ok = 0,
    failure = 1,         // a system or library call, or an action script, failed
    syntax = 2,          // the caller's command line is wrong
    internal = 3,        // inconsistent database, protocol error
    exists = 4,          // the object already exists
    bad_argument = 5,    // a value is not legal
    out_of_range = 6,    // a number is outside its documented range
    not_found = 7,       // the object does not exist
    has_dependents = 8,  // another resource depends on it
    unreachable = 9,     // no live path to the other system, or it died meanwhile
};

struct Error {
    Code code = Code::failure;
    std::string text;
    int number = 0;  // message catalogue id, 0 when the message has none

    friend bool operator==(const Error&, const Error&) = default;
};

template <class T = void>
using Result = tl::expected<T, Error>;

/// Builds the error side of a Result: `return fail(Code::not_found, "no resource \"{}\" on {}", tag, node);`
template <class... Args>
[[nodiscard]] tl::unexpected<Error> fail(Code code, fmt::format_string<Args...> format, Args&&... args) {
    return tl::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...), 0});
}

[[nodiscard]] inline tl::unexpected<Error> fail(Error error) {
    return tl::unexpected<Error>(std::move(error));
}

/// Puts what was being done in front of an error that came from below.
[[nodiscard]] inline tl::unexpected<Error> with_context(Error error, std::string_view doing) {
    error.text = fmt::format("{}: {}", doing, error.text);
    return tl::unexpected<Error>(std::move(error));
}

}  // namespace understudy

#define UNDERSTUDY_CONCAT_(a, b) a##b
#define UNDERSTUDY_CONCAT(a, b) UNDERSTUDY_CONCAT_(a, b)
/// Returns the error of `expression` from the enclosing function, or declares `target` with its value.
#define UNDERSTUDY_TRY(target, expression)                                                                \
    auto UNDERSTUDY_CONCAT(try_, __LINE__) = (expression);                                                \
    if (!UNDERSTUDY_CONCAT(try_, __LINE__))                                                               \
        return tl::unexpected<::understudy::Error>(std::move(UNDERSTUDY_CONCAT(try_, __LINE__).error())); \
    target = std::move(*UNDERSTUDY_CONCAT(try_, __LINE__))
/// The same for a Result<void>.
#define UNDERSTUDY_CHECK(expression)                                                     \
    do {                                                                                 \
        if (auto check_result = (expression); !check_result)                             \
            return tl::unexpected<::understudy::Error>(std::move(check_result.error())); \
    } while (false)
