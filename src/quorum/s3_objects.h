#pragma once
// QWK objects in S3, or a server that speaks its protocol. Blocking: for understudy-qwk. Spec: QUO-095 to
// QUO-097.

#include "base/result.h"

#include <string>
#include <string_view>

namespace understudy::quorum {

struct S3Place {
    std::string uri;       // s3://bucket/key
    std::string endpoint;  // "http://host:port"; empty: Amazon's for the region
    std::string region;    // empty: AWS_REGION, else us-east-1
};

/// Errors: 18217 and 18216 with the object, the code and the text that the server gave. The proxy variables
/// and AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of the environment count, then
/// ~/.aws/credentials, then the instance's role.
Result<> put_s3(const S3Place& place, std::string_view bytes);
Result<std::string> get_s3(const S3Place& place, std::size_t most);

}  // namespace understudy::quorum
