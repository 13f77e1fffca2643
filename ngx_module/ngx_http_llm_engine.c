
/*
 * Copyright (C) nginx-llm contributors
 *
 * The block of llm_engine: a model and how to run it.
 */


#include "ngx_http_llm.h"


static char *ngx_http_llm_engine_param(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf);
static char *ngx_http_llm_engine_model(ngx_conf_t *cf, ngx_str_t *value,
    llm_engine_conf_t *ec);
static char *ngx_http_llm_engine_device(ngx_conf_t *cf, ngx_str_t *value,
    llm_engine_conf_t *ec);
static char *ngx_http_llm_engine_number(ngx_conf_t *cf, ngx_str_t *value,
    int *field, ngx_int_t min, ngx_int_t max);


char *
ngx_http_llm_engine_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_llm_main_conf_t  *mcf = conf;

    char               *rv, err[LLM_ERRLEN];
    ngx_str_t          *value;
    ngx_uint_t          i;
    ngx_conf_t          save;
    llm_engine_conf_t  *ec;

    value = cf->args->elts;
    ec = mcf->engines.elts;

    for (i = 0; i < mcf->engines.nelts; i++) {
        if (ngx_strcmp(ec[i].name, value[1].data) == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate llm_engine \"%V\"", &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    if (mcf->engines.nelts == LLM_ZONE_ENGINES) {
        return "is given too often";
    }

    if (value[1].len == 0 || value[1].len >= sizeof(ec->name)) {
        return "needs a name of 1 to 63 characters";
    }

    for (i = 0; i < value[1].len; i++) {
        if (value[1].data[i] <= 0x20 || value[1].data[i] >= 0x7f
            || value[1].data[i] == '"' || value[1].data[i] == '\\'
            || value[1].data[i] == ':')
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid llm_engine name \"%V\"", &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    ec = ngx_array_push(&mcf->engines);
    if (ec == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(ec, sizeof(llm_engine_conf_t));
    ngx_memcpy(ec->name, value[1].data, value[1].len);

    ec->max_batch = 32;
    ec->queue = 256;
    ec->kv_cache = (uint64_t) 1 << 32;

    save = *cf;
    cf->handler = ngx_http_llm_engine_param;
    cf->handler_conf = (void *) ec;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ec->model[0] == '\0') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "llm_engine \"%s\" has no \"model\"", ec->name);
        return NGX_CONF_ERROR;
    }

    if (ngx_process != NGX_PROCESS_SIGNALLER
        && llm_engine_check(ec, err, sizeof(err)) != LLM_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "llm_engine \"%s\": %s",
                           ec->name, err);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_llm_engine_param(ngx_conf_t *cf, ngx_command_t *dummy, void *conf)
{
    llm_engine_conf_t  *ec = conf;

    off_t       size;
    ngx_str_t  *value;

    value = cf->args->elts;

    if (cf->args->nelts != 2) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of arguments in \"%V\"",
                           &value[0]);
        return NGX_CONF_ERROR;
    }

    if (ngx_strcmp(value[0].data, "model") == 0) {
        return ngx_http_llm_engine_model(cf, &value[1], ec);
    }

    if (ngx_strcmp(value[0].data, "device") == 0) {
        return ngx_http_llm_engine_device(cf, &value[1], ec);
    }

    if (ngx_strcmp(value[0].data, "quantize") == 0) {
        if (ngx_strcmp(value[1].data, "none") == 0) {
            return NGX_CONF_OK;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "quantize \"%V\" is not supported by this "
                           "version, only \"none\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (ngx_strcmp(value[0].data, "threads") == 0) {
        if (ngx_strcmp(value[1].data, "auto") == 0) {
            ec->threads = 0;
            return NGX_CONF_OK;
        }

        return ngx_http_llm_engine_number(cf, value, &ec->threads, 1, 512);
    }

    if (ngx_strcmp(value[0].data, "context") == 0) {
        return ngx_http_llm_engine_number(cf, value, &ec->context, 16,
                                          1024 * 1024);
    }

    if (ngx_strcmp(value[0].data, "max_batch") == 0) {
        return ngx_http_llm_engine_number(cf, value, &ec->max_batch, 1,
                                          LLM_BATCH_MAX);
    }

    if (ngx_strcmp(value[0].data, "queue") == 0) {
        return ngx_http_llm_engine_number(cf, value, &ec->queue, 0,
                                          LLM_ZONE_SLOTS);
    }

    if (ngx_strcmp(value[0].data, "kv_cache") == 0) {
        size = ngx_parse_offset(&value[1]);

        if (size < 64 * 1024) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid kv_cache \"%V\": a size of 64k or "
                               "more is expected", &value[1]);
            return NGX_CONF_ERROR;
        }

        ec->kv_cache = (uint64_t) size;

        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown parameter \"%V\" in llm_engine: model, "
                       "device, quantize, context, max_batch, kv_cache, "
                       "threads, queue are known", &value[0]);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_llm_engine_model(ngx_conf_t *cf, ngx_str_t *value,
    llm_engine_conf_t *ec)
{
    ngx_str_t  path;

    path = *value;

    if (path.len == 0 || ngx_conf_full_name(cf->cycle, &path, 1) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid model path");
        return NGX_CONF_ERROR;
    }

    if (path.len >= sizeof(ec->model)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the model path \"%V\" is too long", value);
        return NGX_CONF_ERROR;
    }

    ngx_memzero(ec->model, sizeof(ec->model));
    ngx_memcpy(ec->model, path.data, path.len);

    return NGX_CONF_OK;
}


static char *
ngx_http_llm_engine_device(ngx_conf_t *cf, ngx_str_t *value,
    llm_engine_conf_t *ec)
{
    if (ngx_strcmp(value->data, "auto") == 0) {
        ec->device = LLK_DEVICE_AUTO;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value->data, "cpu") == 0) {
        ec->device = LLK_DEVICE_CPU;
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value->data, "cuda", 4) == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "device \"%V\": this build has no CUDA back end, "
                           "use \"auto\" or \"cpu\"", value);
        return NGX_CONF_ERROR;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid device \"%V\": \"auto\" and \"cpu\" are "
                       "known", value);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_llm_engine_number(ngx_conf_t *cf, ngx_str_t *value, int *field,
    ngx_int_t min, ngx_int_t max)
{
    ngx_int_t  n;

    n = ngx_atoi(value[1].data, value[1].len);

    if (n == NGX_ERROR || n < min || n > max) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid %V \"%V\": a number from %i to %i is "
                           "expected", &value[0], &value[1], min, max);
        return NGX_CONF_ERROR;
    }

    *field = (int) n;

    return NGX_CONF_OK;
}
