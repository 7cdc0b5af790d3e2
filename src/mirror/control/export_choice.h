#pragma once
// Which way a host offers a volume: by what was asked for, what its kernel has, and what an earlier process
// left. Pure; any thread.

#include "mirror/control/record.h"

namespace understudy::mirror::control {

struct ExportAbilities {
    bool ublk = false;       // the kernel can make such devices
    bool fuse = false;       // FUSE and loop devices
    bool kept_ublk = false;  // an earlier process left the volume's device, perhaps in use
    bool kept_fuse = false;
};

/// Never `automatic`. What is there already goes on, whatever was asked for: somebody may use it. Else the
/// first that this host has of: what the mirror wants, what the host's setting wants, ublk, FUSE + loop, NBD.
/// A wish that this host cannot fulfil is no reason to refuse a takeover.
ExportKind choose_export(ExportKind mirror_wants, ExportKind host_wants, const ExportAbilities& host);

}  // namespace understudy::mirror::control
