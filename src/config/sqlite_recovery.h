#pragma once
// Opening the configuration database, whatever state its files are in. Private to config/sqlite_*.cpp.

#include "config/sqlite_records.h"
#include "config/sqlite_store.h"

#include <cstdint>
#include <string>

namespace understudy::config {

/// The copy in use, and the one before it.
std::string backup_path(const std::string& path, int age);

struct Opened {
    std::unique_ptr<SqliteFile> file;
    Contents contents;
    std::string damage;  // Spec: CLU-090
};

/// Opens `path` for `self`, makes it when there is none, and replaces it from what is readable and the copies
/// when it is damaged. `wall_s` names the file that is moved aside.
Result<Opened> open_or_recover(const std::string& path, const std::string& self,
                               const SqliteStoreOptions& options, std::int64_t wall_s);

}  // namespace understudy::config
