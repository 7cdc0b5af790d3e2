#include "comm/pki.h"

#include "base/text.h"
#include "comm/wire.h"

#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <array>
#include <memory>

namespace understudy::comm {
namespace {

struct Deleter {
    void operator()(BIO* p) const { BIO_free(p); }
    void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
    void operator()(X509* p) const { X509_free(p); }
    void operator()(X509_REQ* p) const { X509_REQ_free(p); }
    void operator()(X509_EXTENSION* p) const { X509_EXTENSION_free(p); }
    void operator()(X509_STORE* p) const { X509_STORE_free(p); }
    void operator()(X509_STORE_CTX* p) const { X509_STORE_CTX_free(p); }
    void operator()(BIGNUM* p) const { BN_free(p); }
};
template <class T>
using Owned = std::unique_ptr<T, Deleter>;

constexpr long kDay = 24L * 60 * 60;
constexpr long kCaDays = 30L * 365;
constexpr long kNodeDays = 10L * 365;
// A node that joins may have a slow clock; its certificate must be valid for it already.
constexpr long kStartsBefore = kDay;
constexpr std::size_t kMaxClusterName = 64;  // X.509's upper bound of a common name
constexpr const char* kCaUnit = "Understudy cluster CA";

tl::unexpected<Error> openssl_error(std::string_view doing) {
    const auto code = ERR_peek_last_error();
    ERR_clear_error();
    const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
    return fail(Code::failure, "{}: {}", doing, reason == nullptr ? "OpenSSL failed" : reason);
}

Owned<BIO> reader(std::string_view text) {
    return Owned<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

template <class Write>
Result<std::string> to_pem(Write write) {
    const Owned<BIO> out(BIO_new(BIO_s_mem()));
    if (!out || write(out.get()) != 1) return openssl_error("cannot write PEM");
    char* data = nullptr;
    const long size = BIO_get_mem_data(out.get(), &data);
    return std::string(data, static_cast<std::size_t>(size));
}

// No password is ever asked for: an encrypted key is an error, not a prompt on the daemon's terminal.
int no_password(char*, int, int, void*) {
    return -1;
}

Result<Owned<X509>> parse_certificate(std::string_view pem) {
    Owned<X509> certificate(PEM_read_bio_X509(reader(pem).get(), nullptr, no_password, nullptr));
    if (!certificate) return openssl_error("not a certificate in PEM form");
    return certificate;
}

Result<Owned<EVP_PKEY>> parse_key(std::string_view pem) {
    Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(reader(pem).get(), nullptr, no_password, nullptr));
    if (!key) return openssl_error("not a private key in PEM form");
    return key;
}

Result<Owned<EVP_PKEY>> new_key() {
    Owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
    if (!key) return openssl_error("cannot make a key");
    return key;
}

Result<std::string> key_pem(EVP_PKEY* key) {
    return to_pem([&](BIO* out) {
        return PEM_write_bio_PKCS8PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
    });
}

Result<std::string> certificate_pem(X509* certificate) {
    return to_pem([&](BIO* out) { return PEM_write_bio_X509(out, certificate); });
}

bool add_text(X509_NAME* name, const char* field, std::string_view value) {
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(value.data()),
                                      static_cast<int>(value.size()), -1, 0) == 1;
}

// The one CN of a name; empty when there is none, several, or a NUL inside.
std::string one_common_name(const X509_NAME* name) {
    const int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0) return {};
    unsigned char* utf8 = nullptr;
    const int size = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    if (size < 0) {
        ERR_clear_error();
        return {};
    }
    std::string text(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(size));
    OPENSSL_free(utf8);
    return text.find('\0') == std::string::npos ? text : std::string();
}

bool set_random_serial(X509* certificate) {
    std::array<unsigned char, 16> bytes{};
    if (RAND_bytes(bytes.data(), bytes.size()) != 1) return false;
    bytes[0] = (bytes[0] & 0x7fU) | 0x40U;  // positive and of full length
    const Owned<BIGNUM> number(BN_bin2bn(bytes.data(), bytes.size(), nullptr));
    return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    const Owned<X509_EXTENSION> extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
    return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// What CA and node certificates have in common: everything but subject, key and extensions.
bool prepare(X509* certificate, long days) {
    return X509_set_version(certificate, X509_VERSION_3) == 1 && set_random_serial(certificate) &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), -kStartsBefore) != nullptr &&
           X509_gmtime_adj(X509_getm_notAfter(certificate), days * kDay) != nullptr;
}

