#pragma once
// New keys for a cluster that goes on running: the files of the pki directory while one certificate authority
// replaces another. What is asked of whom, and when, is daemons/credentials.
//
//   every node trusts the new CA beside the old one       trust_also()
//   every node gets a certificate of the new CA           install()
//   every node trusts the new CA alone                    trust_no_longer()
//
// After each step every node is accepted by every other, whether that has made the step or not; so the whole
// may stop anywhere, and be begun again. Loop thread only.

#include "base/result.h"
#include "comm/pki.h"
#include "runtime/world.h"

#include <string>

namespace understudy::comm {

/// Adds a CA certificate to ca.pem, unless it is there.
Result<> trust_also(runtime::World world, const std::string& pki_directory, const std::string& ca_pem);
/// Takes the CA with this fingerprint out of ca.pem, and its key if this node has it. Code::failure when the
/// node's own certificate is of that CA, or no other one is left.
Result<> trust_no_longer(runtime::World world, const std::string& pki_directory,
                         const std::string& ca_fingerprint);
/// Makes key and certificate the node's own. Both or, after a crash, none of them once complete_install()
/// ran.
Result<> install(runtime::World world, const std::string& pki_directory, const NodeName& self,
                 const KeyAndCertificate& own);
/// Finishes or forgets an install() that was interrupted; true when the files have changed.
Result<bool> complete_install(runtime::World world, const std::string& pki_directory);
/// The CA certificate of ca.pem that belongs to ca.key, with the key. Code::not_found without a key.
Result<KeyAndCertificate> load_ca(runtime::World world, const std::string& pki_directory);

}  // namespace understudy::comm
