
# Appended to nginx's objs/Makefile: flags for our files only.  Variables of a
# target, so that nginx and other modules keep theirs.
#
# -fvisibility=hidden: the module shares its process with nginx and others.
#     What nginx looks up (ngx_modules, ngx_module_names, ngx_module_order) is
#     in objs/ngx_http_llm_module_modules.c, which is not ours: it stays
#     visible, and nothing else is.
# -O3 for the kernels only, whatever nginx was configured with.  They take
#     their instruction sets from target attributes, no flag is needed.

llm_flags() {               # folder, flags
    for llm_src in $llm_srcs; do
        case "$llm_src" in
            $ngx_addon_dir/$1*)
                llm_obj="addon/`basename \`dirname $llm_src\``"
                llm_obj="$llm_obj/`basename $llm_src .c`.$ngx_objext"
                echo "$NGX_OBJS/$llm_obj: CFLAGS += $2"
            ;;
        esac
    done                                                  >> $NGX_MAKEFILE
}

llm_flags "" "-D_GNU_SOURCE -O2 -Wextra -Wno-unused-parameter -fvisibility=hidden $NGX_LLM_CC_OPT"
llm_flags "kernels/" "-O3"


# the console's files are a header in $NGX_OBJS, which nginx's own -I has

llm_console=`ls $ngx_addon_dir/ngx_module/console/*.html \
                $ngx_addon_dir/ngx_module/console/*.css \
                $ngx_addon_dir/ngx_module/console/*.js \
                $ngx_addon_dir/ngx_module/console/*.svg 2>/dev/null | tr '\n' ' '`

llm_embed="$ngx_addon_dir/scripts/console_embed.sh"
llm_header="$NGX_OBJS/ngx_http_llm_console_data.h"

cat << END                                                >> $NGX_MAKEFILE

$NGX_OBJS/addon/ngx_module/ngx_http_llm_console.$ngx_objext: $llm_header

$llm_header: $llm_console $llm_embed
	sh $llm_embed $llm_console > \$@.part
	mv \$@.part \$@

END
