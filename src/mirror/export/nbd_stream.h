#pragma once
// The bytes of one NBD client on the reactor: a socket, with TLS on it or plain.
//
//   NbdConnection <-> NbdStream [<-> TlsPipe] <-> socket
//
// One receive and one send at a time. Threading: the reactor's thread; the user is called from it, never from
// inside its own calls.

#include "mirror/export/descriptor.h"
#include "mirror/io/reactor.h"
#include "runtime/posix/tls_server.h"

#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace understudy::mirror {

class NbdStream {
  public:
    class User {
      public:
        /// Bytes that are there now, 0 at the end of the stream, or a negative errno.
        virtual void received(int result) = 0;
        /// Bytes of the vectors that are gone, or a negative errno.
        virtual void sent(int result) = 0;
        /// After secure(): why it failed, empty when the client has proved who it is.
        virtual void secured(std::string why_not) = 0;

      protected:
        ~User() = default;
    };

    /// Takes the socket.
    NbdStream(Reactor& reactor, int socket, User& user);
    NbdStream(const NbdStream&) = delete;
    NbdStream& operator=(const NbdStream&) = delete;

    void receive(std::span<std::byte> into);
    /// Vectors and what they point at stay until sent().
    void send(const iovec* vectors, std::size_t count);
    /// TLS from here on; nothing may be under way.
    void secure(std::unique_ptr<runtime::TlsPipe> tls);
    /// received() still comes.
    void cancel_receive();
    /// Both directions; what is under way ends soon.
    void shut_down();

    [[nodiscard]] bool receiving() const { return receive_.in_flight || delivering_ || securing_; }
    [[nodiscard]] bool sending() const { return send_.in_flight || failing_; }

  private:
    static NbdStream& self(IoOperation& op) { return *static_cast<NbdStream*>(op.owner); }
    void came(int result);
    void went(int result);
    /// Gives what is decrypted, or reads on.
    void decrypt(bool inside_call);
    [[nodiscard]] bool encrypt(const iovec* vectors, std::size_t count);
    void send_cipher();
    void handshake();
    void after_handshake_step();
    void end_securing(std::string why_not);

    Reactor& reactor_;
    Descriptor socket_;
    User& user_;
    IoOperation receive_, send_;

    std::unique_ptr<runtime::TlsPipe> tls_;
    std::span<std::byte> into_;
    std::vector<std::byte> cipher_in_, cipher_out_, gathered_;
    iovec cipher_vector_{};
    std::size_t cipher_sent_ = 0;
    std::size_t plain_ = 0;  // bytes of the user's that cipher_out_ stands for
    bool delivering_ = false;
    bool failing_ = false;
    bool securing_ = false;
    runtime::TlsPipe::Status step_ = runtime::TlsPipe::Status::more;
};

}  // namespace understudy::mirror
