#!/usr/bin/env bash
# Makes a development certificate authority and a server certificate signed by it, for localhost and 127.0.0.1:
#   certs/dev-ca.crt  certs/dev-ca.key  certs/dev.crt  certs/dev.key
# Keys are written 0600 and ignored by git. Run again to renew; the authority is kept while it is valid for 30 days more.
set -euo pipefail
cd "$(dirname "$0")"
umask 077
command -v openssl >/dev/null || { echo 'openssl is missing: apt-get install openssl' >&2; exit 1; }

if ! openssl x509 -in dev-ca.crt -noout -checkend $((30 * 86400)) >/dev/null 2>&1; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 \
    -subj '/CN=Tidegate development CA' \
    -addext 'basicConstraints=critical,CA:TRUE,pathlen:0' -addext 'keyUsage=critical,keyCertSign,cRLSign' \
    -keyout dev-ca.key -out dev-ca.crt 2>/dev/null
fi
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=localhost' -keyout dev.key -out dev.csr 2>/dev/null
openssl x509 -req -in dev.csr -CA dev-ca.crt -CAkey dev-ca.key -CAcreateserial -days 397 -out dev.crt 2>/dev/null \
  -extfile <(printf 'subjectAltName=DNS:localhost,DNS:*.localhost,IP:127.0.0.1,IP:::1\nextendedKeyUsage=serverAuth,clientAuth\n')
rm -f dev.csr
openssl verify -CAfile dev-ca.crt dev.crt
