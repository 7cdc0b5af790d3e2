#include "quorum/s3_objects.h"

#include "base/text.h"

#include <curl/curl.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>

namespace understudy::quorum {
namespace {

constexpr long kConnectLimit_ms = 2000;
constexpr long kTransferLimit_ms = 4000;  // an access is tried once a cycle; the shortest is 5 s
constexpr long kRoleLimit_ms = 1000;
constexpr const char* kRoleService = "http://169.254.169.254/latest";

struct Credentials {
    std::string key;
    std::string secret;
    std::string token;
};

struct Answer {
    long status = 0;
    std::string body;
    std::string problem;  // of the transfer itself
};

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

struct Slist {
    curl_slist* list = nullptr;
    Slist() = default;
    Slist(const Slist&) = delete;
    Slist& operator=(const Slist&) = delete;
    ~Slist() { curl_slist_free_all(list); }
    void add(const std::string& line) { list = curl_slist_append(list, line.c_str()); }
};

struct Cleanup {
    void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
using Curl = std::unique_ptr<CURL, Cleanup>;

constexpr std::size_t kMostBody = 64UL << 10;

std::size_t receive(char* data, std::size_t size, std::size_t count, void* into) {
    auto& body = *static_cast<std::string*>(into);
    if (body.size() + size * count > kMostBody) return 0;  // ends the transfer
    body.append(data, size * count);
    return size * count;
}

struct Sending {
    std::string_view rest;
};

std::size_t send(char* data, std::size_t size, std::size_t count, void* from) {
    auto& sending = *static_cast<Sending*>(from);
    const auto part = std::min(size * count, sending.rest.size());
    std::copy_n(sending.rest.data(), part, data);
    sending.rest.remove_prefix(part);
    return part;
}

Answer perform(CURL* curl, Answer answer = {}) {
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer.body);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    const auto code = curl_easy_perform(curl);
    if (code != CURLE_OK)
        answer.problem = curl_easy_strerror(code);
    else
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
    return answer;
}

/// ~/.aws/credentials, [default].
std::optional<Credentials> from_file() {
    auto path = variable("AWS_SHARED_CREDENTIALS_FILE");
    if (path.empty()) path = variable("HOME") + "/.aws/credentials";
    std::ifstream file(path);
    Credentials found;
    bool in_default = false;
    for (std::string line; std::getline(file, line);) {
        const auto text = std::string(text::trim(line));
        if (text.starts_with("[")) in_default = text == "[default]";
        const auto equals = text.find('=');
        if (!in_default || equals == std::string::npos) continue;
        const auto key = text::trim(std::string_view(text).substr(0, equals));
        const auto value = std::string(text::trim(std::string_view(text).substr(equals + 1)));
        if (key == "aws_access_key_id") found.key = value;
        if (key == "aws_secret_access_key") found.secret = value;
        if (key == "aws_session_token") found.token = value;
    }
    if (found.key.empty() || found.secret.empty()) return std::nullopt;
    return found;
}

std::string json_text(const std::string& body, const std::string& key) {
    const auto at = body.find('"' + key + '"');
    const auto begin = at == std::string::npos ? at : body.find('"', body.find(':', at));
    const auto end = begin == std::string::npos ? begin : body.find('"', begin + 1);
    return end == std::string::npos ? std::string() : body.substr(begin + 1, end - begin - 1);
}

/// The role of the EC2 instance, if this is one.
std::optional<Credentials> from_role() {
    const auto ask = [](const std::string& path, const std::string& header,
                        bool put) -> std::optional<std::string> {
        const Curl curl(curl_easy_init());
        Slist headers;
        headers.add(header);
        curl_easy_setopt(curl.get(), CURLOPT_URL, (kRoleService + path).c_str());
        curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.list);
        curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, kRoleLimit_ms);
        curl_easy_setopt(curl.get(), CURLOPT_NOPROXY, "*");
        if (put) curl_easy_setopt(curl.get(), CURLOPT_CUSTOMREQUEST, "PUT");
        const auto answer = perform(curl.get());
        if (answer.status != 200) return std::nullopt;
        return answer.body;
    };
    const auto token = ask("/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60", true);
    if (!token) return std::nullopt;
    const auto proof = "X-aws-ec2-metadata-token: " + *token;
    const auto role = ask("/meta-data/iam/security-credentials/", proof, false);
    if (!role) return std::nullopt;
    const auto keys =
        ask("/meta-data/iam/security-credentials/" + std::string(text::trim(*role)), proof, false);
    if (!keys) return std::nullopt;
    Credentials found{json_text(*keys, "AccessKeyId"), json_text(*keys, "SecretAccessKey"),
                      json_text(*keys, "Token")};
    if (found.key.empty()) return std::nullopt;
    return found;
}

