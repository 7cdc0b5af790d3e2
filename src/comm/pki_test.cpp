#include "comm/pki.h"

#include <gtest/gtest.h>

namespace understudy::comm {
namespace {

const NodeName kLeft("left");

KeyAndCertificate ca(const std::string& name = "blue") {
    auto made = make_ca(name);
    EXPECT_TRUE(made) << made.error().text;
    return *made;
}

// Spec: CLU-099, REP-012
TEST(Pki, TheCaSignsANodesRequest) {
    const auto issuer = ca();
    const auto request = make_request(kLeft);
    ASSERT_TRUE(request);
    const auto certificate = sign_request(issuer, kLeft, request->certificate);
    ASSERT_TRUE(certificate) << certificate.error().text;
    EXPECT_EQ(common_name(*certificate).value(), "left");
    EXPECT_EQ(cluster_name(issuer.certificate).value(), "blue");
    const auto check = check_node_certificate(*certificate, request->private_key, issuer.certificate, kLeft);
    EXPECT_TRUE(check) << check.error().text;
}

TEST(Pki, ARequestForAnotherNameIsRefused) {
    const auto request = make_request(NodeName("right"));
    const auto certificate = sign_request(ca(), kLeft, request->certificate);
    ASSERT_FALSE(certificate);
    EXPECT_EQ(certificate.error().text, "the certificate request is for \"right\", not for left");
}

TEST(Pki, ADamagedRequestIsRefused) {
    auto request = make_request(kLeft)->certificate;
    EXPECT_FALSE(sign_request(ca(), kLeft, "no PEM"));
    // Another bit in the middle: the structure or the signature is wrong.
    const auto at = request.find('\n', request.size() / 2) + 5;
    request[at] = request[at] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(sign_request(ca(), kLeft, request));
}

TEST(Pki, ACertificateOfAnotherCaOrKeyOrNameIsFoundOut) {
    const auto issuer = ca();
    const auto request = make_request(kLeft);
    const auto certificate = sign_request(issuer, kLeft, request->certificate).value();
    const auto other_key = make_request(kLeft)->private_key;
    EXPECT_FALSE(check_node_certificate(certificate, request->private_key, ca().certificate, kLeft));
    EXPECT_FALSE(check_node_certificate(certificate, other_key, issuer.certificate, kLeft));
    EXPECT_FALSE(
        check_node_certificate(certificate, request->private_key, issuer.certificate, NodeName("right")));
    EXPECT_FALSE(
        check_node_certificate(issuer.certificate, issuer.private_key, issuer.certificate, NodeName("blue")));
    EXPECT_FALSE(cluster_name(certificate));
}

TEST(Pki, NamesThatCannotStandInACertificateAreRefused) {
    EXPECT_FALSE(make_request(NodeName("")));
    EXPECT_FALSE(make_request(NodeName("a b")));
    EXPECT_FALSE(make_ca(""));
    EXPECT_FALSE(make_ca(std::string(65, 'x')));
    EXPECT_FALSE(make_ca("two\nlines"));
    EXPECT_TRUE(make_ca("本番クラスタ"));
}

TEST(Pki, TheFingerprintIsThatOfTheCertificateAndDiffersPerCa) {
    const auto one = fingerprint(ca().certificate).value();
    EXPECT_EQ(one.size(), 64U);
    EXPECT_NE(one, fingerprint(ca().certificate).value());
    EXPECT_FALSE(fingerprint("nothing"));
}

TEST(Pki, HashAndComparisonAreRight) {
    EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_TRUE(equal_in_constant_time("abc", "abc"));
    EXPECT_FALSE(equal_in_constant_time("abc", "abd"));
    EXPECT_FALSE(equal_in_constant_time("abc", "ab"));
}

}  // namespace
}  // namespace understudy::comm
