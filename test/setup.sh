#!/usr/bin/env bash
# Installs what the whole test suite and the benches use beside npm's packages, on Debian and Ubuntu:
# QEMU and a static busybox for real VMs, iproute2 and nftables for their namespaces, wrk and nginx for the benches. Run it again whenever; it installs only what is missing.
#   npm run setup              what the tests use
#   npm run setup -- bench     and what `npm run bench:proxy` uses: HAProxy, Caddy, h2load, and the Node proxies of bench/peers
set -euo pipefail

packages=(qemu-system-x86 busybox-static iproute2 nftables openssl procps wrk nginx-light)
if [ "${1:-}" = bench ]; then
  packages+=(haproxy caddy nghttp2-client)
  npm ci --prefix "$(dirname "$0")/../bench/peers" --ignore-scripts --no-audit --no-fund
fi
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
$sudo apt-get install -y -q --no-install-recommends "${missing[@]}"
# These are only programs for the benches here: what was installed just now must not stay as a service.
for service in nginx haproxy caddy; do
  case " ${missing[*]} " in *" $service "* | *" $service-light "*) ;; *) continue ;; esac
  if command -v systemctl >/dev/null && systemctl is-active --quiet "$service" 2>/dev/null; then $sudo systemctl disable --now "$service" || true; fi
done
echo "setup: installed ${missing[*]}"
