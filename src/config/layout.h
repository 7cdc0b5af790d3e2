#pragma once
// Where a host's files lie, all relative to one root, so that several hosts can live on one machine. Programs
// and kits may be elsewhere: $LKROOT says where (Spec: CMD-018, CLU-083).

#include <string>

namespace understudy::config {

struct Layout {
    std::string root;      // "" for a real host, otherwise a directory without a trailing slash
    std::string programs;  // $LKROOT when it is set, without a trailing slash

    [[nodiscard]] std::string etc() const { return root + "/etc/understudy"; }
    [[nodiscard]] std::string settings() const { return root + "/etc/default/LifeKeeper"; }
    [[nodiscard]] std::string pki() const { return etc() + "/pki"; }  // ca.pem, ca.key, node.pem, node.key
    [[nodiscard]] std::string state() const { return root + "/var/lib/understudy"; }
    [[nodiscard]] std::string database() const { return state() + "/config.db"; }
    [[nodiscard]] std::string database_tail() const { return run() + "/config.tail"; }  // see tail_store.h
    [[nodiscard]] std::string bitmaps() const { return state() + "/Bitmaps"; }
    [[nodiscard]] std::string mirrors() const { return state() + "/mirrors"; }  // one record per volume
    [[nodiscard]] std::string log() const { return root + "/var/log/understudy"; }
    [[nodiscard]] std::string run() const { return root + "/run/understudy"; }
    [[nodiscard]] std::string daemon_socket() const { return run() + "/understudyd.sock"; }
    [[nodiscard]] std::string mirror_socket() const { return run() + "/mirrord.sock"; }
    [[nodiscard]] std::string keeper_socket() const { return run() + "/keeper.sock"; }
    [[nodiscard]] std::string lkroot() const {
        return programs.empty() ? root + "/usr/lib/understudy" : programs;
    }
};

}  // namespace understudy::config
