#!/bin/sh
# Puts the application package together: manifests, program, configuration.
#   deploy/service-fabric/package.sh target/release/leakhound OUT [leakhound.toml]
# Then:
#   sfctl application upload --path OUT --show-progress
#   sfctl application provision --application-type-build-path OUT
#   sfctl application create --app-name fabric:/Leakhound --app-type LeakhoundType --app-version 0.1.0
set -eu
[ $# -eq 2 ] || [ $# -eq 3 ] || { echo "usage: $0 PROGRAM OUT [CONFIG]" >&2; exit 2; }
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
program=$1 out=$2 config=${3:-$here/LeakhoundPkg/Config/leakhound.toml}
for file in "$program" "$config"; do
    [ -f "$file" ] || { echo "$0: $file: no such file" >&2; exit 2; }
done
[ ! -e "$out" ] || { echo "$0: $out exists already; name a folder that does not" >&2; exit 2; }
mkdir -p "$out/LeakhoundPkg/Code" "$out/LeakhoundPkg/Config"
cp "$here/ApplicationManifest.xml" "$out/"
cp "$here/LeakhoundPkg/ServiceManifest.xml" "$out/LeakhoundPkg/"
cp "$here/LeakhoundPkg/Config/Settings.xml" "$out/LeakhoundPkg/Config/"
cp "$config" "$out/LeakhoundPkg/Config/leakhound.toml"
cp "$program" "$out/LeakhoundPkg/Code/leakhound"
chmod 755 "$out/LeakhoundPkg/Code/leakhound"
echo "$out"
