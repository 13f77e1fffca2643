
/*
 * Copyright (C) nginx-llm contributors
 *
 * Directives and configuration.  Whatever can be wrong with a model, a
 * secret or a store is found here, in the master, before anything starts.
 */


#include "ngx_http_llm.h"


static ngx_int_t ngx_http_llm_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_llm_postconfiguration(ngx_conf_t *cf);
static void *ngx_http_llm_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_llm_init_main_conf(ngx_conf_t *cf, void *conf);
static void ngx_http_llm_wipe_secret(void *data);
static void *ngx_http_llm_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_llm_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_http_llm_merge_audit(ngx_conf_t *cf,
    ngx_http_llm_main_conf_t *mcf, ngx_http_llm_loc_conf_t *conf);
static char *ngx_http_llm_store_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_llm_secret_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_llm_auth_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_llm_pass(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_llm_admin_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_llm_time_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_conf_enum_t  ngx_http_llm_totp_names[] = {
    { ngx_string("enrolled"), 0 },
    { ngx_string("required"), 1 },
    { ngx_null_string, 0 }
};


static ngx_command_t  ngx_http_llm_commands[] = {

    { ngx_string("llm_store"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_http_llm_store_directive,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_secret"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_llm_secret_directive,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_key_max_age"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_llm_time_directive,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_llm_main_conf_t, max_age),
      NULL },

    { ngx_string("llm_totp"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_llm_main_conf_t, totp),
      ngx_http_llm_totp_names },

    { ngx_string("llm_audit"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF
                        |NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_llm_loc_conf_t, audit_said),
      NULL },

    { ngx_string("llm_audit_content"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF
                        |NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_llm_loc_conf_t, audit_content),
      NULL },

    { ngx_string("llm_audit_keep"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_llm_time_directive,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_llm_main_conf_t, audit_keep),
      NULL },

    { ngx_string("llm_notify"),
      NGX_HTTP_SRV_CONF|NGX_CONF_TAKE1,
      ngx_http_llm_notify_directive,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_admin"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_llm_admin_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_console"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_llm_console_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_metrics"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_llm_metrics_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_engine"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_http_llm_engine_block,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_auth"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF
                        |NGX_CONF_TAKE12,
      ngx_http_llm_auth_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_pass"),
      NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF|NGX_CONF_TAKE1,
      ngx_http_llm_pass,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_llm_module_ctx = {
    ngx_http_llm_preconfiguration,         /* preconfiguration */
    ngx_http_llm_postconfiguration,        /* postconfiguration */

    ngx_http_llm_create_main_conf,         /* create main configuration */
    ngx_http_llm_init_main_conf,           /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_llm_create_loc_conf,          /* create location configuration */
    ngx_http_llm_merge_loc_conf            /* merge location configuration */
};


ngx_module_t  ngx_http_llm_module = {
    NGX_MODULE_V1,
    &ngx_http_llm_module_ctx,              /* module context */
    ngx_http_llm_commands,                 /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_llm_init_module,              /* init module */
    ngx_http_llm_init_process,             /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_llm_exit_process,             /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_llm_preconfiguration(ngx_conf_t *cf)
{
    return ngx_http_llm_add_variables(cf);
}


static ngx_int_t
ngx_http_llm_postconfiguration(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_llm_access_handler;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_POST_READ_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_llm_notify_phase;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_POST_READ_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_llm_begin_handler;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_llm_log_handler;

    return NGX_OK;
}


static void *
ngx_http_llm_create_main_conf(ngx_conf_t *cf)
{
    ngx_pool_cleanup_t        *cln;
    ngx_http_llm_main_conf_t  *mcf;

    cln = ngx_pool_cleanup_add(cf->pool, sizeof(ngx_http_llm_main_conf_t));
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_http_llm_wipe_secret;

    mcf = cln->data;
    ngx_memzero(mcf, sizeof(ngx_http_llm_main_conf_t));

    mcf->max_age = NGX_CONF_UNSET;
    mcf->audit_keep = NGX_CONF_UNSET;
    mcf->totp = NGX_CONF_UNSET_UINT;

    if (ngx_array_init(&mcf->engines, cf->pool, 2, sizeof(llm_engine_conf_t))
        != NGX_OK)
    {
        return NULL;
    }

    return mcf;
}


static void
ngx_http_llm_wipe_secret(void *data)
{
    ngx_http_llm_main_conf_t  *mcf = data;

    llm_secret_close(mcf->secret);
    mcf->secret = NULL;
}


/*
 * Runs before the servers are merged, so whether keys are used at all is not
 * known yet: what is configured is checked, and the merge checks the rest.
 */

static char *
ngx_http_llm_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_llm_main_conf_t  *mcf = conf;

    char              err[LLM_ERRLEN];
    size_t            size;
    ngx_str_t         name;
    ngx_file_info_t   fi;

    ngx_conf_init_value(mcf->max_age, LLM_KEY_MAX_AGE);
    ngx_conf_init_value(mcf->audit_keep, LLM_AUDIT_KEEP);
    ngx_conf_init_uint_value(mcf->totp, 0);

    if (ngx_process == NGX_PROCESS_SIGNALLER) {
        return NGX_CONF_OK;
    }

    if (mcf->secret_source.len
        && llm_secret_open(&mcf->secret, (char *) mcf->secret_source.data,
                           err, sizeof(err))
           != LLM_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "llm_secret: %s", err);
        return NGX_CONF_ERROR;
    }

    if (mcf->store.len
        && (ngx_file_info(mcf->store.data, &fi) == NGX_FILE_ERROR
            || !ngx_is_dir(&fi)))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "llm_store: there is no store at \"%V\", make one "
                           "with \"llmctl init --store %V\"", &mcf->store,
                           &mcf->store);
        return NGX_CONF_ERROR;
    }

    if (mcf->notify && mcf->store.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"llm_notify\" needs the "
                           "directive \"llm_store\"");
        return NGX_CONF_ERROR;
    }

    if (mcf->store.len) {

        /* a store's own: old workers of another one must not write what these
         * count into theirs */

        name.len = sizeof("nginx-llm-quota:") - 1 + mcf->store.len;
        name.data = ngx_pnalloc(cf->pool, name.len);

        if (name.data == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memcpy(ngx_cpymem(name.data, "nginx-llm-quota:",
                              sizeof("nginx-llm-quota:") - 1),
                   mcf->store.data, mcf->store.len);

        size = llm_quota_size(NGX_HTTP_LLM_QUOTA_KEYS);

        mcf->quota_shm = ngx_shared_memory_add(cf, &name, size + size / 64
                                               + 64 * ngx_pagesize,
                                               &ngx_http_llm_module);
        if (mcf->quota_shm == NULL) {
            return NGX_CONF_ERROR;
        }

        mcf->quota_shm->init = ngx_http_llm_quota_init_zone;
    }

    if (ngx_http_llm_metrics_zone(cf, mcf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (mcf->engines.nelts == 0) {
        return NGX_CONF_OK;
    }

    ngx_str_set(&name, "nginx-llm");

    /* the slab pool's page table takes 24 of 4096 bytes */

    mcf->shm = ngx_shared_memory_add(cf, &name,
                                     sizeof(llm_zone_t)
                                     + sizeof(llm_zone_t) / 64
                                     + 64 * ngx_pagesize,
                                     &ngx_http_llm_module);
    if (mcf->shm == NULL) {
        return NGX_CONF_ERROR;
    }

    mcf->shm->init = ngx_http_llm_init_zone;

    return NGX_CONF_OK;
}


static void *
ngx_http_llm_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_llm_loc_conf_t  *lcf;

    lcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_llm_loc_conf_t));
    if (lcf == NULL) {
        return NULL;
    }

    lcf->auth = NGX_CONF_UNSET;
    lcf->role = NGX_CONF_UNSET_UINT;
    lcf->audit_said = NGX_CONF_UNSET;
    lcf->audit_content = NGX_CONF_UNSET;

    return lcf;
}