Result<> check_node_name(const NodeName& node) {
    if (wire::is_node_name(node.str())) return {};
    return fail(Code::bad_argument,
                "\"{}\" cannot be a node's name: use 1 to 63 letters, digits, '.', '-' and '_', a letter or "
                "digit first",
                node.str());
}

}  // namespace

Result<KeyAndCertificate> make_ca(std::string_view cluster) {
    if (cluster.empty() || cluster.size() > kMaxClusterName ||
        std::any_of(cluster.begin(), cluster.end(),
                    [](char c) { return static_cast<unsigned char>(c) < 0x20; }))
        return fail(Code::bad_argument, "\"{}\" cannot be a cluster's name: use 1 to {} printable bytes",
                    cluster, kMaxClusterName);
    UNDERSTUDY_TRY(const auto key, new_key());
    const Owned<X509> certificate(X509_new());
    if (!certificate || !prepare(certificate.get(), kCaDays)) return openssl_error("cannot make the CA");
    auto* subject = X509_get_subject_name(certificate.get());
    if (!add_text(subject, "OU", kCaUnit) || !add_text(subject, "CN", cluster) ||
        X509_set_issuer_name(certificate.get(), subject) != 1 ||
        X509_set_pubkey(certificate.get(), key.get()) != 1 ||
        !add_extension(certificate.get(), certificate.get(), NID_basic_constraints,
                       "critical,CA:TRUE,pathlen:0") ||
        !add_extension(certificate.get(), certificate.get(), NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !add_extension(certificate.get(), certificate.get(), NID_subject_key_identifier, "hash") ||
        X509_sign(certificate.get(), key.get(), EVP_sha256()) == 0)
        return openssl_error("cannot make the CA");
    KeyAndCertificate out;
    UNDERSTUDY_TRY(out.private_key, key_pem(key.get()));
    UNDERSTUDY_TRY(out.certificate, certificate_pem(certificate.get()));
    return out;
}

Result<KeyAndCertificate> make_request(const NodeName& node) {
    UNDERSTUDY_CHECK(check_node_name(node));
    UNDERSTUDY_TRY(const auto key, new_key());
    const Owned<X509_REQ> request(X509_REQ_new());
    if (!request || X509_REQ_set_version(request.get(), X509_REQ_VERSION_1) != 1 ||
        !add_text(X509_REQ_get_subject_name(request.get()), "CN", node.str()) ||
        X509_REQ_set_pubkey(request.get(), key.get()) != 1 ||
        X509_REQ_sign(request.get(), key.get(), EVP_sha256()) == 0)
        return openssl_error("cannot make a certificate request");
    KeyAndCertificate out;
    UNDERSTUDY_TRY(out.private_key, key_pem(key.get()));
    UNDERSTUDY_TRY(out.certificate,
                   to_pem([&](BIO* bio) { return PEM_write_bio_X509_REQ(bio, request.get()); }));
    return out;
}

Result<std::string> sign_request(const KeyAndCertificate& ca, const NodeName& node, std::string_view csr_pem,
                                 std::uint32_t issue) {
    UNDERSTUDY_CHECK(check_node_name(node));
    const Owned<X509_REQ> request(
        PEM_read_bio_X509_REQ(reader(csr_pem).get(), nullptr, no_password, nullptr));
    if (!request) return openssl_error("not a certificate request in PEM form");
    EVP_PKEY* wanted_key = X509_REQ_get0_pubkey(request.get());
    if (wanted_key == nullptr || X509_REQ_verify(request.get(), wanted_key) != 1) {
        ERR_clear_error();
        return fail(Code::bad_argument, "the certificate request of {} is not signed with its own key",
                    node.str());
    }
    if (EVP_PKEY_get_base_id(wanted_key) != EVP_PKEY_EC || EVP_PKEY_get_bits(wanted_key) < 256)
        return fail(Code::bad_argument, "the certificate request of {} has a key of another kind than P-256",
                    node.str());
    const auto name = one_common_name(X509_REQ_get_subject_name(request.get()));
    if (name != node.str())
        return fail(Code::bad_argument, "the certificate request is for \"{}\", not for {}", name,
                    node.str());

    UNDERSTUDY_TRY(const auto issuer, parse_certificate(ca.certificate));
    UNDERSTUDY_TRY(const auto issuer_key, parse_key(ca.private_key));
    const Owned<X509> certificate(X509_new());
    // Only name and key are taken from the request; what the certificate allows is decided here.
    if (!certificate || !prepare(certificate.get(), kNodeDays) ||
        !add_text(X509_get_subject_name(certificate.get()), "CN", node.str()) ||
        !add_text(X509_get_subject_name(certificate.get()), "serialNumber", std::to_string(issue)) ||
        X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer.get())) != 1 ||
        X509_set_pubkey(certificate.get(), wanted_key) != 1 ||
        !add_extension(certificate.get(), issuer.get(), NID_basic_constraints, "critical,CA:FALSE") ||
        !add_extension(certificate.get(), issuer.get(), NID_key_usage, "critical,digitalSignature") ||
        !add_extension(certificate.get(), issuer.get(), NID_ext_key_usage, "serverAuth,clientAuth") ||
        !add_extension(certificate.get(), issuer.get(), NID_subject_key_identifier, "hash") ||
        !add_extension(certificate.get(), issuer.get(), NID_authority_key_identifier, "keyid:always") ||
        X509_sign(certificate.get(), issuer_key.get(), EVP_sha256()) == 0)
        return openssl_error(fmt::format("cannot sign the certificate of {}", node.str()));
    return certificate_pem(certificate.get());
}

