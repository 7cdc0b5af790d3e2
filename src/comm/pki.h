#pragma once
// The cluster's certificate authority and the nodes' certificates (P-256, X.509). Pure functions on PEM text.

#include "base/result.h"
#include "base/types.h"

#include <string>
#include <string_view>

namespace understudy::comm {

struct KeyAndCertificate {
    std::string private_key;  // PEM, PKCS#8
    std::string certificate;  // PEM
};

/// A self-signed CA for a new cluster, valid for 20 years.
Result<KeyAndCertificate> make_ca(std::string_view cluster_name);
/// A key and a certificate signing request for a node; returned as (key, CSR).
Result<KeyAndCertificate> make_request(const NodeName& node);
/// Signs a request for `node`; refuses a request whose name or signature is wrong. Valid for 10 years.
Result<std::string> sign_request(const KeyAndCertificate& ca, const NodeName& node, std::string_view csr_pem);
/// SHA-256 of the certificate's DER form, lower-case hex.
Result<std::string> fingerprint(std::string_view certificate_pem);

}  // namespace understudy::comm
