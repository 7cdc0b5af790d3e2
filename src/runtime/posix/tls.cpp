#include "runtime/posix/tls.h"

#include "base/text.h"
#include "runtime/certificate_refusal.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <string.h>

#include <array>
#include <limits>
#include <vector>

namespace understudy::runtime {

void SslDeleter::operator()(ssl_st* session) const {
    SSL_free(session);
}
void SslDeleter::operator()(ssl_ctx_st* context) const {
    SSL_CTX_free(context);
}

namespace {

struct OpenSslDeleter {
    void operator()(BIO* bio) const { BIO_free(bio); }
    void operator()(X509* certificate) const { X509_free(certificate); }
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(X509_STORE* store) const { X509_STORE_free(store); }
    void operator()(X509_STORE_CTX* context) const { X509_STORE_CTX_free(context); }
};
template <class T>
using Owned = std::unique_ptr<T, OpenSslDeleter>;

std::string last_openssl_error() {
    const unsigned long code = ERR_peek_last_error();
    ERR_clear_error();
    if (code == 0) return "unknown error";
    const char* reason = ERR_reason_error_string(code);
    return reason ? reason : fmt::format("OpenSSL error {:#x}", code);
}

Owned<BIO> memory(const std::string& text) {
    return Owned<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::vector<Owned<X509>> parse_certificates(const std::string& text) {
    std::vector<Owned<X509>> out;
    const auto bio = memory(text);
    while (Owned<X509> one{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)})
        out.push_back(std::move(one));
    ERR_clear_error();  // the end of the file is reported as an error
    return out;
}

std::string fingerprint(X509* certificate) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
    unsigned length = 0;
    if (X509_digest(certificate, EVP_sha256(), digest.data(), &length) != 1) return {};
    return text::hex(std::as_bytes(std::span(digest.data(), length)));
}

/// The certificate's one CN; none, several or one with a NUL inside prove nothing.
std::string common_name(X509* certificate) {
    const X509_NAME* subject = X509_get_subject_name(certificate);
    const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0) return {};
    unsigned char* utf8 = nullptr;
    const int length = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (length < 0) return {};
    std::string name(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(length));
    OPENSSL_free(utf8);
    return name.find('\0') == std::string::npos ? name : std::string();
}

/// Which certificate of its name it is; those of the first release do not say it.
std::uint32_t issue_of(X509* certificate) {
    const X509_NAME* subject = X509_get_subject_name(certificate);
    const int at = X509_NAME_get_index_by_NID(subject, NID_serialNumber, -1);
    if (at < 0) return 1;
    const ASN1_STRING* value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
    const std::string_view digits(reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)),
                                  static_cast<std::size_t>(ASN1_STRING_length(value)));
    const auto number = text::to_int(digits);
    // What cannot be read is the oldest there can be.
    if (!number || *number < 1 || *number > std::numeric_limits<std::uint32_t>::max()) return 1;
    return static_cast<std::uint32_t>(*number);
}

/// A host with a wrong clock must still take over, so no certificate is refused for its dates; a cluster is
/// left by making a new CA, not by waiting. Spec: CLU-067, DEP-098.
void ignore_time(X509_VERIFY_PARAM* parameters) {
    X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_NO_CHECK_TIME);
}

/// Verification of an enrolment server without a CA file: the trust anchor is the pinned CA, taken from the
/// presented chain itself.
int verify_against_pinned_ca(X509_STORE_CTX* presented, void*) {
    auto* ssl =
        static_cast<SSL*>(X509_STORE_CTX_get_ex_data(presented, SSL_get_ex_data_X509_STORE_CTX_idx()));
    auto& session = *static_cast<TlsSession*>(SSL_get_app_data(ssl));
    X509* leaf = X509_STORE_CTX_get0_cert(presented);
    STACK_OF(X509)* chain = X509_STORE_CTX_get0_untrusted(presented);
    int reason = X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
    for (int i = 0; i < sk_X509_num(chain); ++i) {
        X509* candidate = sk_X509_value(chain, i);
        if (candidate == leaf || X509_check_ca(candidate) != 1) continue;
        std::string found = fingerprint(candidate);
        if (found.empty() || (!session.pinned_ca.empty() && found != session.pinned_ca)) continue;
        const Owned<X509_STORE> anchor(X509_STORE_new());
        const Owned<X509_STORE_CTX> check(X509_STORE_CTX_new());
        if (!anchor || !check || X509_STORE_add_cert(anchor.get(), candidate) != 1 ||
            X509_STORE_CTX_init(check.get(), anchor.get(), leaf, nullptr) != 1 ||
            X509_STORE_CTX_set_default(check.get(), "ssl_server") != 1)
            continue;
        ignore_time(X509_STORE_CTX_get0_param(check.get()));
        if (X509_verify_cert(check.get()) == 1) {
            session.found_ca = std::move(found);
            X509_STORE_CTX_set_error(presented, X509_V_OK);
            return 1;
        }
        reason = X509_STORE_CTX_get_error(check.get());
    }
    ERR_clear_error();
    X509_STORE_CTX_set_error(presented, reason);
    return 0;
}

