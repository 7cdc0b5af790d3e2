#pragma once
// What the tests of runtime/posix share: a directory that goes away, waiting with a limit, certificates.

#include "runtime/posix/event_loop.h"
#include "runtime/posix/posix_world.h"

#include <functional>
#include <string>

namespace understudy::runtime::testing {

/// An empty directory, removed with its content.
class TemporaryDirectory {
  public:
    TemporaryDirectory();
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory();
    [[nodiscard]] std::string path(const std::string& name) const { return path_ + "/" + name; }
    [[nodiscard]] const std::string& root() const { return path_; }

  private:
    std::string path_;
};

/// Runs the loop until `condition` holds (looked at every millisecond); false after `limit`.
bool run_until(EventLoop& loop, const std::function<bool()>& condition,
               Duration limit = std::chrono::seconds(20));
/// Runs the loop for a while: to see that something does not happen.
void run_for(EventLoop& loop, Duration duration);

/// Whether `condition` comes to hold within `limit`; without a loop.
bool within(Duration limit, const std::function<bool()>& condition);

void write_file(const std::string& path, const std::string& content);

/// A cluster's CA, made for one test, that signs nodes' certificates.
class TestCa {
  public:
    struct Options {
        bool expired = false;          // the certificate's dates lie in the past
        bool shows_ca_itself = false;  // the node uses the CA's certificate as its own
    };
    explicit TestCa(const std::string& cluster);
    TestCa(const TestCa&) = delete;
    TestCa& operator=(const TestCa&) = delete;
    ~TestCa();

    /// Writes ca.pem, <node>.pem and <node>.key into `directory`.
    [[nodiscard]] CredentialPaths issue(const TemporaryDirectory& directory, const std::string& node,
                                        Options options) const;
    [[nodiscard]] CredentialPaths issue(const TemporaryDirectory& directory, const std::string& node) const {
        return issue(directory, node, Options());
    }
    [[nodiscard]] std::string fingerprint() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace understudy::runtime::testing
