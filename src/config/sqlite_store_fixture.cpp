#include "config/sqlite_store_fixture.h"

#include <sqlite3.h>

namespace understudy::config::testing {

void SqliteStoreTest::sql(const std::string& file, const std::string& text) {
    sqlite3* handle = nullptr;
    ASSERT_EQ(sqlite3_open(file.c_str(), &handle), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(handle, text.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(handle);
    sqlite3_close(handle);
}

}  // namespace understudy::config::testing