std::vector<std::string> split_certificates(std::string_view pem) {
    constexpr std::string_view kBegin = "-----BEGIN CERTIFICATE-----";
    constexpr std::string_view kEnd = "-----END CERTIFICATE-----";
    std::vector<std::string> out;
    for (std::size_t at = 0; (at = pem.find(kBegin, at)) != std::string_view::npos;) {
        const auto end = pem.find(kEnd, at);
        if (end == std::string_view::npos) break;
        out.push_back(std::string(pem.substr(at, end + kEnd.size() - at)) + "\n");
        at = end;
    }
    return out;
}

Result<std::string> fingerprint(std::string_view pem) {
    UNDERSTUDY_TRY(const auto certificate, parse_certificate(pem));
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    if (X509_digest(certificate.get(), EVP_sha256(), digest.data(), &size) != 1)
        return openssl_error("cannot make a certificate's fingerprint");
    return text::hex(std::as_bytes(std::span(digest.data(), size)));
}

Result<std::string> common_name(std::string_view pem) {
    UNDERSTUDY_TRY(const auto certificate, parse_certificate(pem));
    auto name = one_common_name(X509_get_subject_name(certificate.get()));
    if (name.empty()) return fail(Code::internal, "the certificate has no single common name");
    return name;
}

Result<std::string> cluster_name(std::string_view ca_pem) {
    UNDERSTUDY_TRY(const auto certificate, parse_certificate(ca_pem));
    if (X509_check_ca(certificate.get()) == 0) return fail(Code::internal, "the certificate is not a CA's");
    return common_name(ca_pem);
}

Result<> check_pair(const KeyAndCertificate& pair) {
    UNDERSTUDY_TRY(const auto certificate, parse_certificate(pair.certificate));
    UNDERSTUDY_TRY(const auto key, parse_key(pair.private_key));
    if (X509_check_private_key(certificate.get(), key.get()) == 1) return {};
    ERR_clear_error();
    return fail(Code::internal, "the private key does not belong to the certificate");
}

Result<> check_node_certificate(std::string_view certificate_text, std::string_view private_key,
                                std::string_view ca_pem, const NodeName& node) {
    UNDERSTUDY_CHECK(check_pair({std::string(private_key), std::string(certificate_text)}));
    UNDERSTUDY_TRY(const auto name, common_name(certificate_text));
    if (name != node.str())
        return fail(Code::internal, "the certificate is for \"{}\", not for {}", name, node.str());
    UNDERSTUDY_TRY(const auto certificate, parse_certificate(certificate_text));
    UNDERSTUDY_TRY(const auto ca, parse_certificate(ca_pem));
    const Owned<X509_STORE> trusted(X509_STORE_new());
    const Owned<X509_STORE_CTX> check(X509_STORE_CTX_new());
    if (!trusted || !check || X509_STORE_add_cert(trusted.get(), ca.get()) != 1 ||
        X509_STORE_CTX_init(check.get(), trusted.get(), certificate.get(), nullptr) != 1)
        return openssl_error("cannot check a certificate");
    if (X509_check_ca(certificate.get()) != 0)
        return fail(Code::internal, "the certificate is a CA's, not a node's");
    if (X509_verify_cert(check.get()) == 1) return {};
    const int reason = X509_STORE_CTX_get_error(check.get());
    ERR_clear_error();
    return fail(Code::internal, "the CA did not issue the certificate of {}: {}", node.str(),
                X509_verify_cert_error_string(reason));
}

std::string sha256(std::string_view data) {
    std::array<unsigned char, 32> digest{};
    std::size_t size = 0;
    if (EVP_Q_digest(nullptr, "SHA256", nullptr, data.data(), data.size(), digest.data(), &size) != 1)
        return {};
    return text::hex(std::as_bytes(std::span(digest.data(), size)));
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace understudy::comm
