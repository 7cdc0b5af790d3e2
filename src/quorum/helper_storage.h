#pragma once
// The shared storage through a child process per cycle (understudy-qwk): a dead file server or a proxy that
// hangs blocks that process and nothing else. One at a time. Spec: QUO-094, QUO-096.
//
//   understudy-qwk aws_s3 ENDPOINTS REGIONS write URI[,URI] RECORD read NODE URI[,URI] read NODE ...
//   output, a line each:  write ok | write error NUMBER TEXT | object NODE ok HEX | object NODE error NUMBER
//   TEXT

#include "quorum/storage.h"
#include "runtime/world.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace understudy::quorum {

class HelperStorage final : public Storage {
  public:
    /// `environment`: read at each cycle; credentials and proxies for S3. Spec: QUO-014.
    HelperStorage(runtime::World world, std::string program,
                  std::function<std::map<std::string, std::string>()> environment);
    HelperStorage(const HelperStorage&) = delete;
    HelperStorage& operator=(const HelperStorage&) = delete;
    ~HelperStorage() override;
    void cycle(const Request& request, Done done) override;

  private:
    runtime::World world_;
    std::string program_;
    std::function<std::map<std::string, std::string>()> environment_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// Both ends' texts. Pure.
std::vector<std::string> helper_arguments(const Storage::Request& request);
CycleOutcome read_helper_output(const Storage::Request& request, std::string_view output);
std::string write_line(const Result<>& written);
std::string object_line(const NodeName& node, const Result<std::string>& bytes);

/// What the helper's arguments mean. Errors: usage (18104).
struct HelperTask {
    StorageType type = StorageType::file;
    std::vector<std::string> endpoints;
    std::vector<std::string> regions;
    std::vector<std::string> write_paths;
    std::string record;  // padded to kObjectBytes
    std::vector<std::pair<NodeName, std::vector<std::string>>> reads;
};
Result<HelperTask> parse_helper_arguments(const std::vector<std::string>& words);

}  // namespace understudy::quorum
