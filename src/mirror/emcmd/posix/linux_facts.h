#pragma once
// The host's devices, addresses and directories as Linux knows them.

#include "mirror/emcmd/host_facts.h"

#include <map>

namespace understudy::mirror::emcmd {

class LinuxFacts : public HostFacts {
  public:
    /// `root`: where /sys and /etc are, for tests.
    explicit LinuxFacts(std::string root = {}) : root_(std::move(root)) {}
    LinuxFacts(const LinuxFacts&) = delete;
    LinuxFacts& operator=(const LinuxFacts&) = delete;
    ~LinuxFacts() override;

    [[nodiscard]] DeviceLook look(const std::string& device, const std::string& bitmaps) const override;
    [[nodiscard]] Result<std::vector<std::string>> resolve(const std::string& name) const override;
    [[nodiscard]] bool is_local(const std::string& address) const override;
    [[nodiscard]] std::vector<std::string> addresses_beside(const std::string& remote) const override;
    [[nodiscard]] Status snapshot_directory(const std::string& directory,
                                            const std::vector<std::string>& devices) const override;
    Result<> hold(const VolumeId& volume, const std::string& device) override;
    void release(const VolumeId& volume) override;
    [[nodiscard]] bool holds(const VolumeId& volume) const override { return held_.contains(volume); }
    [[nodiscard]] std::string fstab() const override;
    [[nodiscard]] InstanceStore instance_store() const override;
    [[nodiscard]] std::optional<std::uint64_t> bytes_left(const std::string& directory) const override;
    [[nodiscard]] std::int64_t now_s() const override;

  private:
    std::string root_;
    std::map<VolumeId, int> held_;  // open descriptors
};

}  // namespace understudy::mirror::emcmd
