#!/bin/sh
# Protects a systemd unit. Application info: the unit's name, e.g. "myapp.service".
# The unit must not start by itself: systemctl disable myapp.service
# One file for every role: LK_ACTION says which one it is called for.
set -eu
unit=${LK_INFO:?the application info must name the unit}

case "$LK_ACTION" in
  restore | recover)
    [ "$LK_ACTION" = restore ] && systemctl --quiet is-active "$unit" && exit 0
    systemctl reset-failed "$unit" 2>/dev/null || true
    [ "$LK_ACTION" = recover ] && exec systemctl restart "$unit"
    exec systemctl start "$unit"
    ;;
  remove)
    systemctl stop "$unit"
    # "inactive" and "failed" are both stopped; anything else is not.
    state=$(systemctl is-active "$unit" || true)
    [ "$state" = inactive ] || [ "$state" = failed ] || { echo "$unit is still $state" >&2; exit 1; }
    ;;
  quickchk)
    state=$(systemctl is-active "$unit" || true)
    [ "$state" = active ] || [ "$state" = reloading ] || { echo "$unit is $state" >&2; exit 1; }
    ;;
esac
