#!/usr/bin/env bash
# Installs the real peers that tests/interop talks to. Does nothing when all are there.
# No daemon is left running by it: tests start their own, in their own network namespaces.
set -euo pipefail

packages=(
    knot knot-dnsutils          # authoritative DNS, kdig
    nsd                         # authoritative DNS
    bind9 bind9-dnsutils        # authoritative DNS, named-checkzone, dig
    unbound                     # resolver
    iproute2 iptables           # network namespaces and cut links
    prometheus                  # promtool, which checks what /metrics says
    haproxy                     # load balancer in front; the plain forwarder of the bench
    prosody lua-unbound lua-sec # XMPP server, with the resolver and the TLS that it needs
    ejabberd                    # XMPP server
    go-sendxmpp                 # XMPP client that needs no terminal
    dnsmasq-base knot-resolver  # resolvers that `imxctl dns inside` writes for
)
declare -A daemon_of=(
    [knot]=knot [nsd]=nsd [bind9]=named [unbound]=unbound [haproxy]=haproxy [prometheus]=prometheus
    [prosody]=prosody [ejabberd]=ejabberd [knot-resolver]=kresd@1
)

missing=()
for package in "${packages[@]}"; do
    if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
        missing+=("$package")
    fi
done
if [ "${#missing[@]}" -eq 0 ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "error: interop tests need: ${missing[*]} (run this as root, or install them)" >&2
    exit 1
fi

# invoke-rc.d asks this file whether a service may start; 101 is "no". Only ours is removed again.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
had_epmd=no
if command -v epmd >/dev/null && epmd -names >/dev/null 2>&1; then
    had_epmd=yes
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -o DPkg::Lock::Timeout=400 update -qq
apt-get -o DPkg::Lock::Timeout=400 install -y -qq --no-install-recommends "${missing[@]}"

# Erlang's name service: installing ejabberd starts it without asking. It refuses while somebody uses it.
if [ "$had_epmd" = no ] && command -v epmd >/dev/null; then
    epmd -kill >/dev/null 2>&1 || true
fi

# Where a policy file of the host let them start all the same.
for package in "${missing[@]}"; do
    daemon="${daemon_of[$package]:-}"
    if [ -n "$daemon" ] && command -v service >/dev/null; then
        service "$daemon" stop >/dev/null 2>&1 || true
    fi
done
