#pragma once
// The files of the pki directory. Private to this folder.

#include <string>

namespace understudy::comm {

struct CredentialFiles {
    explicit CredentialFiles(const std::string& directory)
        : ca_certificate(directory + "/ca.pem"),
          ca_key(directory + "/ca.key"),
          certificate(directory + "/node.pem"),
          private_key(directory + "/node.key"),
          tokens(directory + "/tokens.json") {}
    std::string ca_certificate;
    std::string ca_key;
    std::string certificate;
    std::string private_key;
    std::string tokens;
};

inline constexpr int kSecretMode = 0600;
inline constexpr int kPublicMode = 0644;

}  // namespace understudy::comm
