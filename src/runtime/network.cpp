#include "runtime/network.h"

namespace understudy::runtime {

std::string to_string(const Endpoint& endpoint) {
    if (endpoint.is_unix()) return endpoint.address;
    // Brackets keep the colons of IPv6 apart from the port's.
    if (endpoint.address.find(':') != std::string::npos)
        return fmt::format("[{}]:{}", endpoint.address, endpoint.port);
    return fmt::format("{}:{}", endpoint.address, endpoint.port);
}

}  // namespace understudy::runtime
