#include "config/sqlite_store.h"

#include "config/sqlite_recovery.h"
#include "messages/messages.h"

#include <algorithm>
#include <cassert>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <thread>

namespace understudy::config {
namespace {

namespace fs = std::filesystem;
using SteadyClock = std::chrono::steady_clock;

/// Journal entries and cached copies wait this long for a commit that takes them along.
constexpr auto kLazyDelay = std::chrono::milliseconds(500);
/// What nobody waits for is tried again after a failure.
constexpr auto kRetryDelay = std::chrono::seconds(5);
constexpr int kCopyPages = 128;
/// Reads of the journal that wait; more are answered with nothing.
constexpr std::size_t kMaxReads = 64;

using Durable = std::function<void(Result<>)>;

struct Read {
    std::size_t limit = 0;
    std::function<void(std::vector<JournalEntry>)> done;
    std::function<void()> when_written;  // instead: runs on the loop when what was queued before is written
};

}  // namespace

struct SqliteStore::Impl {
    runtime::World world;
    std::string path;
    SqliteStoreOptions options;
    std::unique_ptr<SqliteFile> lock;

    // The writer thread's own.
    std::unique_ptr<SqliteFile> file;
    std::unique_ptr<RecordWriter> writer;
    std::unique_ptr<SqliteCopy> copy;
    bool changed_since_copy = false;
    bool copy_failed = false;
    SteadyClock::time_point next_copy;

    // Shared, under the mutex. Bounded: rows by the number of records, journal by kMaxJournalEntries, durable
    // by the database's kMaxUnconfirmedCommits, reads by kMaxReads.
    std::mutex mutex;
    std::condition_variable wake;
    Batch pending;
    std::vector<Durable> durable;
    std::deque<Read> reads;
    bool urgent = false;
    bool stopping = false;
    std::vector<HistoryEntry> unwritten_history;  // the loop's own: waits for its commit
    SteadyClock::time_point lazy_due;

    std::thread thread;

    Impl(runtime::World w, std::string p, SqliteStoreOptions o) : world(w), path(std::move(p)), options(o) {}

    void run();
    bool wait_for_work(Batch& batch, std::vector<Durable>& waiting, std::deque<Read>& asked);
    void write_batch(Batch batch, std::vector<Durable> waiting);
    void answer(Read read);
    bool copy_due() const { return changed_since_copy && !copy_failed && SteadyClock::now() >= next_copy; }
    void copy_step(int pages);
    void finish_copy();

