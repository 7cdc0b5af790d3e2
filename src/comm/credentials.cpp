// The files that make a host a member: written in an order that leaves no half cluster behind. node.pem is
// the last and is what membership is known by.

#include "comm/credentials.h"

#include "comm/enrolment.h"
#include "comm/pki.h"

namespace understudy::comm {
namespace {

// The CA of an interrupted make_cluster(), or a new one.
Result<KeyAndCertificate> old_or_new_ca(runtime::Files& files, const CredentialFiles& at,
                                        const std::string& cluster) {
    if (!files.exists(at.ca_certificate)) {
        // ca.key is written before ca.pem: a lone ca.key has signed nothing.
        UNDERSTUDY_TRY(auto ca, make_ca(cluster));
        UNDERSTUDY_CHECK(files.write_atomic(at.ca_key, ca.private_key, kSecretMode));
        UNDERSTUDY_CHECK(files.write_atomic(at.ca_certificate, ca.certificate, kPublicMode));
        return ca;
    }
    KeyAndCertificate ca;
    UNDERSTUDY_TRY(ca.certificate, files.read(at.ca_certificate));
    UNDERSTUDY_TRY(const auto name, cluster_name(ca.certificate));
    if (name != cluster)
        return fail(Code::exists, "{} is the CA of cluster \"{}\": move it away to begin cluster \"{}\"",
                    at.ca_certificate, name, cluster);
    auto key = files.read(at.ca_key);
    if (!key) return with_context(key.error(), fmt::format("{} is there without its key", at.ca_certificate));
    ca.private_key = std::move(*key);
    if (auto pair = check_pair(ca); !pair) return with_context(pair.error(), at.ca_key);
    return ca;
}

}  // namespace

Result<> check_no_cluster(runtime::World world, const std::string& pki_directory) {
    const CredentialFiles at(pki_directory);
    if (!world.files.exists(at.certificate)) return {};
    auto cluster = std::string("a cluster");
    if (const auto ca = world.files.read(at.ca_certificate))
        if (const auto name = cluster_name(*ca)) cluster = fmt::format("cluster \"{}\"", *name);
    return fail(Code::exists, "this host belongs to {} already ({} exists)", cluster, at.certificate);
}

Result<> make_cluster(runtime::World world, const std::string& pki_directory, const NodeName& self,
                      const std::string& cluster) {
    auto& files = world.files;
    const CredentialFiles at(pki_directory);
    UNDERSTUDY_CHECK(check_no_cluster(world, pki_directory));
    // Before anything is written: a bad name must leave nothing behind.
    UNDERSTUDY_TRY(const auto request, make_request(self));
    UNDERSTUDY_CHECK(files.make_directories(pki_directory, 0755));
    UNDERSTUDY_TRY(const auto ca, old_or_new_ca(files, at, cluster));
    UNDERSTUDY_TRY(const auto certificate, sign_request(ca, self, request.certificate));
    UNDERSTUDY_CHECK(files.write_atomic(at.private_key, request.private_key, kSecretMode));
    return files.write_atomic(at.certificate, certificate, kPublicMode);
}

Result<> store_joined(runtime::World world, const std::string& pki_directory, const Joined& joined) {
    auto& files = world.files;
    const CredentialFiles at(pki_directory);
    UNDERSTUDY_CHECK(check_no_cluster(world, pki_directory));
    if (files.exists(at.ca_key))
        return fail(Code::exists, "{} is the key of another cluster's CA: move it away before joining",
                    at.ca_key);
    UNDERSTUDY_CHECK(files.make_directories(pki_directory, 0755));
    UNDERSTUDY_CHECK(files.write_atomic(at.ca_certificate, joined.ca_certificate, kPublicMode));
    UNDERSTUDY_CHECK(files.write_atomic(at.private_key, joined.private_key, kSecretMode));
    return files.write_atomic(at.certificate, joined.certificate, kPublicMode);
}

}  // namespace understudy::comm
