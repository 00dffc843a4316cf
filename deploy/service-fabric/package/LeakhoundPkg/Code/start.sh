#!/bin/sh
# Service Fabric starts this as root. Root makes the user and the folders and is given up then: the agent runs as that user with
# the two rights that reading another user's process takes, and no others. CAP_SYS_PTRACE stops a thread and reads its memory,
# CAP_DAC_READ_SEARCH opens files in /proc/PID of other users.
set -eu
user=leakhound
archive='/mnt/leakhound'
run=/run/leakhound
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
rights='-all,+sys_ptrace,+dac_read_search'

getent passwd "$user" >/dev/null || useradd --system --user-group --no-create-home --home-dir "$archive" --shell /usr/sbin/nologin "$user"
install -d -m 700 -o "$user" -g "$user" "$archive" "$run"
chmod 755 "$here/leakhound"
RUNTIME_DIRECTORY=$run
export RUNTIME_DIRECTORY
umask 077
exec setpriv --reuid "$user" --regid "$user" --init-groups --no-new-privs \
    --inh-caps "$rights" --ambient-caps "$rights" --bounding-set "$rights" \
    "$here/leakhound" "$@"