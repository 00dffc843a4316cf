#!/bin/sh
# root.sh PROGRAM OUT: lays out in OUT all that an image needs to run PROGRAM: the program, the libraries that it is linked with,
# certificates, and the folders that it writes to.
set -eu
if [ $# -ne 2 ] || [ ! -x "$1" ]; then
    echo "usage: root.sh PROGRAM OUT, where PROGRAM is the built leakhound" >&2
    exit 2
fi
program=$1 out=$2

install -D -m 755 "$program" "$out/usr/bin/leakhound"
ldd "$program" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' | while read -r library; do
    install -D -m 755 "$library" "$out$library"
done
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$out/etc/ssl/certs/ca-certificates.crt"
install -d -m 1777 "$out/tmp"
install -d -m 700 "$out/var/lib/leakhound" "$out/run/leakhound"
install -d -m 755 "$out/etc/leakhound" "$out/proc" "$out/sys/fs/cgroup" "$out/var/log/containers"
