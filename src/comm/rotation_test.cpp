#include "comm/rotation.h"

#include "comm/enrolment.h"
#include "runtime/simulated/simulated_world.h"

#include <gtest/gtest.h>

#include <optional>

namespace understudy::comm {
namespace {

const NodeName kNode("left");
constexpr const char* kPki = "/pki";

/// A node with the credentials of a new cluster.
class Rotation : public ::testing::Test {
  protected:
    Rotation() : host(sim.add_node("left", {"10.0.0.1"})) {
        sim.set_trace_detail(runtime::TraceDetail::none);
        start();
        EXPECT_TRUE(make_cluster(*world, kPki, kNode, "cluster"));
        old_ca = read("ca.pem");
    }
    void start() {
        host.boot([this](runtime::World of_it) {
            world.emplace(of_it);
            return std::make_unique<int>();
        });
    }
    [[nodiscard]] std::string read(const std::string& name) {
        return host.files().read(std::string(kPki) + "/" + name).value_or("");
    }
    [[nodiscard]] static KeyAndCertificate certificate_of(const KeyAndCertificate& ca) {
        const auto request = make_request(kNode).value();
        return {request.private_key, sign_request(ca, kNode, request.certificate, 2).value()};
    }
    /// Whether the files fit together, as the transport wants them.
    [[nodiscard]] bool sound() {
        for (const auto& ca : split_certificates(read("ca.pem")))
            if (check_node_certificate(read("node.pem"), read("node.key"), ca, kNode)) return true;
        return false;
    }

    runtime::Simulation sim{1};
    runtime::SimulatedNode& host;
    std::optional<runtime::World> world;
    std::string old_ca;
    KeyAndCertificate new_ca = make_ca("cluster").value();
};

// Spec: CLU-099, DEP-216
TEST_F(Rotation, TheNodeIsSoundAfterEveryStep) {
    EXPECT_TRUE(sound());
    ASSERT_TRUE(trust_also(*world, kPki, new_ca.certificate));
    ASSERT_TRUE(trust_also(*world, kPki, new_ca.certificate));
    EXPECT_EQ(split_certificates(read("ca.pem")).size(), 2U) << "once";
    EXPECT_TRUE(sound());
    const auto early = trust_no_longer(*world, kPki, fingerprint(old_ca).value());
    ASSERT_FALSE(early) << "its own certificate is of that authority";
    EXPECT_TRUE(sound());
    const auto own = certificate_of(new_ca);
    ASSERT_TRUE(install(*world, kPki, kNode, own));
    EXPECT_EQ(read("node.key"), own.private_key);
    EXPECT_TRUE(sound());
    EXPECT_EQ(load_ca(*world, kPki)->certificate, old_ca);
    ASSERT_TRUE(trust_no_longer(*world, kPki, fingerprint(old_ca).value()));
    EXPECT_EQ(read("ca.pem"), new_ca.certificate);
    EXPECT_EQ(read("ca.key"), "") << "nobody can make certificates with it any more";
    EXPECT_TRUE(sound());
    EXPECT_EQ(load_ca(*world, kPki).error().code, Code::not_found);
    ASSERT_TRUE(trust_no_longer(*world, kPki, fingerprint(old_ca).value())) << "again is no error";
}

TEST_F(Rotation, ACertificateThatNobodyWouldAcceptIsNotInstalled) {
    const auto before = read("node.pem");
    EXPECT_FALSE(install(*world, kPki, kNode, certificate_of(new_ca)));
    ASSERT_TRUE(trust_also(*world, kPki, new_ca.certificate));
    auto wrong = certificate_of(new_ca);
    wrong.private_key = make_request(kNode)->private_key;
    EXPECT_FALSE(install(*world, kPki, kNode, wrong));
    EXPECT_EQ(read("node.pem"), before);
    EXPECT_FALSE(trust_also(*world, kPki, certificate_of(new_ca).certificate)) << "not an authority's";
    EXPECT_TRUE(sound());
}

// A power cut in each of the writes of an install.
TEST_F(Rotation, AnInstallThatIsInterruptedIsCompletedOrForgotten) {
    ASSERT_TRUE(trust_also(*world, kPki, new_ca.certificate));
    const auto own = certificate_of(new_ca);
    const auto old_key = read("node.key");
    const auto old_certificate = read("node.pem");
    // Before node.pem was written: the new key means nothing.
    ASSERT_TRUE(host.files().write_atomic("/pki/node.key.new", own.private_key, 0600));
    EXPECT_FALSE(complete_install(*world, kPki).value());
    EXPECT_EQ(read("node.key"), old_key);
    EXPECT_TRUE(sound());
    // After it.
    ASSERT_TRUE(host.files().write_atomic("/pki/node.key.new", own.private_key, 0600));
    ASSERT_TRUE(host.files().write_atomic("/pki/node.pem", own.certificate, 0644));
    EXPECT_TRUE(complete_install(*world, kPki).value());
    EXPECT_EQ(read("node.key"), own.private_key);
    EXPECT_TRUE(sound());
    EXPECT_FALSE(complete_install(*world, kPki).value());
}

}  // namespace
}  // namespace understudy::comm
