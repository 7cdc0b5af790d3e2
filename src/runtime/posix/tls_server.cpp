#include "runtime/posix/tls_server.h"

#include "runtime/posix/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <cerrno>

namespace understudy::runtime {
namespace {

class Pipe final : public TlsPipe {
  public:
    Pipe(std::unique_ptr<TlsSession> tls, BIO* input, BIO* output)
        : tls_(std::move(tls)), input_(input), output_(output) {}

    void put(std::span<const std::byte> received) override {
        std::size_t taken = 0;
        // A memory BIO takes everything, or there is no memory.
        if (BIO_write_ex(input_, received.data(), received.size(), &taken) != 1 || taken != received.size())
            broken_ = true;
    }

    void take(std::vector<std::byte>& output) override {
        char* waiting = nullptr;
        const long length = BIO_get_mem_data(output_, &waiting);
        if (length <= 0) return;
        const auto bytes = std::as_bytes(std::span(waiting, static_cast<std::size_t>(length)));
        output.insert(output.end(), bytes.begin(), bytes.end());
        (void)BIO_reset(output_);
    }

    Status handshake() override {
        ERR_clear_error();
        errno = 0;
        const int result = SSL_do_handshake(tls_->ssl.get());
        if (result != 1) return from_tls(result);
        auto identity = peer_identity(*tls_);
        if (!identity) {
            problem_ = identity.error().text;
            return Status::failed;
        }
        peer_ = identity->common_name;
        return Status::done;
    }

    Outcome read(std::span<std::byte> into) override {
        ERR_clear_error();
        errno = 0;
        std::size_t bytes = 0;
        const int result = SSL_read_ex(tls_->ssl.get(), into.data(), into.size(), &bytes);
        return result == 1 ? Outcome{Status::done, bytes} : Outcome{from_tls(result)};
    }

    Status write(std::span<const std::byte> from) override {
        while (!from.empty()) {
            ERR_clear_error();
            errno = 0;
            std::size_t bytes = 0;
            const int result = SSL_write_ex(tls_->ssl.get(), from.data(), from.size(), &bytes);
            if (result != 1) {
                // There is always room in a memory BIO, and after the handshake nothing to wait for.
                const Status why = from_tls(result);
                return why == Status::more ? Status::failed : why;
            }
            from = from.subspan(bytes);
        }
        return Status::done;
    }

    [[nodiscard]] const std::string& peer() const override { return peer_; }
    [[nodiscard]] const std::string& problem() const override { return problem_; }

  private:
    Status from_tls(int result) {
        const int system_error = errno;
        if (broken_) {
            problem_ = "out of memory";
            return Status::failed;
        }
        switch (SSL_get_error(tls_->ssl.get(), result)) {
            case SSL_ERROR_WANT_READ:
                return Status::more;
            case SSL_ERROR_ZERO_RETURN:
                problem_ = "it closed the connection";
                return Status::ended;
            default:
                problem_ = tls_problem(*tls_, system_error);
                return Status::failed;
        }
    }

    std::unique_ptr<TlsSession> tls_;
    BIO* input_;  // these are the session's
    BIO* output_;
    std::string peer_, problem_;
    bool broken_ = false;
};

class Server final : public TlsServer {
  public:
    Server(const CredentialPaths& paths, const Files& files) : credentials_(paths, files) {}
    Result<> load() { return credentials_.load(); }

    [[nodiscard]] Result<std::unique_ptr<TlsPipe>> accept() const override {
        UNDERSTUDY_TRY(auto session, credentials_.session(kNoSocket, Security::cluster, true, {}));
        BIO* input = BIO_new(BIO_s_mem());
        BIO* output = BIO_new(BIO_s_mem());
        if (input == nullptr || output == nullptr) {
            BIO_free(input);
            BIO_free(output);
            return fail(Code::failure, "cannot set up TLS: out of memory");
        }
        // "Nothing yet" and not the end of the stream.
        BIO_set_mem_eof_return(input, -1);
        SSL_set_bio(session->ssl.get(), input, output);
        return std::make_unique<Pipe>(std::move(session), input, output);
    }

  private:
    TlsCredentials credentials_;  // not changed after load(), so every thread may make sessions
};

}  // namespace

Result<std::shared_ptr<const TlsServer>> load_tls_server(const CredentialPaths& credentials,
                                                         const Files& files) {
    auto server = std::make_shared<Server>(credentials, files);
    UNDERSTUDY_CHECK(server->load());
    return server;
}

}  // namespace understudy::runtime