    /// Runs `change` on the pending batch. Changes without a deadline of their own ride along with the next
    /// one.
    template <class Change>
    void enqueue(bool is_urgent, Change change) {
        assert(thread.joinable() && "load() comes first");
        const std::lock_guard guard(mutex);
        const bool idle = pending.empty() && !urgent;
        change();
        if (is_urgent)
            urgent = true;
        else if (idle)
            lazy_due = SteadyClock::now() + kLazyDelay;
        if (is_urgent || idle) wake.notify_one();
    }
};

SqliteStore::SqliteStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

SqliteStore::~SqliteStore() {
    if (!impl_->thread.joinable()) return;
    {
        const std::lock_guard guard(impl_->mutex);
        impl_->stopping = true;
    }
    impl_->wake.notify_one();
    impl_->thread.join();
}

Result<std::unique_ptr<SqliteStore>> SqliteStore::open(runtime::World world, std::string path,
                                                       SqliteStoreOptions options) {
    std::error_code error;
    const auto directory = fs::path(path).parent_path();
    fs::create_directories(directory, error);
    if (error) return fail(Code::failure, "cannot create {}: {}", directory.string(), error.message());

    auto impl = std::make_unique<Impl>(world, std::move(path), options);
    // A file of its own, so that the database can be replaced while it is held, and looked at while it is
    // used.
    const auto lock_path = impl->path + ".lock";
    auto lock = SqliteFile::open(lock_path, SqliteFile::Mode::create);
    if (!lock) return fail(lock.error().error);
    if (auto held =
            (*lock)->execute("PRAGMA busy_timeout=1000; PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE");
        !held) {
        if (held.error().busy)
            return fail(Code::failure, "{} is used by another process; is understudyd running already?",
                        impl->path);
        return fail(held.error().error);
    }
    impl->lock = std::move(*lock);
    return std::unique_ptr<SqliteStore>(new SqliteStore(std::move(impl)));
}

Result<Store::Loaded> SqliteStore::load(const NodeName& self) {
    assert(!impl_->thread.joinable() && "load() comes once");
    const auto wall_s =
        std::chrono::duration_cast<std::chrono::seconds>(impl_->world.clock.wall().time_since_epoch())
            .count();
    UNDERSTUDY_TRY(auto opened, open_or_recover(impl_->path, self.str(), impl_->options, wall_s));
    const auto history_us =
        std::chrono::duration_cast<std::chrono::microseconds>(impl_->options.history_age).count();
    auto writer = RecordWriter::create(*opened.file, opened.contents, history_us);
    if (!writer) return fail(writer.error().error);
    impl_->file = std::move(opened.file);
    impl_->writer = std::move(*writer);

    Loaded loaded;
    loaded.damage = std::move(opened.damage);
    loaded.last_journal_id = opened.contents.last_journal_id;
    loaded.last_history_id = opened.contents.last_history_id;
    for (auto& [owner, rows] : opened.contents.owners) {
        if (owner == self.str())
            loaded.own = std::move(rows.config);
        else
            loaded.replicas.emplace(owner, std::move(rows.config));
    }
    std::error_code ignored;
    // Only the daemon and root read it: kits may keep confidential text in it.
    fs::permissions(impl_->path, fs::perms::owner_read | fs::perms::owner_write, ignored);
    const bool has_copy = fs::exists(backup_path(impl_->path, 0), ignored);
    impl_->changed_since_copy = !has_copy || !loaded.damage.empty();
    impl_->next_copy =
        SteadyClock::now() + (has_copy ? impl_->options.backup_interval : std::chrono::milliseconds(0));
    impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
    return loaded;
}

void SqliteStore::write(const Change& change, std::function<void(Result<>)> durable) {
    impl_->enqueue(true, [&] {
        impl_->pending.add(change);
        for (const auto& entry : std::exchange(impl_->unwritten_history, {}))
            impl_->pending.append(entry);
        if (durable) impl_->durable.push_back(std::move(durable));
    });
}

void SqliteStore::write_replica(const NodeName& owner, const NodeConfig& config) {
    impl_->enqueue(false, [&] { impl_->pending.replace(owner, config); });
}

void SqliteStore::drop_replica(const NodeName& owner) {
    impl_->enqueue(false, [&] { impl_->pending.forget(owner); });
}

void SqliteStore::advance_replica(const Change& change) {
    impl_->enqueue(false, [&] { impl_->pending.add(change); });
}

void SqliteStore::append(const JournalEntry& entry) {
    impl_->enqueue(false, [&] { impl_->pending.append(entry); });
}

void SqliteStore::read_journal(std::size_t limit, std::function<void(std::vector<JournalEntry>)> done) {
    impl_->enqueue(true, [&] {
        if (impl_->reads.size() < kMaxReads)
            impl_->reads.push_back({limit, std::move(done), {}});
        else
            impl_->world.tasks.post([done = std::move(done)] { done({}); });
    });
}

void SqliteStore::append_history(const HistoryEntry& entry) {
    impl_->unwritten_history.push_back(entry);
}

void SqliteStore::read_history(const HistoryQuery& query,
                               std::function<void(Result<std::vector<HistoryEntry>>)> done) {
    auto found = std::make_shared<Result<std::vector<HistoryEntry>>>();
    auto work = [path = impl_->path, query, found] {
        auto file = SqliteFile::open(path, SqliteFile::Mode::read_only);
        auto entries = file ? config::read_history(**file, query)
                            : SqliteResult<std::vector<HistoryEntry>>(tl::unexpect, file.error());
        if (entries)
            *found = std::move(*entries);
        else
            *found = with_context(entries.error().error, "cannot read the history");
    };
    auto search = [tasks = &impl_->world.tasks, work, found, done] {
        if (!tasks->run_blocking(work, [found, done] { done(std::move(*found)); }))
            done(fail(Code::failure, "too many jobs wait for the disk already; try again"));
    };
    impl_->enqueue(true, [&] {
        if (impl_->reads.size() < kMaxReads)
            impl_->reads.push_back({0, {}, std::move(search)});
        else
            impl_->world.tasks.post([done] {
                done(fail(Code::failure, "too many searches of the history at once; try again later"));
            });
    });
}

/// Takes what there is to do. Empty hands: time for the copy. False: everything is done and the store is
/// going.
bool SqliteStore::Impl::wait_for_work(Batch& batch, std::vector<Durable>& waiting, std::deque<Read>& asked) {
    std::unique_lock guard(mutex);
    while (true) {
        const auto now = SteadyClock::now();
        if (urgent || stopping || (!pending.empty() && now >= lazy_due)) break;
        if (copy || copy_due()) return true;
        auto until = now + std::chrono::hours(1);
        if (!pending.empty()) until = std::min(until, lazy_due);
        if (changed_since_copy && !copy_failed) until = std::min(until, next_copy);
        wake.wait_until(guard, until);
    }
    if (stopping && !urgent && pending.empty()) return false;
    urgent = false;
    batch = std::exchange(pending, {});
    waiting = std::exchange(durable, {});
    asked = std::exchange(reads, {});
    return true;
}

void SqliteStore::Impl::run() {
    while (true) {
        Batch batch;
        std::vector<Durable> waiting;
        std::deque<Read> asked;
        if (!wait_for_work(batch, waiting, asked)) break;
        if (batch.empty() && waiting.empty() && asked.empty()) {
            copy_step(kCopyPages);
            continue;
        }
        write_batch(std::move(batch), std::move(waiting));
        for (auto& read : asked)
            answer(std::move(read));
    }
    while (copy || (changed_since_copy && !copy_failed))
        copy_step(-1);
    writer.reset();
    file.reset();
}

void SqliteStore::Impl::write_batch(Batch batch, std::vector<Durable> waiting) {
    if (batch.empty() && waiting.empty()) return;
    Result<> result;
    if (!batch.empty()) {
        if (auto written = writer->write(batch); !written) {
            result = with_context(written.error().error, "cannot write the configuration");
            const std::lock_guard guard(mutex);
            pending.merge_older(std::move(batch));
            lazy_due = SteadyClock::now() + kRetryDelay;
            // Nothing more will come: leave it.
            if (stopping) pending = {};
        } else {
            changed_since_copy = true;
            copy_failed = false;
        }
    }
    if (waiting.empty()) return;
    world.tasks.post_from_thread([waiting = std::move(waiting), result] {
        for (const auto& each : waiting)
            each(result);
    });
}

void SqliteStore::Impl::answer(Read read) {
    if (read.when_written) return world.tasks.post_from_thread(std::move(read.when_written));
    auto entries = read_entries(*file, read.limit);
    if (!entries) messages::error("cannot read the journal: {}", entries.error().error.text);
    world.tasks.post_from_thread(
        [done = std::move(read.done), found = entries ? std::move(*entries) : std::vector<JournalEntry>{}] {
            done(found);
        });
}

void SqliteStore::Impl::copy_step(int pages) {
    const auto target = backup_path(path, 0) + ".new";
    const auto give_up = [&](const SqliteError& error) {
        messages::error("cannot copy the configuration database: {}", error.error.text);
        copy.reset();
        // The next change tries again, a minute later at the earliest.
        copy_failed = true;
        next_copy = SteadyClock::now() + options.backup_interval;
    };
    if (!copy) {
        std::error_code ignored;
        fs::remove(target, ignored);
        auto started = SqliteCopy::start(*file, target);
        if (!started) return give_up(started.error());
        copy = std::move(*started);
        changed_since_copy = false;
    }
    const auto complete = copy->step(pages);
    if (!complete) return give_up(complete.error());
    if (*complete) finish_copy();
}

void SqliteStore::Impl::finish_copy() {
    copy.reset();
    next_copy = SteadyClock::now() + options.backup_interval;
    std::error_code error;
    const auto newest = backup_path(path, 0);
    fs::rename(newest, backup_path(path, 1), error);  // there is none the first time
    fs::rename(newest + ".new", newest, error);
    if (error) messages::error("cannot rename {}.new to {}: {}", newest, newest, error.message());
    fs::permissions(newest, fs::perms::owner_read | fs::perms::owner_write, error);
}

}  // namespace understudy::config
