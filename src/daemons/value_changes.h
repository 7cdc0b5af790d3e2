#pragma once
// lk_chg_value: other names, addresses, tags and ids in a stopped node's configuration. Here is what changes
// and how all of it changes or nothing; lk_chg_value.cpp is the program. Spec: CMD-103 to CMD-105.

#include "base/result.h"
#include "config/model.h"
#include "runtime/files.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::daemons {

struct Substitutions {
    std::map<std::string, std::string> values;  // old -> new, all at once
    bool tags = true;                           // -T leaves them alone
    bool ids = true;                            // -I leaves them alone
    bool whole_ids = false;                     // -F: an id may be replaced as a whole
};

/// "old=new" lines; empty ones and those that begin with # are skipped. Code::syntax names the line.
Result<std::map<std::string, std::string>> parse_substitutions(std::string_view text);

/// One value found. `line` is that of a text file, or the number of the field in the database.
struct FoundValue {
    std::string file;
    std::size_t line = 0;
    std::string from;
    std::string to;
};

/// Whole fields, and names and addresses inside ids and information texts. Code::bad_argument when an id
/// would be replaced as a whole and neither -F nor -I was given. `found` gets every change.
Result<config::NodeConfig> change_values(const config::NodeConfig& config, const Substitutions& substitutions,
                                         std::vector<FoundValue>& found);
/// The values where they stand by themselves: next to no letter, digit, "_", "-" or ".", so that 10.0.0.1 is
/// not found in 10.0.0.10.
std::string change_text(std::string_view text, const Substitutions& substitutions, const std::string& file,
                        std::vector<FoundValue>& found);

/// New contents by path; no content: the file goes.
using FileChanges = std::map<std::string, std::optional<std::string>>;

/// Makes all changes or none: the originals are kept in `directory` until everything is done.
Result<> replace_files(runtime::Files& files, const FileChanges& changes, const std::string& directory);
/// Puts the originals back when a run of replace_files was cut off. True when it was.
Result<bool> restore_files(runtime::Files& files, const std::string& directory);

}  // namespace understudy::daemons
