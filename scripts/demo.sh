#!/usr/bin/env bash
# The demo: builds what is missing, makes a key store and an admin key, starts
# nginx with the demo model on 127.0.0.1, and streams one answer.  Everything
# lies in build/demo; a second run finds it there and keeps the key.
#
# environment: PORT, NGINX_BIN, B (the build folder)
set -euo pipefail

cd "$(dirname "$0")/.."
B=${B:-build}
PORT=${PORT:-8080}
NGINX_BIN=${NGINX_BIN:-nginx}
PATH=$PATH:/usr/sbin
unset NGINX             # nginx takes it for a binary upgrade's

demo=$PWD/build/demo
module=$PWD/$B/ngx_http_llm_module.so
llmctl=$PWD/$B/llmctl
url=http://127.0.0.1:$PORT

case $PORT in
    ''|*[!0-9]*) echo "nginx-llm: PORT=$PORT is not a port" >&2; exit 1 ;;
esac

mkdir -p "$demo/tmp"
chmod 700 "$demo"


# the store, the secret and the admin key, once

if [ ! -s "$demo/key" ] || [ ! -d "$demo/store" ]; then
    rm -rf "$demo/store" "$demo/secret" "$demo/key"
    "$llmctl" init --store "$demo/store" --secret "file:$demo/secret" \
        >/dev/null
    (
        umask 077
        "$llmctl" key create --store "$demo/store" \
            --secret "file:$demo/secret" --client demo --role admin \
            >"$demo/key.new"
        grep -oE 'sk-[0-9a-f]{72}' "$demo/key.new" >"$demo/key"
        rm -f "$demo/key.new"
    )
fi


# the configuration

user=
# helper and workers must read what root made in build/demo
[ "$(id -u)" = 0 ] && user="user root;"

cat >"$demo/nginx.conf.new" <<END
# Written by scripts/demo.sh.  conf.example is the one to start from.
$user
load_module $module;
worker_processes 2;
pid $demo/nginx.pid;
error_log $demo/error.log notice;

events {
    worker_connections 512;
}

http {
    access_log $demo/access.log;
    client_body_temp_path $demo/tmp/body;
    proxy_temp_path $demo/tmp/proxy;
    fastcgi_temp_path $demo/tmp/fastcgi;
    uwsgi_temp_path $demo/tmp/uwsgi;
    scgi_temp_path $demo/tmp/scgi;

    llm_store $demo/store;
    llm_secret file:$demo/secret;

    llm_engine demo {
        model $PWD/t/models/demo;
    }

    server {
        listen 127.0.0.1:$PORT;
        client_max_body_size 16m;

        location /v1/ {
            llm_auth on;
            llm_pass demo;
        }

        location /admin/ {
            llm_auth on;
            llm_admin;
        }

        location /console/ {
            llm_console;
        }

        location = /metrics {
            llm_auth on;
            llm_metrics;
        }

        location = /healthz {
            llm_auth off;
            llm_pass demo;
        }

        location = /readyz {
            llm_auth off;
            llm_pass demo;
        }
    }
}
END


# nginx, unless this very demo runs already

pid=$(cat "$demo/nginx.pid" 2>/dev/null || true)

running() {
    [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null &&
        grep -qa "$demo" "/proc/$pid/cmdline" 2>/dev/null
}

if running && cmp -s "$demo/nginx.conf.new" "$demo/nginx.conf" &&
    [ "$module" -ot "$demo/nginx.pid" ]
then
    rm "$demo/nginx.conf.new"
else
    if running; then
        B=$B scripts/demo_stop.sh >/dev/null
    fi

    if (: <"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then
        echo "nginx-llm: port $PORT on 127.0.0.1 is in use by another" \
             "program; choose another: make demo PORT=$((PORT + 1))" >&2
        exit 1
    fi

    mv "$demo/nginx.conf.new" "$demo/nginx.conf"
    : >"$demo/error.log"

    if ! "$NGINX_BIN" -p "$demo" -c "$demo/nginx.conf" 2>"$demo/start.log"; then
        cat "$demo/start.log" >&2
        echo "nginx-llm: nginx did not start" >&2
        exit 1
    fi
fi

for ((i = 0; ; i++)); do
    curl -fs -o /dev/null --max-time 2 "$url/readyz" && break
    if [ "$i" -ge 100 ]; then
        tail -n 10 "$demo/error.log" >&2
        echo "nginx-llm: the demo model is not ready on $url/readyz;" \
             "see $demo/error.log" >&2
        exit 1
    fi
    sleep 0.1
done


question='What is nginx-llm?'
key=$(cat "$demo/key")

printf '\n> %s\n\n' "$question"
perl scripts/chat.pl "$url/v1/chat/completions" demo "$question" <"$demo/key"

cat <<END

nginx-llm is running on $url with the demo model.

  console           $url/console/
  API key (admin)   $key
  kept in           $demo/key

  curl -N $url/v1/chat/completions \\
      -H 'Authorization: Bearer $key' \\
      -H 'Content-Type: application/json' \\
      -d '{"model":"demo","stream":true,"messages":[{"role":"user","content":"Hello!"}]}'

A key for somebody else, with 60 requests a minute:

  curl $url/admin/keys -H 'Authorization: Bearer $key' \\
      -d '{"client":"alice","role":"user","requests_per_minute":60}'

END

echo "Stop it with: make demo-stop"