Result<Credentials> credentials() {
    Credentials found{variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"),
                      variable("AWS_SESSION_TOKEN")};
    if (!found.key.empty() && !found.secret.empty()) return found;
    if (auto file = from_file()) return *file;
    if (auto role = from_role()) return *role;
    return fail(Code::failure,
                "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws/credentials "
                "or a role of the instance");
}

/// Only what S3 says, not a whole page of it.
std::string reason(const Answer& answer) {
    if (!answer.problem.empty()) return answer.problem;
    const auto begin = answer.body.find("<Message>");
    const auto end = answer.body.find("</Message>");
    if (begin == std::string::npos || end == std::string::npos)
        return "HTTP status " + std::to_string(answer.status);
    return answer.body.substr(begin + 9, end - begin - 9);
}

Result<Answer> request(const S3Place& place, const std::string_view* upload) {
    const auto rest = place.uri.substr(5);  // behind s3://
    const auto slash = rest.find('/');
    const auto bucket = rest.substr(0, slash);
    const auto key = rest.substr(slash + 1);
    auto region = place.region.empty() ? variable("AWS_REGION") : place.region;
    if (region.empty()) region = "us-east-1";
    // The path form works with every server and with bucket names that have dots.
    const auto endpoint =
        place.endpoint.empty() ? fmt::format("https://s3.{}.amazonaws.com", region) : place.endpoint;
    UNDERSTUDY_TRY(const auto who, credentials());
    const Curl curl(curl_easy_init());
    if (!curl) return fail(Code::failure, "no memory");
    Slist headers;
    headers.add("x-amz-content-sha256: UNSIGNED-PAYLOAD");
    if (!who.token.empty()) headers.add("x-amz-security-token: " + who.token);
    headers.add("Expect:");
    const auto url = fmt::format("{}/{}/{}", endpoint, bucket, key);
    const auto scope = fmt::format("aws:amz:{}:s3", region);
    const auto login = who.key + ":" + who.secret;
    curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_AWS_SIGV4, scope.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_USERPWD, login.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT_MS, kConnectLimit_ms);
    curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, kTransferLimit_ms);
    Sending sending{upload == nullptr ? std::string_view() : *upload};
    if (upload != nullptr) {
        headers.add("Content-Type: application/octet-stream");
        curl_easy_setopt(curl.get(), CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl.get(), CURLOPT_READFUNCTION, send);
        curl_easy_setopt(curl.get(), CURLOPT_READDATA, &sending);
        curl_easy_setopt(curl.get(), CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(upload->size()));
    }
    curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.list);
    return perform(curl.get());
}

}  // namespace

Result<> put_s3(const S3Place& place, std::string_view bytes) {
    const auto answer = request(place, &bytes);
    if (!answer)
        return fail(Error{Code::failure, fmt::format("put {}: {}", place.uri, answer.error().text), 18217});
    if (answer->status / 100 == 2) return {};
    return fail(Error{Code::failure, fmt::format("put {}: {} {}", place.uri, answer->status, reason(*answer)),
                      18217});
}

Result<std::string> get_s3(const S3Place& place, std::size_t most) {
    const auto answer = request(place, nullptr);
    if (!answer)
        return fail(Error{Code::failure, fmt::format("get {}: {}", place.uri, answer.error().text), 18216});
    if (answer->status == 404)
        return fail(Error{Code::not_found, fmt::format("get {}: 404 {}", place.uri, reason(*answer)), 18149});
    if (answer->status / 100 != 2)
        return fail(Error{Code::failure,
                          fmt::format("get {}: {} {}", place.uri, answer->status, reason(*answer)), 18216});
    return answer->body.substr(0, most);
}

}  // namespace understudy::quorum
