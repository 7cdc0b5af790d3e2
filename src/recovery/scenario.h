#pragma once
// A planner scenario as a person writes it (tests/scenarios/*.yaml). Tests only.
//
//   # Spec: CLU-187                      requirements, as comments
//   about: one sentence
//   self: right                          where the planner runs
//   nodes:
//     left: {priority: 1, is: dead}      is: alive (default), dead, unknown (not heard of since start),
//     right: {priority: 10, flags: [..]}     mute (alive, but its configuration has not arrived)
//   hierarchy:                           parent: [children], in creation order
//     - web.0: [ip.0, Vol.E]
//   states:                              default OSU; one word for all of a node's, or tag by tag
//     left: ISP
//     right: {web.0: OSF}
//   reasons, reserved: {right: {web.0: ...}}     reserved: RESTORE, REMOVE, RECOVER
//   priorities: {web.0: {left: 10}}      of a tag on a node, where it is not the node's
//   init: {web.0: INIT_OSU}
//   switchback: {web.0: AUTOMATIC}       default INTELLIGENT
//   mirrored: [Vol.E]                    replicated volumes
//   only_on: {web.0: [left]}             default: on every node
//   names: {left: {web.0: other.tag}}    a tag that differs on a node
//   request: failover left               restore [-b|-s] T, remove [-s] T, initialise, stop,
//                                        switchover T, failover N [only T] [tried N ...],
//                                        switchback [N], shutdown [tried N ...],
//                                        recover T from N [tried N ...] [wanted T ...]
//   plan: |                              expected text of describe(), or "error CODE: text"; last in the file

#include "base/result.h"
#include "recovery/plan.h"

#include <string>

namespace understudy::recovery::testing {

struct Scenario {
    std::string about;
    ClusterView view;
    Request request;
    std::string expected;
};

/// Errors name what in the file is wrong.
Result<Scenario> load_scenario(const std::string& path);

/// What the planner answers, as the file would hold it.
std::string outcome(const Scenario& scenario);

/// Replaces the file's expectation; everything above it, comments included, stays as it is.
Result<> rewrite_expectation(const std::string& path, const std::string& text);

}  // namespace understudy::recovery::testing
