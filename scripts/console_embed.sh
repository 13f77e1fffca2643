#!/bin/sh
# The console's files as C: prints the header that ngx_http_llm_console.c
# includes.  nginx's make runs it, by the rule that config.make adds.
#
# usage: console_embed.sh FILE...
set -eu

echo "/* made by scripts/console_embed.sh from ngx_module/console/ */"

n=0

for file in "$@"; do
    printf '\nstatic const u_char  ngx_http_llm_console_%d[] = {\n' $n
    od -An -v -tu1 "$file" | sed 's/^ *//; s/ *$//; s/  */,/g; s/$/,/'
    echo '};'
    n=$((n + 1))
done

printf '\nstatic const ngx_http_llm_console_data_t  '
echo 'ngx_http_llm_console_data[] = {'

n=0

for file in "$@"; do
    name=${file##*/}

    case $name in
        *.html) type=text/html ;;
        *.css)  type=text/css ;;
        *.js)   type=text/javascript ;;
        *.svg)  type=image/svg+xml ;;
        *)      echo "console_embed.sh: no type for $name" >&2; exit 1 ;;
    esac

    printf '    { ngx_string("%s"), ngx_string("%s"),\n' "$name" "$type"
    printf '      { sizeof(ngx_http_llm_console_%d),\n' $n
    printf '        (u_char *) ngx_http_llm_console_%d } },\n' $n
    n=$((n + 1))
done

echo '};'
