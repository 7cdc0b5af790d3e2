#include "runtime/posix/test_support.h"

#include "base/text.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <thread>

namespace understudy::runtime::testing {

TemporaryDirectory::TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "understudy-test-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) abort();
    path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

bool run_until(EventLoop& loop, const std::function<bool()>& condition, Duration limit) {
    const TimePoint deadline = loop.now() + limit;
    bool held = false;
    std::function<void()> look = [&] {
        held = condition();
        if (held || loop.now() >= deadline)
            loop.stop();
        else
            loop.after(std::chrono::milliseconds(1), look);
    };
    loop.post(look);
    loop.run();
    return held;
}

bool within(Duration limit, const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + limit;
    for (; std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(std::chrono::milliseconds(2)))
        if (condition()) return true;
    return false;
}

void run_for(EventLoop& loop, Duration duration) {
    loop.after(duration, [&] { loop.stop(); });
    loop.run();
}

void write_file(const std::string& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
}

namespace {

struct Deleter {
    void operator()(X509* x) const { X509_free(x); }
    void operator()(EVP_PKEY* k) const { EVP_PKEY_free(k); }
    void operator()(BIO* b) const { BIO_free(b); }
};
using Certificate = std::unique_ptr<X509, Deleter>;
using Key = std::unique_ptr<EVP_PKEY, Deleter>;

constexpr long kDay = 24L * 60 * 60;

void add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

Certificate make_certificate(const std::string& name, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key,
                             bool expired) {
    static long serial = 0;
    Certificate out(X509_new());
    X509* x = out.get();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x), expired ? -10 * kDay : -kDay);
    X509_gmtime_adj(X509_getm_notAfter(x), expired ? -5 * kDay : kDay);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509* signer = issuer ? issuer : x;
    X509_set_issuer_name(x, X509_get_subject_name(signer));
    add_extension(x, signer, NID_basic_constraints, issuer ? "critical,CA:FALSE" : "critical,CA:TRUE");
    if (!issuer) add_extension(x, signer, NID_key_usage, "critical,keyCertSign,cRLSign,digitalSignature");
    X509_sign(x, issuer_key, EVP_sha256());
    return out;
}

template <class Write>
std::string to_pem(Write write) {
    const std::unique_ptr<BIO, Deleter> bio(BIO_new(BIO_s_mem()));
    write(bio.get());
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    return {data, static_cast<std::size_t>(size)};
}
std::string pem(X509* certificate) {
    return to_pem([&](BIO* bio) { PEM_write_bio_X509(bio, certificate); });
}
std::string pem(EVP_PKEY* key) {
    return to_pem(
        [&](BIO* bio) { PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr); });
}

}  // namespace

struct TestCa::Impl {
    Key key{EVP_EC_gen("P-256")};
    Certificate certificate;
};

TestCa::TestCa(const std::string& cluster) : impl_(std::make_unique<Impl>()) {
    impl_->certificate = make_certificate(cluster, impl_->key.get(), nullptr, impl_->key.get(), false);
}

TestCa::~TestCa() = default;

CredentialPaths TestCa::issue(const TemporaryDirectory& directory, const std::string& node,
                              Options options) const {
    const CredentialPaths paths{directory.path("ca.pem"), directory.path(node + ".pem"),
                                directory.path(node + ".key")};
    const Key key(EVP_EC_gen("P-256"));
    const Certificate own =
        make_certificate(node, key.get(), impl_->certificate.get(), impl_->key.get(), options.expired);
    write_file(paths.ca_certificate, pem(impl_->certificate.get()));
    write_file(paths.certificate, pem(options.shows_ca_itself ? impl_->certificate.get() : own.get()));
    write_file(paths.private_key, pem(options.shows_ca_itself ? impl_->key.get() : key.get()));
    return paths;
}

std::string TestCa::fingerprint() const {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
    unsigned length = 0;
    X509_digest(impl_->certificate.get(), EVP_sha256(), digest.data(), &length);
    return text::hex(std::as_bytes(std::span(digest.data(), length)));
}

}  // namespace understudy::runtime::testing
