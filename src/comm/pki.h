#pragma once
// The cluster's certificate authority and the nodes' certificates (P-256, X.509). Pure functions on PEM text.

#include "base/result.h"
#include "base/types.h"

#include <string>
#include <string_view>
#include <vector>

namespace understudy::comm {

struct KeyAndCertificate {
    std::string private_key;  // PEM, PKCS#8
    std::string certificate;  // PEM
};

/// A self-signed CA for a new cluster, valid for 30 years. Spec: DEP-216.
Result<KeyAndCertificate> make_ca(std::string_view cluster_name);
/// A key and a certificate signing request for a node; returned as (key, CSR).
Result<KeyAndCertificate> make_request(const NodeName& node);
/// Signs a request for `node`; refuses a request whose name or signature is wrong. Valid for 10 years.
/// `issue`: which certificate of that name it is (runtime/removed_nodes.h); in the subject's serialNumber.
Result<std::string> sign_request(const KeyAndCertificate& ca, const NodeName& node, std::string_view csr_pem,
                                 std::uint32_t issue = 1);
/// The certificates of a PEM text, each by itself.
std::vector<std::string> split_certificates(std::string_view pem);
/// SHA-256 of the certificate's DER form, lower-case hex.
Result<std::string> fingerprint(std::string_view certificate_pem);

/// The one CN of a certificate: a node's name. Code::internal when it has none or several.
Result<std::string> common_name(std::string_view certificate_pem);
/// The cluster's name in a CA certificate.
Result<std::string> cluster_name(std::string_view ca_pem);
/// Whether this is a node's certificate for `node`, made for this key and signed by this CA; says what is
/// wrong.
Result<> check_node_certificate(std::string_view certificate_pem, std::string_view private_key_pem,
                                std::string_view ca_pem, const NodeName& node);
/// Whether key and certificate belong together.
Result<> check_pair(const KeyAndCertificate& pair);

/// SHA-256 of anything, lower-case hex.
std::string sha256(std::string_view data);
/// Comparison whose time does not depend on the content (only on the sizes).
bool equal_in_constant_time(std::string_view a, std::string_view b);

}  // namespace understudy::comm
