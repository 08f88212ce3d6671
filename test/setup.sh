#!/usr/bin/env bash
# Installs what the whole test suite and the benches use beside npm's packages, on Debian and Ubuntu:
# QEMU and a static busybox for real VMs, wrk and nginx for the benches. Run it again whenever; it installs only what is missing.
set -euo pipefail

packages=(qemu-system-x86 busybox-static openssl procps wrk nginx-light)
sudo=''
[ "$(id -u)" -eq 0 ] || sudo='sudo'
# The VM image's kernel is downloaded by its package name, which takes the lists of packages.
if command -v apt-get >/dev/null && ! apt-cache show linux-image-cloud-amd64 >/dev/null 2>&1; then
  $sudo apt-get update -q
fi
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: everything is installed (${packages[*]})"
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "setup: this machine has no apt-get; install by hand: ${missing[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q
# nginx is only a program for the benches here: it must not be started as a service.
$sudo apt-get install -y -q --no-install-recommends "${missing[@]}"
if command -v systemctl >/dev/null && systemctl is-active --quiet nginx 2>/dev/null; then $sudo systemctl disable --now nginx || true; fi
echo "setup: installed ${missing[*]}"
