#include "comm/rotation.h"

#include "comm/credentials.h"

#include <algorithm>

namespace understudy::comm {
namespace {

std::string pending_key(const CredentialFiles& at) {
    return at.private_key + ".new";
}

Result<std::vector<std::string>> trusted(runtime::Files& files, const CredentialFiles& at) {
    UNDERSTUDY_TRY(const auto text, files.read(at.ca_certificate));
    auto out = split_certificates(text);
    if (out.empty()) return fail(Code::failure, "{} holds no certificate", at.ca_certificate);
    return out;
}

std::string joined(const std::vector<std::string>& certificates) {
    std::string out;
    for (const auto& one : certificates)
        out += one;
    return out;
}

/// Whether one of these CAs has issued the certificate.
bool issued_by(const std::vector<std::string>& cas, const KeyAndCertificate& own, const NodeName& node) {
    return std::any_of(cas.begin(), cas.end(), [&](const std::string& ca) {
        return check_node_certificate(own.certificate, own.private_key, ca, node).has_value();
    });
}

}  // namespace

Result<> trust_also(runtime::World world, const std::string& pki_directory, const std::string& ca_pem) {
    const CredentialFiles at(pki_directory);
    UNDERSTUDY_TRY(const auto wanted, fingerprint(ca_pem));
    UNDERSTUDY_CHECK(cluster_name(ca_pem));  // it must be a CA's
    UNDERSTUDY_TRY(auto cas, trusted(world.files, at));
    for (const auto& ca : cas)
        if (fingerprint(ca) == wanted) return {};
    cas.push_back(ca_pem);
    return world.files.write_atomic(at.ca_certificate, joined(cas), kPublicMode);
}

Result<> trust_no_longer(runtime::World world, const std::string& pki_directory,
                         const std::string& ca_fingerprint) {
    const CredentialFiles at(pki_directory);
    UNDERSTUDY_TRY(auto cas, trusted(world.files, at));
    const auto gone = std::stable_partition(
        cas.begin(), cas.end(), [&](const std::string& ca) { return fingerprint(ca) != ca_fingerprint; });
    const std::vector<std::string> dropped(gone, cas.end());
    cas.erase(gone, cas.end());
    if (dropped.empty()) return {};
    KeyAndCertificate own;
    UNDERSTUDY_TRY(own.certificate, world.files.read(at.certificate));
    UNDERSTUDY_TRY(own.private_key, world.files.read(at.private_key));
    UNDERSTUDY_TRY(const auto name, common_name(own.certificate));
    if (!issued_by(cas, own, NodeName(name)))
        return fail(Code::failure,
                    "this node's certificate is of the certificate authority that was replaced: let it join "
                    "anew");
    UNDERSTUDY_CHECK(world.files.write_atomic(at.ca_certificate, joined(cas), kPublicMode));
    KeyAndCertificate ca;
    if (auto key = world.files.read(at.ca_key)) {
        ca.private_key = std::move(*key);
        ca.certificate = dropped.front();
        if (check_pair(ca)) return world.files.remove(at.ca_key);
    }
    return {};
}

// node.pem is what decides which key is meant; a key beside it waits until then.
Result<> install(runtime::World world, const std::string& pki_directory, const NodeName& self,
                 const KeyAndCertificate& own) {
    const CredentialFiles at(pki_directory);
    UNDERSTUDY_TRY(const auto cas, trusted(world.files, at));
    if (!issued_by(cas, own, self))
        return fail(Code::internal, "the new certificate of {} is of no certificate authority that it trusts",
                    self.str());
    UNDERSTUDY_CHECK(world.files.write_atomic(pending_key(at), own.private_key, kSecretMode));
    UNDERSTUDY_CHECK(world.files.write_atomic(at.certificate, own.certificate, kPublicMode));
    UNDERSTUDY_TRY(const bool changed, complete_install(world, pki_directory));
    static_cast<void>(changed);
    return {};
}

Result<bool> complete_install(runtime::World world, const std::string& pki_directory) {
    const CredentialFiles at(pki_directory);
    if (!world.files.exists(pending_key(at))) return false;
    KeyAndCertificate own;
    UNDERSTUDY_TRY(own.private_key, world.files.read(pending_key(at)));
    UNDERSTUDY_TRY(own.certificate, world.files.read(at.certificate));
    const bool belongs = check_pair(own).has_value();
    if (belongs) UNDERSTUDY_CHECK(world.files.write_atomic(at.private_key, own.private_key, kSecretMode));
    UNDERSTUDY_CHECK(world.files.remove(pending_key(at)));
    return belongs;
}

Result<KeyAndCertificate> load_ca(runtime::World world, const std::string& pki_directory) {
    const CredentialFiles at(pki_directory);
    UNDERSTUDY_TRY(const auto cas, trusted(world.files, at));
    KeyAndCertificate out;
    UNDERSTUDY_TRY(out.private_key, world.files.read(at.ca_key));
    for (const auto& ca : cas) {
        out.certificate = ca;
        if (check_pair(out)) return out;
    }
    return fail(Code::not_found, "{} is not the key of a certificate authority that this node trusts",
                at.ca_key);
}

}  // namespace understudy::comm
