#!/bin/sh
# Installs, upgrades and removes Leakhound with sfctl, which must be connected: sfctl cluster select --endpoint https://…
#   ./deploy.sh install     the first time
#   ./deploy.sh upgrade     another program, or only another configuration: then no process is restarted
#   ./deploy.sh remove      application and type; the archive stays on the nodes
# Values for this cluster stand in parameters.json beside it. It holds secrets: keep it where they may lie.
set -eu
version='0.1.0'
type=LeakhoundType
application=Leakhound
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
PATH=$PATH:/opt/sfctl/bin

provision() {
    sfctl application upload --path "$here/package"
    sfctl application provision --application-type-build-path package
    # The image store has a copy of its own by now.
    sfctl store delete --content-path package
}

case "${1:-}" in
install)
    provision
    sfctl application create --app-name "fabric:/$application" --app-type "$type" --app-version "$version" \
        --parameters "$(cat "$here/parameters.json")"
    ;;
upgrade)
    provision
    sfctl application upgrade --application-id "$application" --application-version "$version" \
        --mode Monitored --failure-action Rollback --parameters "$(cat "$here/parameters.json")"
    ;;
remove)
    sfctl application delete --application-id "$application"
    sfctl application unprovision --application-type-name "$type" --application-type-version "$version"
    ;;
*)
    echo "usage: $0 install|upgrade|remove" >&2
    exit 2
    ;;
esac