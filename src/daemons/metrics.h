#pragma once
// `understudy metrics`: this node's figures in the text format that Prometheus and its relatives read. Spec:
// QUO-132.
//
// Nothing listens for a scraper: a collector of the host (node_exporter's textfile directory, an exec plugin)
// runs the command. Threading: loop thread only.

#include "comm/cluster.h"
#include "config/database.h"
#include "quorum/counters.h"
#include "quorum/guard.h"

#include <string>
#include <vector>

namespace understudy::daemons {

struct MetricsFacts {
    NodeName self;
    const config::NodeConfig& own;
    std::vector<comm::PathStatus> paths;
    quorum::Status quorum;
    quorum::Counters counters;
    bool ready = false;  // the engine has finished its start
};

/// All families, each with its HELP and TYPE line, in a fixed order. Pure.
std::string metrics_text(const MetricsFacts& facts);

}  // namespace understudy::daemons
