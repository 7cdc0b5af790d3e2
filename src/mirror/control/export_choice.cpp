#include "mirror/control/export_choice.h"

namespace understudy::mirror::control {

ExportKind choose_export(ExportKind mirror_wants, ExportKind host_wants, const ExportAbilities& host) {
    if (host.kept_ublk) return ExportKind::ublk;
    if (host.kept_fuse) return ExportKind::fuse;
    for (const ExportKind wanted : {mirror_wants, host_wants, ExportKind::ublk, ExportKind::fuse}) {
        switch (wanted) {
            case ExportKind::automatic:
                continue;
            case ExportKind::nbd:
                return wanted;
            case ExportKind::fuse:
                if (host.fuse) return wanted;
                continue;
            case ExportKind::ublk:
                if (host.ublk) return wanted;
                continue;
        }
    }
    return ExportKind::nbd;
}

}  // namespace understudy::mirror::control
