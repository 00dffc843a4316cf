# The guide's Linux part in a root of its own: this machine's root below a layer in memory that takes every change. LAYERS is an empty
# folder, DESK one that both sides see; in it lie leakhound.deb and steps.sh, the guide's commands.
set -eu
layers=$1 desk=$2
mount -t tmpfs none "$layers"
mkdir "$layers/changes" "$layers/work" "$layers/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$layers/changes,workdir=$layers/work" "$layers/root"
for folder in proc dev; do
    mount --rbind "/$folder" "$layers/root/$folder"
done
mkdir "$layers/root/desk"
mount --bind "$desk" "$layers/root/desk"

# systemd does not run in here: what the unit says is done by hand.
cat >"$layers/root/usr/bin/systemctl" <<'S'
#!/bin/sh
set -eu
[ "$*" = 'enable --now leakhound' ] || exit 0
. /etc/leakhound/leakhound.env
export PRICING_WEBHOOK RUNTIME_DIRECTORY=/run/leakhound
install -d -m 700 -o leakhound -g leakhound "$RUNTIME_DIRECTORY"
rights=+sys_ptrace,+dac_read_search
setpriv --reuid leakhound --regid leakhound --clear-groups --bounding-set "-all,$rights" --inh-caps "$rights" --ambient-caps "$rights" \
    --no-new-privs /usr/bin/leakhound run --config /etc/leakhound/leakhound.toml </dev/null >/desk/log 2>&1 &
echo $! >/desk/pid
S
chmod 755 "$layers/root/usr/bin/systemctl"
trap '[ ! -e "$desk/pid" ] || kill "$(cat "$desk/pid")"' EXIT
chroot "$layers/root" sh -c 'cd /desk && exec sh -eux steps.sh'
