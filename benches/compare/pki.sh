#!/bin/sh
# pki.sh DIR: a throw-away CA, a server certificate for localhost / graph.test / 127.0.0.1
# (server.pem), one by the same CA for another name (wrongname.pem), and one for the right names
# by a CA nobody trusts (wrongca.pem)
set -eu
d=$1; mkdir -p "$d"; cd "$d"
[ -s server.pem ] && [ -s ca.pem ] && [ -s wrongca.pem ] && exit 0
ca() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$1.key" 2>/dev/null
  openssl req -x509 -new -key "$1.key" -sha256 -days 30 -subj "/CN=keyside-bench throw-away $1" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign" -out "$1.pem"
}
leaf() { # NAME CA SAN
  openssl ecparam -name prime256v1 -genkey -noout 2>/dev/null | openssl pkcs8 -topk8 -nocrypt -out "$1.key"
  openssl req -new -key "$1.key" -subj "/CN=keyside-bench $1" -out "$1.csr"
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' "$3" > ext
  openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days 30 -sha256 -extfile ext -out "$1.pem" 2>/dev/null
  rm -f "$1.csr" ext
}
ca ca; ca otherca
leaf server ca DNS:localhost,DNS:graph.test,IP:127.0.0.1
leaf wrongname ca DNS:elsewhere.test
leaf wrongca otherca DNS:localhost,DNS:graph.test,IP:127.0.0.1
