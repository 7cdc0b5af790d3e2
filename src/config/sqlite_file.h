#pragma once
// One SQLite file with errors as values. Private to config/sqlite_*.cpp; one thread at a time.

#include "base/result.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;
struct sqlite3_backup;

namespace understudy::config {

/// Whether the error says that the file's content is not what SQLite wrote (as opposed to a full or broken
/// disk, or a file that is in use).
struct SqliteError {
    Error error;
    bool damaged = false;
    bool busy = false;
};
template <class T = void>
using SqliteResult = tl::expected<T, SqliteError>;

class SqliteFile {
  public:
    class Statement {
      public:
        ~Statement();
        Statement(Statement&&) noexcept;
        Statement(const Statement&) = delete;
        Statement& operator=(const Statement&) = delete;
        Statement& operator=(Statement&&) = delete;
        /// Parameters count from 1. The bytes must live until the next run() or reset().
        Statement& bind(int parameter, std::string_view blob);
        Statement& bind(int parameter, std::int64_t value);
        /// True when there is a row.
        SqliteResult<bool> step();
        /// Steps a statement that gives no rows, then resets it.
        SqliteResult<> run();
        void reset();
        [[nodiscard]] std::string_view blob(int column) const;  // valid until the next step
        [[nodiscard]] std::int64_t integer(int column) const;

      private:
        friend class SqliteFile;
        Statement(SqliteFile* file, sqlite3_stmt* statement) : file_(file), statement_(statement) {}
        SqliteFile* file_;
        sqlite3_stmt* statement_;
    };

    enum class Mode { create, read_only };
    static SqliteResult<std::unique_ptr<SqliteFile>> open(const std::string& path, Mode mode);
    SqliteFile(const SqliteFile&) = delete;
    SqliteFile& operator=(const SqliteFile&) = delete;
    ~SqliteFile();

    [[nodiscard]] const std::string& path() const { return path_; }
    SqliteResult<> execute(const char* sql);
    SqliteResult<Statement> prepare(std::string_view sql);
    [[nodiscard]] sqlite3* handle() const { return handle_; }
    /// The error of an SQLite result code.
    [[nodiscard]] SqliteError error(int result) const;

  private:
    SqliteFile(std::string path, sqlite3* handle) : path_(std::move(path)), handle_(handle) {}
    std::string path_;
    sqlite3* handle_;
};

/// A copy in steps, while the source goes on being written through its own connection.
class SqliteCopy {
  public:
    static SqliteResult<std::unique_ptr<SqliteCopy>> start(SqliteFile& from, const std::string& to);
    SqliteCopy(const SqliteCopy&) = delete;
    SqliteCopy& operator=(const SqliteCopy&) = delete;
    ~SqliteCopy();
    /// Copies some pages; true when the copy is complete, on disk and closed.
    SqliteResult<bool> step(int pages);

  private:
    explicit SqliteCopy(std::unique_ptr<SqliteFile> to) : to_(std::move(to)) {}
    std::unique_ptr<SqliteFile> to_;
    sqlite3_backup* backup_ = nullptr;
};

}  // namespace understudy::config

/// UNDERSTUDY_TRY for SqliteResult.
#define UNDERSTUDY_SQL_TRY(target, expression)                     \
    auto UNDERSTUDY_CONCAT(sql_, __LINE__) = (expression);         \
    if (!UNDERSTUDY_CONCAT(sql_, __LINE__))                        \
        return tl::unexpected<::understudy::config::SqliteError>(  \
            std::move(UNDERSTUDY_CONCAT(sql_, __LINE__).error())); \
    target = std::move(*UNDERSTUDY_CONCAT(sql_, __LINE__))
#define UNDERSTUDY_SQL_CHECK(expression)                                                             \
    do {                                                                                             \
        if (auto sql_result = (expression); !sql_result)                                             \
            return tl::unexpected<::understudy::config::SqliteError>(std::move(sql_result.error())); \
    } while (false)
