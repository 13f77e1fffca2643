#!/usr/bin/env bash
# Installs, from Debian, the packages of the named groups that are missing.
# Does nothing, and asks for no password, when nothing is.
#
# usage: deps.sh GROUP...      build demo test reference
#                           bench fuzz
# environment: NGINX_SRC, CC: what they bring themselves is not installed
set -euo pipefail

# package, or package:command when any provider of the command will do
group_packages() {
    case $1 in
        build)
            echo libc6-dev make nginx:nginx liblmdb-dev libjansson-dev \
                 libpcre2-dev libssl-dev libqrencode-dev libp11-kit-dev
            case ${CC:-gcc} in
                clang*) echo "${CC}:${CC}" ;;
                *)      echo gcc:gcc ;;
            esac
            if [ "${NGINX_SRC:-/usr/share/nginx/src}" = /usr/share/nginx/src ]
            then
                echo nginx-dev
            else
                echo zlib1g-dev
            fi
            ;;
        demo)
            echo perl curl:curl
            ;;
        test)
            echo perl libio-socket-ssl-perl binutils openssl:openssl \
                 curl:curl python3-venv chromium:chromium \
                 chromium-driver:chromedriver zbar-tools:zbarimg \
                 softhsm2:softhsm2-util opensc:pkcs11-tool \
                 prometheus:prometheus
            ;;
        reference)
            echo python3-venv npm:npm
            ;;
        bench)
            echo wrk:wrk
            ;;
        fuzz)
            echo clang:clang llvm:llvm-symbolizer
            ;;
        *)
            echo "deps.sh: no group \"$1\"" >&2
            return 1
            ;;
    esac
}

PATH=$PATH:/usr/sbin:/sbin
packages=()
missing=()

for group in "$@"; do
    list=$(group_packages "$group")
    for entry in $list; do
        case $entry in
            *:*) command -v "${entry#*:}" >/dev/null && continue ;;
        esac
        packages+=("${entry%%:*}")
    done
done

[ ${#packages[@]} -gt 0 ] || exit 0

if ! command -v dpkg-query >/dev/null; then
    echo "nginx-llm: not a Debian machine; needed are: ${packages[*]}" >&2
    exit 0
fi

status=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' \
         "${packages[@]}" 2>/dev/null || true)

for package in "${packages[@]}"; do
    grep -qx "installed $package" <<<"$status" || missing+=("$package")
done

[ ${#missing[@]} -gt 0 ] || exit 0

root=()

if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "nginx-llm: packages are missing; as root:" \
             "apt-get install -y ${missing[*]}" >&2
        exit 1
    fi
    root=(sudo)
fi

apt_install() {
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends -o Dpkg::Use-Pty=0 \
        -o DPkg::Lock::Timeout=300 "${missing[@]}"
}

# Tests run a Prometheus of their own.  The package brings a service as well:
# it is neither started here nor at the next boot.
policy=/usr/sbin/policy-rc.d

no_service() {
    if [ -e $policy ] || [[ " ${missing[*]} " != *' prometheus '* ]]; then
        policy=
        return 0
    fi

    printf '%s\n' '#!/bin/sh' 'case $1 in prometheus*) exit 101 ;; esac' |
        "${root[@]}" install -m 755 /dev/stdin $policy
}

end() {
    rm -f "$log"
    [ -z "$policy" ] || "${root[@]}" rm -f "$policy"
}

echo "Installing ${missing[*]}"
log=$(mktemp)
trap end EXIT
no_service

# a machine's package lists may be absent or older than the archive
if ! apt_install >"$log" 2>&1; then
    "${root[@]}" apt-get update -qq >>"$log" 2>&1 || true
    if ! apt_install >>"$log" 2>&1; then
        tail -n 15 "$log" >&2
        echo "nginx-llm: apt-get install ${missing[*]} failed" >&2
        exit 1
    fi
fi

if [[ " ${missing[*]} " == *' prometheus '* ]] && [ -d /run/systemd/system ]
then
    "${root[@]}" systemctl disable --now --quiet prometheus.service || true
fi
