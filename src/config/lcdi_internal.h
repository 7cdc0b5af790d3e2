#pragma once
// What the command implementations of this folder share. Private to config/lcdi*.cpp.

#include "base/text.h"
#include "config/lcdi.h"

#include <fmt/format.h>

#include <functional>
#include <iterator>
#include <string>
#include <string_view>

namespace understudy::config::lcdi {

inline constexpr char kDefaultSeparator = '\x01';           // Spec: CMD-008
inline constexpr std::int64_t kMaxCheckIntervalS = 604800;  // Spec: CMD-062
inline constexpr std::size_t kMaxNameBytes = 256;           // applications, types, systems
inline constexpr std::size_t kMaxFlagBytes = 256;           // Spec: CMD-098
inline constexpr std::size_t kMaxIdBytes = 4096;
inline constexpr std::size_t kMaxTextBytes = 65536;  // info and reason

struct Context {
    Database& database;
    const LiveView& live;
    const Command& command;
    [[nodiscard]] const NodeConfig& own() const { return database.own(); }
    [[nodiscard]] const NodeName& self() const { return database.self(); }
};

using Handler = Result<Reply> (*)(Context&);

// Code::syntax: option missing.
Result<std::string> required(const Command& command, std::string_view option, std::string_view what);
/// Of -fC. Code::syntax when it is not one character.
Result<char> separator(const Command& command);
/// Code::bad_argument for something that is no number, Code::out_of_range for one beyond the limits.
Result<int> number(const std::string& text, std::int64_t least, std::int64_t most, std::string_view what);
/// [A-Za-z0-9_.-]+, neither "." nor "..": it becomes a directory. Code::bad_argument. Spec: CMD-056.
Result<> check_name(std::string_view name, std::string_view what);
/// No separator, no line end: it is a field of a listing. Code::bad_argument.
Result<> check_text(std::string_view text, std::string_view what);

// Code::not_found.
Result<const Instance*> find_instance(const Context& context, const std::string& tag);
Result<> check_app(const Context& context, const std::string& app);
Result<> check_type(const Context& context, const std::string& app, const std::string& type);
/// The -a and -r of a listing, when given: code 7 when nothing of that name exists.
Result<> check_selectors(const Context& context);
bool matches_selectors(const Context& context, const Instance& instance);

/// Lines of fields, each ended by a newline, no separator behind the last field.
class Lines {
  public:
    explicit Lines(char separator) : separator_(separator) {}
    template <class First, class... Rest>
    void add(const First& first, const Rest&... rest) {
        append(first);
        ((text_ += separator_, append(rest)), ...);
        text_ += '\n';
    }
    [[nodiscard]] std::string take() { return std::move(text_); }

  private:
    void append(std::string_view field) { text_ += field; }
    template <class Purpose>
    void append(const Name<Purpose>& field) {
        text_ += field.str();
    }
    template <class Number>
    requires std::is_integral_v<Number>
    void append(Number field) { fmt::format_to(std::back_inserter(text_), "{}", field); }

    char separator_;
    std::string text_;
};

// lcdi_types.cpp
Result<Reply> app_create(Context&);
Result<Reply> app_list(Context&);
Result<Reply> app_remove(Context&);
Result<Reply> typ_create(Context&);
Result<Reply> typ_list(Context&);
Result<Reply> typ_remove(Context&);
// lcdi_instances.cpp
Result<Reply> ins_create(Context&);
Result<Reply> ins_list(Context&);
Result<Reply> ins_gettag(Context&);
Result<Reply> ins_setas(Context&);
Result<Reply> ins_setchkint(Context&);
Result<Reply> ins_setin(Context&);
Result<Reply> ins_setit(Context&);
Result<Reply> ins_setlocalrecover(Context&);
Result<Reply> ins_setst(Context&);
// lcdi_relations.cpp
Result<Reply> dep_create(Context&);
Result<Reply> dep_list(Context&);
Result<Reply> dep_remove(Context&);
Result<Reply> eqv_list(Context&);
Result<Reply> lcdrecover(Context&);
// lcdi_systems.cpp
Result<Reply> sys_create(Context&);
Result<Reply> sys_list(Context&);
Result<Reply> sys_getst(Context&);
Result<Reply> sys_getds(Context&);
Result<Reply> sys_remove(Context&);
Result<Reply> lcduname(Context&);
Result<Reply> delallsys(Context&);
Result<Path> checked_path(Context&);  // what net_create defines
Result<Reply> net_create(Context&);
Result<Reply> net_list(Context&);
Result<Reply> net_remove(Context&);
Result<Reply> flg_create(Context&);
Result<Reply> flg_list(Context&);
Result<Reply> flg_test(Context&);
Result<Reply> flg_remove(Context&);

}  // namespace understudy::config::lcdi