Result<SslContextPtr> make_context(int verify_mode) {
    SslContextPtr context(SSL_CTX_new(TLS_method()));
    if (!context) return fail(Code::failure, "cannot set up TLS: {}", last_openssl_error());
    SSL_CTX* raw = context.get();
    SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION);
    // The processor's AES instructions make AES-128 the cheapest for both ends.
    SSL_CTX_set_ciphersuites(raw,
                             "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
    // No resumption: every connection proves the certificates anew, so a re-made CA takes effect at once.
    SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(raw, 0);
    SSL_CTX_set_mode(
        raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(raw, 1);
    SSL_CTX_set_verify(raw, verify_mode, nullptr);
    ignore_time(SSL_CTX_get0_param(raw));
    return context;
}

}  // namespace

struct TlsCredentials::Loaded {
    SslContextPtr cluster;
    SslContextPtr enrolment_server;
};

TlsCredentials::TlsCredentials(CredentialPaths paths, const Files& files)
    : paths_(std::move(paths)), files_(files) {}
TlsCredentials::~TlsCredentials() = default;

namespace {

tl::unexpected<Error> no_credentials(const CredentialPaths& paths) {
    return fail(Code::failure,
                "this node has no credentials yet ({} does not exist): run `understudy init` to start a "
                "cluster or `understudy join` to enter one",
                paths.certificate);
}

/// Puts the node's key, certificate and its CA's certificate into a context: what this node shows.
Result<> show(SSL_CTX* context, X509* certificate, EVP_PKEY* key, const std::vector<Owned<X509>>& cas) {
    bool ok = SSL_CTX_use_certificate(context, certificate) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1;
    for (const auto& ca : cas)
        if (ok && X509_check_issued(ca.get(), certificate) == X509_V_OK)
            ok = SSL_CTX_add1_chain_cert(context, ca.get()) == 1;
    if (!ok) return fail(Code::failure, "cannot use this node's certificate: {}", last_openssl_error());
    return {};
}

/// The certificate must be what peers will accept, else every connection would fail one by one.
Result<> check_own(const CredentialPaths& paths, X509* certificate, EVP_PKEY* key, X509_STORE* trusted) {
    if (X509_check_private_key(certificate, key) != 1) {
        ERR_clear_error();
        return fail(Code::failure, "the key {} does not belong to the certificate {}", paths.private_key,
                    paths.certificate);
    }
    const Owned<X509_STORE_CTX> check(X509_STORE_CTX_new());
    if (!check || X509_STORE_CTX_init(check.get(), trusted, certificate, nullptr) != 1)
        return fail(Code::failure, "cannot set up TLS: {}", last_openssl_error());
    ignore_time(X509_STORE_CTX_get0_param(check.get()));
    if (X509_verify_cert(check.get()) == 1) return {};
    const int reason = X509_STORE_CTX_get_error(check.get());
    ERR_clear_error();
    return fail(Code::failure, "the certificate {} was not accepted by the CA {}: {}", paths.certificate,
                paths.ca_certificate, X509_verify_cert_error_string(reason));
}

Result<> trust(X509_STORE* store, const std::vector<Owned<X509>>& cas, const std::string& file) {
    if (cas.empty()) return fail(Code::failure, "{} holds no certificate in PEM form", file);
    for (const auto& ca : cas)
        if (store == nullptr || X509_STORE_add_cert(store, ca.get()) != 1)
            return fail(Code::failure, "cannot use the CA {}: {}", file, last_openssl_error());
    return {};
}

}  // namespace

