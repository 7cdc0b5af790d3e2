#include "mirror/control/nbd_authority.h"

#include "comm/pki.h"
#include "config/settings.h"

namespace understudy::mirror::control {
namespace {

constexpr const char* kAuthorityName = "NBD clients";
constexpr int kPrivate = 0600;

std::string key_file(const config::Layout& layout) {
    return layout.etc() + "/nbd-clients.key";
}

/// The key first: a certificate without it would be an authority that can issue nothing.
Result<comm::KeyAndCertificate> authority(runtime::Files& files, const config::Layout& layout) {
    const std::string certificate = nbd_authority_file(layout);
    if (files.exists(certificate)) {
        comm::KeyAndCertificate known;
        UNDERSTUDY_TRY(known.certificate, files.read(certificate));
        auto key = files.read(key_file(layout));
        if (!key)
            return fail(
                key.error().code,
                "the key of {} is not on this host: issue certificates where it is, or remove the file "
                "and begin with a new authority",
                certificate);
        known.private_key = std::move(*key);
        UNDERSTUDY_CHECK(comm::check_pair(known));
        return known;
    }
    UNDERSTUDY_TRY(comm::KeyAndCertificate made, comm::make_ca(kAuthorityName));
    UNDERSTUDY_CHECK(files.write_atomic(key_file(layout), made.private_key, kPrivate));
    UNDERSTUDY_CHECK(files.write_atomic(certificate, made.certificate));
    return made;
}

}  // namespace

std::string nbd_authority_file(const config::Layout& layout) {
    return layout.etc() + "/nbd-clients.pem";
}

Result<> issue_nbd_certificate(runtime::Files& files, const config::Layout& layout, const std::string& client,
                               const std::string& directory) {
    if (!directory.starts_with('/')) return fail(Code::bad_argument, "\"{}\" is no absolute path", directory);
    const std::string key = directory + "/client-key.pem";
    const std::string certificate = directory + "/client-cert.pem";
    if (files.exists(key))
        return fail(Code::exists, "{} exists: give each client a directory of its own", key);
    const auto server = files.read(layout.pki() + "/ca.pem");
    if (!server) return fail(server.error().code, "this host is in no cluster yet: {}", server.error().text);
    UNDERSTUDY_TRY(const comm::KeyAndCertificate request, comm::make_request(NodeName(client)));
    UNDERSTUDY_TRY(const comm::KeyAndCertificate issuer, authority(files, layout));
    UNDERSTUDY_TRY(const std::string signed_certificate,
                   comm::sign_request(issuer, NodeName(client), request.certificate));
    UNDERSTUDY_CHECK(files.make_directories(directory, 0700));
    // The key last: with it the directory counts as complete.
    UNDERSTUDY_CHECK(files.write_atomic(directory + "/ca-cert.pem", *server));
    Result<> written = files.write_atomic(certificate, signed_certificate);
    if (written) written = files.write_atomic(key, request.private_key, kPrivate);
    if (written) return written;
    for (const std::string& part : {directory + "/ca-cert.pem", certificate})
        (void)files.remove(part);
    return written;
}

config::Reply run_nbd_certificate(runtime::Files& files, const config::Layout& layout,
                                  const config::Command& command) {
    if (command.uid != 0) return config::failure({Code::failure, "issuing certificates needs root", 0});
    if (command.arguments.size() != 1)
        return config::failure({Code::syntax, "the client's name is missing", 0});
    const std::string directory = command.get("directory");
    const auto issued = issue_nbd_certificate(files, layout, command.arguments.front(), directory);
    if (!issued) return config::failure(issued.error());
    std::string out = fmt::format("{} holds the certificate of {}\n", directory, command.arguments.front());
    std::vector<std::string> problems;
    const auto settings = files.read(layout.settings());
    const auto set = config::Settings::parse_leniently(settings.value_or(""), problems).text("NbdClientCa");
    if (set != nbd_authority_file(layout))
        out += fmt::format(
            "it is let in when {} has NbdClientCa={}, on each host that offers volumes, with a copy of that "
            "file there\n",
            layout.settings(), nbd_authority_file(layout));
    return config::success(std::move(out));
}

}  // namespace understudy::mirror::control