static char *
ngx_http_llm_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_llm_loc_conf_t  *prev = parent;
    ngx_http_llm_loc_conf_t  *conf = child;

    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_llm_main_conf_t  *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_llm_module);

    ngx_conf_merge_value(conf->auth, prev->auth, NGX_CONF_UNSET);
    ngx_conf_merge_uint_value(conf->role, prev->role, LLM_ROLE_USER);
    ngx_conf_merge_value(conf->audit_said, prev->audit_said, NGX_CONF_UNSET);
    ngx_conf_merge_value(conf->audit_content, prev->audit_content, 0);

    /* blocks of "if" and "limit_except" are part of their location */

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->engine.len == 0 && (clcf->noname || clcf->lmt_excpt)) {
        conf->engine = prev->engine;
        conf->engine_hash = prev->engine_hash;

        if (clcf->lmt_excpt && clcf->handler == NULL && conf->engine.len) {
            clcf->handler = ngx_http_llm_handler;
        }
    }

    if (!conf->admin && (clcf->noname || clcf->lmt_excpt)) {
        conf->admin = prev->admin;

        if (clcf->lmt_excpt && clcf->handler == NULL && conf->admin) {
            clcf->handler = ngx_http_llm_admin_handler;
        }
    }

    if (conf->console == NULL && (clcf->noname || clcf->lmt_excpt)) {
        conf->console = prev->console;

        if (clcf->lmt_excpt && clcf->handler == NULL && conf->console) {
            clcf->handler = ngx_http_llm_console_handler;
        }
    }

    if (conf->console && conf->auth == 1) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "\"llm_console\" behind \"llm_auth on\": a "
                           "browser that opens the page sends no API key; "
                           "say \"llm_auth off\" there, the page asks for "
                           "a key itself");
    }

    if (ngx_http_llm_metrics_merge(cf, prev, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    if (conf->admin && conf->auth != 1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"llm_admin\" needs \"llm_auth on\" in its "
                           "location or above it");
        return NGX_CONF_ERROR;
    }

    if (conf->engine.len && conf->auth == NGX_CONF_UNSET) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"llm_pass %V\" would be open to everybody: say "
                           "\"llm_auth on\", or \"llm_auth off\" if that is "
                           "meant", &conf->engine);
        return NGX_CONF_ERROR;
    }

    if (conf->auth == 1 && ngx_process != NGX_PROCESS_SIGNALLER) {

        if (mcf->store.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"llm_auth on\" needs the directive "
                               "\"llm_store\"");
            return NGX_CONF_ERROR;
        }

        if (mcf->secret_source.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"llm_auth on\" needs the directive "
                               "\"llm_secret\"");
            return NGX_CONF_ERROR;
        }
    }

    return ngx_http_llm_merge_audit(cf, mcf, conf);
}


