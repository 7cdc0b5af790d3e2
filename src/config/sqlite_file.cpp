#include "config/sqlite_file.h"

#include <sqlite3.h>

#include <utility>

namespace understudy::config {
namespace {

tl::unexpected<SqliteError> failed(SqliteError error) {
    return tl::unexpected<SqliteError>(std::move(error));
}

std::string advice(int primary) {
    switch (primary) {
        case SQLITE_FULL:
            return "there is no space left; free some";
        case SQLITE_READONLY:
            return "it is read-only; is its file system mounted read-only?";
        case SQLITE_CANTOPEN:
            return "it cannot be opened; does its directory exist, and may it be written?";
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
            return "another process uses it";
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
            return "its content is damaged";
        case SQLITE_IOERR:
            return "reading or writing it failed; look for disk errors in the system's log";
        default:
            return {};
    }
}

}  // namespace

SqliteError SqliteFile::error(int result) const {
    const int primary = result & 0xff;
    auto why = advice(primary);
    const std::string detail = handle_ == nullptr ? sqlite3_errstr(result) : sqlite3_errmsg(handle_);
    SqliteError error;
    error.error = Error{
        Code::failure,
        why.empty() ? fmt::format("{}: {}", path_, detail) : fmt::format("{}: {} ({})", path_, why, detail),
        0};
    // What the disk cannot read is as lost as what it reads wrongly. Spec: CLU-090.
    error.damaged = primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || result == SQLITE_IOERR_READ ||
                    result == SQLITE_IOERR_SHORT_READ || result == SQLITE_IOERR_CORRUPTFS;
    error.busy = primary == SQLITE_BUSY || primary == SQLITE_LOCKED;
    return error;
}

SqliteResult<std::unique_ptr<SqliteFile>> SqliteFile::open(const std::string& path, Mode mode) {
    sqlite3* handle = nullptr;
    const int flags =
        (mode == Mode::create ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY) |
        SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    const int result = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
    std::unique_ptr<SqliteFile> file(new SqliteFile(path, handle));
    if (result != SQLITE_OK) return failed(file->error(result));
    return file;
}

SqliteFile::~SqliteFile() {
    sqlite3_close_v2(handle_);
}

SqliteResult<> SqliteFile::execute(const char* sql) {
    if (const int result = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr); result != SQLITE_OK)
        return failed(error(result));
    return {};
}

SqliteResult<SqliteFile::Statement> SqliteFile::prepare(std::string_view sql) {
    sqlite3_stmt* statement = nullptr;
    if (const int result =
            sqlite3_prepare_v2(handle_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
        result != SQLITE_OK) {
        auto why = error(result);
        // Our statements are right: the tables are not what we made.
        why.damaged = why.damaged || result == SQLITE_ERROR;
        return failed(std::move(why));
    }
    return Statement(this, statement);
}

SqliteFile::Statement::~Statement() {
    sqlite3_finalize(statement_);
}

SqliteFile::Statement::Statement(Statement&& other) noexcept
    : file_(other.file_), statement_(std::exchange(other.statement_, nullptr)) {}

// A failing bind shows in the next step as a constraint or misuse error; binding itself allocates nothing.
SqliteFile::Statement& SqliteFile::Statement::bind(int parameter, std::string_view blob) {
    // A null pointer would bind NULL instead of an empty blob.
    sqlite3_bind_blob64(statement_, parameter, blob.data() == nullptr ? "" : blob.data(), blob.size(),
                        SQLITE_STATIC);
    return *this;
}

SqliteFile::Statement& SqliteFile::Statement::bind(int parameter, std::int64_t value) {
    sqlite3_bind_int64(statement_, parameter, value);
    return *this;
}

SqliteResult<bool> SqliteFile::Statement::step() {
    const int result = sqlite3_step(statement_);
    if (result == SQLITE_ROW) return true;
    if (result == SQLITE_DONE) return false;
    return failed(file_->error(result));
}

SqliteResult<> SqliteFile::Statement::run() {
    const auto row = step();
    reset();
    if (!row) return failed(row.error());
    return {};
}

void SqliteFile::Statement::reset() {
    sqlite3_reset(statement_);
}

std::string_view SqliteFile::Statement::blob(int column) const {
    const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
    if (data == nullptr) return {};
    return {data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

std::int64_t SqliteFile::Statement::integer(int column) const {
    return sqlite3_column_int64(statement_, column);
}

SqliteResult<std::unique_ptr<SqliteCopy>> SqliteCopy::start(SqliteFile& from, const std::string& to) {
    UNDERSTUDY_SQL_TRY(auto target, SqliteFile::open(to, SqliteFile::Mode::create));
    std::unique_ptr<SqliteCopy> copy(new SqliteCopy(std::move(target)));
    copy->backup_ = sqlite3_backup_init(copy->to_->handle(), "main", from.handle(), "main");
    if (copy->backup_ == nullptr) return failed(copy->to_->error(sqlite3_errcode(copy->to_->handle())));
    return copy;
}

SqliteCopy::~SqliteCopy() {
    if (backup_ != nullptr) sqlite3_backup_finish(backup_);
}

SqliteResult<bool> SqliteCopy::step(int pages) {
    const int result = sqlite3_backup_step(backup_, pages);
    if (result == SQLITE_OK) return false;
    const int finished = sqlite3_backup_finish(std::exchange(backup_, nullptr));
    if (result != SQLITE_DONE) return failed(to_->error(result));
    if (finished != SQLITE_OK) return failed(to_->error(finished));
    // The copy says that it has a write-ahead log; it must be readable by itself.
    UNDERSTUDY_SQL_CHECK(to_->execute("PRAGMA journal_mode=DELETE"));
    to_.reset();
    return true;
}

}  // namespace understudy::config
