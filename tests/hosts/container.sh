# A container as a runtime makes it: run in new mount and pid namespaces, with ROOT for its root folder, into which DOTNET and APP come
# under paths that the node does not have; as nobody. PROGRAM is a file in APP.
set -eu
root=$1 dotnet=$2 app=$3 program=$4
mount -t tmpfs none "$root"
mkdir "$root/proc" "$root/tmp" "$root/dotnet" "$root/app"
chmod 1777 "$root/tmp"
for folder in usr lib lib64 bin etc dev; do
    if [ -L "/$folder" ]; then
        cp -P "/$folder" "$root/$folder"
    elif [ -d "/$folder" ]; then
        mkdir "$root/$folder"
        mount --bind "/$folder" "$root/$folder"
    fi
done
mount --bind "$dotnet" "$root/dotnet"
mount --bind "$app" "$root/app"
mount -t proc proc "$root/proc"
mkdir -p "$root/var/run/secrets/kubernetes.io/serviceaccount"
echo shop >"$root/var/run/secrets/kubernetes.io/serviceaccount/namespace"
exec chroot "$root" setpriv --reuid 65534 --regid 65534 --clear-groups /dotnet/dotnet "/app/$program"