/* on wherever keys or an engine are used, and there is a place for it */

static char *
ngx_http_llm_merge_audit(ngx_conf_t *cf, ngx_http_llm_main_conf_t *mcf,
    ngx_http_llm_loc_conf_t *conf)
{
    if (conf->audit_said == 0 || (conf->auth != 1 && conf->engine.len == 0)) {
        return NGX_CONF_OK;
    }

    if (mcf->store.len && mcf->secret_source.len) {
        conf->audit = 1;
        mcf->audited = 1;

        return NGX_CONF_OK;
    }

    if (conf->audit_said == 1 && ngx_process != NGX_PROCESS_SIGNALLER) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"llm_audit on\" needs the "
                           "directives \"llm_store\" and \"llm_secret\"");
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_llm_store_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_llm_main_conf_t  *mcf = conf;

    ngx_str_t  *value, s;

    value = cf->args->elts;

    if (mcf->store.len) {
        return "is duplicate";
    }

    mcf->store = value[1];

    if (value[1].len == 0
        || ngx_conf_full_name(cf->cycle, &mcf->store, 1) != NGX_OK)
    {
        return "has an invalid path";
    }

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (value[2].len < 6 || ngx_strncmp(value[2].data, "size=", 5) != 0) {
        goto invalid;
    }

    s.data = value[2].data + 5;
    s.len = value[2].len - 5;

    if (ngx_strlchr(s.data, s.data + s.len, '-') != NULL) {
        goto invalid;
    }

    mcf->store_size = (ssize_t) ngx_parse_offset(&s);

    if (mcf->store_size < 1024 * 1024) {
        goto invalid;
    }

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\": \"size=\" and 1m or more "
                       "are expected", &value[2]);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_llm_secret_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_llm_main_conf_t  *mcf = conf;

    ngx_str_t  *value, path;

    value = cf->args->elts;

    if (mcf->secret_source.len) {
        return "is duplicate";
    }

    if (value[1].len >= 7 && ngx_strncmp(value[1].data, "pkcs11:", 7) == 0) {
        mcf->secret_source = value[1];
        return NGX_CONF_OK;
    }

    path = value[1];

    if (path.len >= 5 && ngx_strncmp(path.data, "file:", 5) == 0) {
        path.data += 5;
        path.len -= 5;
    }

    if (path.len == 0) {
        return "needs \"file:\" and a path";
    }

    if (ngx_conf_full_name(cf->cycle, &path, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    mcf->secret_source = path;

    return NGX_CONF_OK;
}


static char *
ngx_http_llm_auth_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_llm_loc_conf_t  *lcf = conf;

    ngx_str_t  *value;

    value = cf->args->elts;

    if (lcf->auth != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    if (ngx_strcasecmp(value[1].data, (u_char *) "on") == 0) {
        lcf->auth = 1;

    } else if (ngx_strcasecmp(value[1].data, (u_char *) "off") == 0) {
        lcf->auth = 0;

    } else {
        return "takes \"on\" or \"off\"";
    }

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (value[2].len > 5 && ngx_strncmp(value[2].data, "role=", 5) == 0) {
        lcf->role = llm_role_parse((char *) value[2].data + 5,
                                   value[2].len - 5);

        if (lcf->role != LLM_ROLE_NONE) {
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\": role=user, role=operator "
                       "or role=admin is expected", &value[2]);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_llm_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_llm_loc_conf_t  *lcf = conf;

    ngx_str_t                 *value;
    ngx_uint_t                 i;
    llm_engine_conf_t         *ec;
    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_llm_main_conf_t  *mcf;

    if (lcf->engine.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_llm_module);
    ec = mcf->engines.elts;

    for (i = 0; i < mcf->engines.nelts; i++) {
        if (ngx_strcmp(ec[i].name, value[1].data) == 0) {
            break;
        }
    }

    if (i == mcf->engines.nelts) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "there is no llm_engine \"%V\" before this "
                           "llm_pass", &value[1]);
        return NGX_CONF_ERROR;
    }

    lcf->engine = value[1];
    lcf->engine_hash = llm_engine_hash((char *) value[1].data, value[1].len);

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_llm_handler;

    return NGX_CONF_OK;
}


static char *
ngx_http_llm_admin_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_llm_loc_conf_t  *lcf = conf;

    ngx_http_core_loc_conf_t  *clcf;

    if (lcf->admin) {
        return "is duplicate";
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

#if (NGX_PCRE)
    if (clcf->regex) {
        return "needs a location by prefix: what follows it is the path";
    }
#endif

    lcf->admin = 1;
    clcf->handler = ngx_http_llm_admin_handler;

    return NGX_CONF_OK;
}


/* seconds, 0 for "off" */

static char *
ngx_http_llm_time_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    time_t  *time = (time_t *) ((char *) conf + cmd->offset);

    ngx_str_t  *value;

    value = cf->args->elts;

    if (*time != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {
        *time = 0;
        return NGX_CONF_OK;
    }

    *time = ngx_parse_time(&value[1], 1);

    if (*time == (time_t) NGX_ERROR || *time == 0) {
        return "takes a time, like \"90d\", or \"off\"";
    }

    return NGX_CONF_OK;
}