Result<> TlsCredentials::read_removed() {
    if (paths_.removed.empty()) return {};
    auto text = files_.read(paths_.removed);
    if (!text && text.error().code == Code::not_found) text = std::string();
    if (!text) return fail(text.error());
    UNDERSTUDY_TRY(auto set, RemovedNodes::parse(*text));
    removed_ = std::make_shared<const RemovedNodes>(std::move(set));
    return {};
}

Result<> TlsCredentials::load() {
    auto result = read_and_check();
    problem_.reset();
    if (!result) problem_ = result.error();
    return result;
}

Result<> TlsCredentials::read_and_check() {
    UNDERSTUDY_CHECK(read_removed());
    const std::array wanted{&paths_.ca_certificate, &paths_.certificate, &paths_.private_key};
    std::array<std::string, wanted.size()> pem;
    std::vector<std::string> missing;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        auto content = files_.read(*wanted[i]);
        if (content)
            pem[i] = std::move(*content);
        else if (content.error().code == Code::not_found)
            missing.push_back(*wanted[i]);
        else
            return fail(content.error());
    }
    if (missing.size() == wanted.size()) {
        loaded_.reset();
        return no_credentials(paths_);
    }
    if (!missing.empty())
        return fail(Code::failure, "the node's credentials are incomplete: {} is missing",
                    text::join(missing, ", "));

    const auto cas = parse_certificates(pem[0]);
    const auto own = parse_certificates(pem[1]);
    const auto key_text = memory(pem[2]);
    const Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(key_text.get(), nullptr, nullptr, nullptr));
    if (own.empty()) return fail(Code::failure, "{} holds no certificate in PEM form", paths_.certificate);
    if (!key) {
        ERR_clear_error();
        return fail(Code::failure, "{} holds no private key in PEM form", paths_.private_key);
    }

    auto fresh = std::make_unique<Loaded>();
    UNDERSTUDY_TRY(fresh->cluster, make_context(SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT));
    UNDERSTUDY_TRY(fresh->enrolment_server, make_context(SSL_VERIFY_NONE));
    const Owned<X509_STORE> issuers(X509_STORE_new());
    UNDERSTUDY_CHECK(trust(issuers.get(), cas, paths_.ca_certificate));
    UNDERSTUDY_CHECK(check_own(paths_, own.front().get(), key.get(), issuers.get()));
    X509_STORE* peers = SSL_CTX_get_cert_store(fresh->cluster.get());
    if (paths_.clients.empty()) {
        UNDERSTUDY_CHECK(trust(peers, cas, paths_.ca_certificate));
    } else {
        UNDERSTUDY_TRY(const auto text, files_.read(paths_.clients));
        UNDERSTUDY_CHECK(trust(peers, parse_certificates(text), paths_.clients));
    }
    UNDERSTUDY_CHECK(show(fresh->cluster.get(), own.front().get(), key.get(), cas));
    UNDERSTUDY_CHECK(show(fresh->enrolment_server.get(), own.front().get(), key.get(), cas));
    loaded_ = std::move(fresh);
    return {};
}

Result<> TlsCredentials::usable(Security security, bool is_server) const {
    if (security == Security::enrolment && !is_server) return {};
    if (loaded_) return {};
    if (problem_) return fail(*problem_);  // damaged files are no reason to make a new cluster
    return no_credentials(paths_);
}

