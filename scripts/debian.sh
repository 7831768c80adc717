#!/usr/bin/env bash
# debian.sh [--only] SUITE DIRECTORY PACKAGE...
#
# Unpacks PACKAGEs of a Debian release into DIRECTORY, with all that they depend on unless --only is said. From the
# mirror that apt is configured with, with Debian's signatures checked; nothing is installed, no root is needed.
set -euo pipefail

action=(--yes --no-install-recommends --download-only install)
if [ "$1" = --only ]; then
    action=(download)
    shift
fi
suite=$1 directory=$2
shift 2

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -f "$keyring" ] || {
    echo "debian: $keyring is missing: install debian-archive-keyring" >&2
    exit 1
}

mkdir -p "$(dirname "$directory")"
directory=$(cd "$(dirname "$directory")" && pwd)/$(basename "$directory")
[ "$(cat "$directory/.unpacked" 2>/dev/null)" != "$suite $*" ] || exit 0

work=$directory.$$
trap 'rm -rf "$work"' EXIT
apt=$work/.apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
: >"$apt/status"

# shellcheck disable=SC2016 # the format is apt's
mirrors=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sort -u)
[ -n "$mirrors" ] || {
    echo "debian: apt knows no Debian mirror: run apt-get update" >&2
    exit 1
}
for mirror in $mirrors; do
    echo "deb [signed-by=$keyring] $mirror $suite main"
done >"$apt/sources.list"

options=(
    -o "Dir::Etc::sourcelist=$apt/sources.list"
    -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferences=/dev/null
    -o Dir::Etc::preferencesparts=/dev/null
    -o "Dir::State=$apt"
    -o "Dir::State::lists=$apt/lists"
    -o "Dir::State::status=$apt/status"
    -o "Dir::Cache=$apt/cache"
    # apt's own user may not be allowed in here.
    -o "APT::Sandbox::User=$(id -un)"
    -o Debug::NoLocking=1
    -o Acquire::Languages=none
    -o Acquire::Retries=2
)
echo "debian: unpacking $* of $suite" >&2
(
    cd "$apt/cache/archives"
    apt-get "${options[@]}" --error-on=any update && apt-get "${options[@]}" "${action[@]}" "$@"
) >"$apt/log" 2>&1 || {
    tail -n 20 "$apt/log" >&2
    exit 1
}
for package in "$apt"/cache/archives/*.deb; do
    dpkg-deb --extract "$package" "$work"
done
rm -rf "$apt"
# From Debian 13 on these are links that only an installer makes.
for folder in bin lib lib64 sbin; do
    [ -e "$work/$folder" ] || [ ! -e "$work/usr/$folder" ] || ln -s "usr/$folder" "$work/$folder"
done
# Links are to lead to what is in here.
find "$work" -type l -lname '/*' | while read -r link; do
    ln -sfnr "$work$(readlink "$link")" "$link"
done
echo "$suite $*" >"$work/.unpacked"
rm -rf "$directory"
mv "$work" "$directory"
