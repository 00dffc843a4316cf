# In a clean root, as root: installs OLD, upgrades to NEW, configures it, goes back to OLD, removes it, installs NEW again, purges it.
# Ends at the first thing that is not as it should be; `set -x` says which.
set -eux
old=$1 new=$2
export DEBIAN_FRONTEND=noninteractive PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
package() { dpkg --force-unsafe-io --force-confdef --force-confold "$@"; }
as_agent() { setpriv --reuid leakhound --regid leakhound --clear-groups "$@"; }
owned() { [ "$(stat -c '%U:%G %a' "$1")" = "$2" ]; }
installed() { [ "$(dpkg-query -W -f '${Version} ${db:Status-Abbrev}' leakhound)" = "$1" ]; }

# A machine that systemd runs, as far as the maintainer scripts can tell: what they ask it for is written down.
mkdir -p /run/systemd/system /usr/local/sbin
printf '#!/bin/sh\necho "$*" >>/asked\n' >/usr/local/sbin/systemctl
chmod 755 /usr/local/sbin/systemctl
# `set -e` does not heed what comes after a `!`.
never() { if "$@"; then exit 1; fi; }
asked() { grep -q "$1" /asked; }
forget() { : >/asked; }

: install
forget
package -i "$old"
installed '0.0.9 ii '
leakhound --version
owned /etc/leakhound 'root:leakhound 750'
owned /etc/leakhound/leakhound.toml 'root:leakhound 640'
owned /var/lib/leakhound 'leakhound:leakhound 700'
as_agent leakhound run --check --config /etc/leakhound/leakhound.toml
never setpriv --reuid nobody --clear-groups cat /etc/leakhound/leakhound.toml
asked daemon-reload
# Nothing is watched until somebody says what.
never asked 'start\|enable'

: upgrade
forget
package -i "$new"
installed '0.1.0 ii '
asked 'try-restart leakhound.service'
never asked 'disable\|stop'
# Nobody had edited the configuration: the new one takes its place, and the agent may still read it.
grep -q 'a later default' /etc/leakhound/leakhound.toml
owned /etc/leakhound/leakhound.toml 'root:leakhound 640'

: use
echo '# ours' >>/etc/leakhound/leakhound.toml
echo 'SECRET=1' >/etc/leakhound/leakhound.env
as_agent mkdir -p /var/lib/leakhound/Shop.Cart
id=$(id -u leakhound)

: another version, which brings another configuration
package -i "$old"
installed '0.0.9 ii '
tail -n 1 /etc/leakhound/leakhound.toml | grep -q ours
[ -e /etc/leakhound/leakhound.toml.dpkg-dist ]
owned /etc/leakhound/leakhound.toml 'root:leakhound 640'
[ -d /var/lib/leakhound/Shop.Cart ]

: remove
forget
package -r leakhound
installed '0.0.9 rc '
asked 'disable --now leakhound.service'
[ ! -e /usr/bin/leakhound ]
[ ! -e /usr/lib/systemd/system/leakhound.service ]
[ -d /var/lib/leakhound/Shop.Cart ]
grep -q ours /etc/leakhound/leakhound.toml

: install again
package -i "$new"
grep -q ours /etc/leakhound/leakhound.toml
[ "$(id -u leakhound)" = "$id" ]

: purge
package -P leakhound
[ ! -e /var/lib/leakhound ]
[ ! -e /etc/leakhound ]
# So that nobody else gets the number that dumps elsewhere may still belong to.
[ "$(id -u leakhound)" = "$id" ]