Result<std::unique_ptr<TlsSession>> TlsCredentials::session(int fd, Security security, bool is_server,
                                                            std::string pinned_ca) const {
    UNDERSTUDY_CHECK(usable(security, is_server));
    if (security == Security::enrolment && !is_server && !enrolment_client_) {
        UNDERSTUDY_TRY(enrolment_client_, make_context(SSL_VERIFY_PEER));
        SSL_CTX_set_cert_verify_callback(enrolment_client_.get(), verify_against_pinned_ca, nullptr);
    }
    SSL_CTX* context = security == Security::cluster ? loaded_->cluster.get()
                       : is_server                   ? loaded_->enrolment_server.get()
                                                     : enrolment_client_.get();
    auto out = std::make_unique<TlsSession>();
    out->ssl.reset(SSL_new(context));
    out->is_server = is_server;
    out->security = security;
    out->pinned_ca = text::lower(pinned_ca);
    out->removed = removed_;
    if (!out->ssl || (fd != kNoSocket && SSL_set_fd(out->ssl.get(), fd) != 1))
        return fail(Code::failure, "cannot set up TLS: {}", last_openssl_error());
    SSL_set_app_data(out->ssl.get(), out.get());
    if (is_server)
        SSL_set_accept_state(out->ssl.get());
    else
        SSL_set_connect_state(out->ssl.get());
    return out;
}

Result<PeerIdentity> peer_identity(const TlsSession& session) {
    PeerIdentity identity;
    if (session.security == Security::enrolment && session.is_server) return identity;
    const Owned<X509> leaf(SSL_get1_peer_certificate(session.ssl.get()));
    if (!leaf) return fail(Code::failure, "the peer showed no certificate");
    identity.common_name = common_name(leaf.get());
    if (identity.common_name.empty())
        return fail(Code::failure, "the peer's certificate has no single common name");
    identity.issue = issue_of(leaf.get());
    if (session.removed != nullptr)
        if (const auto why = session.removed->why_not(identity); !why.empty())
            return fail(Code::failure, "{}", why);
    if (session.security == Security::enrolment) {
        identity.ca_fingerprint = session.found_ca;
        return identity;
    }
    STACK_OF(X509)* chain = SSL_get0_verified_chain(session.ssl.get());
    // A chain of one is the CA's own certificate used as a node's: it names no node.
    if (!chain || sk_X509_num(chain) < 2)
        return fail(Code::failure, "the peer showed a CA certificate instead of a node's");
    identity.ca_fingerprint = fingerprint(sk_X509_value(chain, 1));
    return identity;
}

namespace {

std::string verification_problem(const TlsSession& session, long reason) {
    if (session.security == Security::enrolment)
        return fmt::format(
            "its certificate does not match the pinned CA {}: the token is for another cluster, or something "
            "between answers in its place ({})",
            session.pinned_ca.empty() ? "(any)" : session.pinned_ca, X509_verify_cert_error_string(reason));
    return fmt::format("{} ({}): that host belongs to another cluster", kForeignCertificate,
                       X509_verify_cert_error_string(reason));
}

}  // namespace

std::string tls_problem(const TlsSession& session, int system_error) {
    const unsigned long code = ERR_peek_error();
    ERR_clear_error();
    const long verified = SSL_get_verify_result(session.ssl.get());
    if (code == 0) {
        if (system_error == 0) return "it closed the connection";
        return strerror(system_error);
    }
    switch (ERR_GET_REASON(code)) {
        case SSL_R_CERTIFICATE_VERIFY_FAILED:
            return verification_problem(session, verified);
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            return fmt::format("{}: it is not a node of this cluster", kNoCertificate);
        case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
        case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
        case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
        case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
            return fmt::format("{} ({}): it belongs to another cluster", kOwnRefused,
                               ERR_reason_error_string(code));
        case SSL_R_UNEXPECTED_EOF_WHILE_READING:
            return "it closed the connection";
        case SSL_R_WRONG_VERSION_NUMBER:
        case SSL_R_HTTP_REQUEST:
        case SSL_R_HTTPS_PROXY_REQUEST:
        case SSL_R_PACKET_LENGTH_TOO_LONG:
        case SSL_R_RECORD_LENGTH_MISMATCH:
        case SSL_R_UNEXPECTED_MESSAGE:
        case SSL_R_UNKNOWN_PROTOCOL:
        case SSL_R_UNSUPPORTED_PROTOCOL:
        case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        case SSL_R_BAD_RECORD_TYPE:
            return fmt::format("it does not speak TLS 1.3 ({}): another program uses that port",
                               ERR_reason_error_string(code));
        default: {
            const char* reason = ERR_reason_error_string(code);
            return fmt::format("TLS failed: {}", reason ? reason : "unknown error");
        }
    }
}

}  // namespace understudy::runtime
