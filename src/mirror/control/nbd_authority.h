#pragma once
// Certificates for NBD clients that are no nodes, by an authority of their own: what it signs opens volumes
// to a client and nothing of the cluster. Threading: the control loop's thread.

#include "base/result.h"
#include "config/command.h"
#include "config/layout.h"
#include "runtime/files.h"

#include <string>

namespace understudy::mirror::control {

/// Where the authority's certificate is, the file that NbdClientCa names; its key lies beside it.
std::string nbd_authority_file(const config::Layout& layout);

/// Makes a key and a certificate for `client` in `directory` (made when missing), as the files by which NBD
/// programs find them: ca-cert.pem (the server's authority), client-cert.pem, client-key.pem. The first call
/// makes the authority. Errors: exists (the directory holds a client's key already), bad_argument (the name,
/// a directory that is no absolute path), not_found (this host is in no cluster yet). Nothing is left of a
/// call that failed but the authority.
Result<> issue_nbd_certificate(runtime::Files& files, const config::Layout& layout, const std::string& client,
                               const std::string& directory);

/// "understudy nbd certificate CLIENT --directory DIR": the above, and what the settings still lack.
config::Reply run_nbd_certificate(runtime::Files& files, const config::Layout& layout,
                                  const config::Command& command);

}  // namespace understudy::mirror::control
