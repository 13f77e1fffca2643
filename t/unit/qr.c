
/*
 * Copyright (C) nginx-llm contributors
 *
 * QR codes on a terminal: what is printed is read back, module by module, and
 * by zbarimg where there is one.
 */


#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../ngx_module/ctl/llmctl_qr.c"
#include "tap.h"


#define MAX     (177 + 2 * LLMCTL_QR_QUIET + 1)
#define SCALE   4               /* pixels a module, for zbarimg */
#define BORDER  8               /* modules */


typedef struct {
    int   width, height;
    char  dark[MAX][MAX];
} image_t;


static char  message[256];


/* llmctl.c's prints it */

int
llmctl_error(int rc, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);

    return rc;
}


/* a line of half blocks into two of the image; 0: it is malformed */

static int
halves(image_t *im, const char *p, const char *end)
{
    int      x, y;
    size_t   begin, reset;

    begin = strlen(LLMCTL_QR_BEGIN);
    reset = strlen(LLMCTL_QR_END);

    if ((size_t) (end - p) < begin + reset
        || memcmp(p, LLMCTL_QR_BEGIN, begin) != 0
        || memcmp(end - reset, LLMCTL_QR_END, reset) != 0)
    {
        return 0;
    }

    p += begin;
    end -= reset;
    y = im->height;
    im->height += 2;

    for (x = 0; p < end && x < MAX; x++) {

        if (*p == ' ') {
            p++;
            continue;
        }

        if (end - p < 3 || memcmp(p, "\xe2\x96", 2) != 0) {
            return 0;
        }

        im->dark[y][x] = p[2] == '\x80' || p[2] == '\x88';
        im->dark[y + 1][x] = p[2] == '\x84' || p[2] == '\x88';
        p += 3;
    }

    im->width = x;

    return p == end;
}


static int
hashes(image_t *im, const char *p, const char *end)
{
    int  x, y;

    y = im->height++;

    for (x = 0; end - p >= 2 && x < MAX; x++, p += 2) {

        if (p[0] != p[1] || (p[0] != ' ' && p[0] != '#')) {
            return 0;
        }

        im->dark[y][x] = p[0] == '#';
    }

    im->width = x;

    return p == end;
}


static int
print(image_t *im, const char *text, int ascii)
{
    int      rc, good;
    FILE    *f;
    char    *out, *p, *end;
    size_t   len;

    memset(im, 0, sizeof(*im));
    message[0] = '\0';
    out = NULL;

    f = open_memstream(&out, &len);
    if (f == NULL) {
        return 0;
    }

    rc = llmctl_qr(f, text, ascii);
    fclose(f);

    good = rc == LLMCTL_OK;

    for (p = out; good && p < out + len; p = end + 1) {
        end = memchr(p, '\n', (size_t) (out + len - p));

        good = end != NULL && im->height + 2 <= MAX
               && (ascii ? hashes(im, p, end) : halves(im, p, end));
    }

    free(out);

    return good;
}


/* the code's modules, and light ones around them */

static int
same(const image_t *im, const char *text)
{
    int      x, y, good, inside, dark;
    QRcode  *qr;

    qr = QRcode_encodeString(text, 0, QR_ECLEVEL_L, QR_MODE_8, 1);
    if (qr == NULL) {
        return 0;
    }

    good = im->width == qr->width + 2 * LLMCTL_QR_QUIET
           && im->height >= im->width && im->height <= im->width + 1;

    for (y = 0; good && y < im->height; y++) {

        for (x = 0; x < im->width; x++) {
            inside = y >= LLMCTL_QR_QUIET && y < LLMCTL_QR_QUIET + qr->width
                     && x >= LLMCTL_QR_QUIET
                     && x < LLMCTL_QR_QUIET + qr->width;

            dark = inside ? qr->data[(y - LLMCTL_QR_QUIET) * qr->width
                                     + x - LLMCTL_QR_QUIET] & 1 : 0;

            good &= im->dark[y][x] == dark;
        }
    }

    QRcode_free(qr);

    return good;
}


static int
light(const image_t *im, int y, int x)
{
    return x >= 0 && x < im->width && y >= 0 && y < im->height
           && !im->dark[y][x];
}


static int
has_zbarimg(void)
{
    return system("command -v zbarimg >/dev/null 2>&1") == 0;
}


/* what zbarimg reads in it, on a black screen */

static int
decoded(const image_t *im, const char *text)
{
    int      x, y, fd, width, height;
    char     name[] = "/tmp/qr_XXXXXX", command[128], *out;
    FILE    *f;
    size_t   len;

    fd = mkstemp(name);
    f = fd == -1 ? NULL : fdopen(fd, "w");
    if (f == NULL) {
        return 0;
    }

    width = im->width + 2 * BORDER;
    height = im->height + 2 * BORDER;

    fprintf(f, "P5 %d %d 255\n", width * SCALE, height * SCALE);

    for (y = 0; y < height * SCALE; y++) {
        for (x = 0; x < width * SCALE; x++) {
            putc(light(im, y / SCALE - BORDER, x / SCALE - BORDER) ? 255 : 0,
                 f);
        }
    }

    fclose(f);

    len = strlen(text);
    out = calloc(1, len + 2);

    snprintf(command, sizeof(command), "zbarimg --raw -q %s 2>/dev/null",
             name);
    f = out ? popen(command, "r") : NULL;

    if (f != NULL) {
        x = fread(out, 1, len + 1, f) == len + 1
            && memcmp(out, text, len) == 0 && out[len] == '\n';
        pclose(f);

    } else {
        x = 0;
    }

    unlink(name);
    free(out);

    return x;
}


int
main(void)
{
    int       i, ascii, zbar;
    char      text[4001];
    FILE     *full;
    image_t   im;

    static const size_t  lens[] = { 1, 17, 18, 100, 154, 155, 1000, 2953 };

    static const char  uri[] =
        "otpauth://totp/nginx-llm:alice?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3"
        "PXP&issuer=nginx-llm&algorithm=SHA1&digits=6&period=30";

    zbar = has_zbarimg();

    for (ascii = 0; ascii < 2; ascii++) {
        ok(print(&im, uri, ascii) && same(&im, uri), "an otpauth URI%s",
           ascii ? ", ASCII" : "");

        if (!ascii) {
            ok(im.width <= 80 && im.height / 2 < 24,
               "fits a terminal: %d columns, %d lines", im.width,
               im.height / 2);
        }

        if (zbar) {
            ok(decoded(&im, uri), "zbarimg reads it");

        } else {
            skip(1, "no zbarimg (zbar-tools)");
        }

        for (i = 0; i < (int) (sizeof(lens) / sizeof(lens[0])); i++) {
            memset(text, 'a', lens[i]);
            text[lens[i]] = '\0';
            ok(print(&im, text, ascii) && same(&im, text), "%zu bytes",
               lens[i]);
        }
    }

    memset(text, 'a', 4000);
    text[4000] = '\0';
    ok(!print(&im, text, 0) && strstr(message, "too long"), "too long: %s",
       message);
    ok(!print(&im, "", 0) && strstr(message, "no text"), "empty: %s",
       message);

    full = fopen("/dev/full", "w");

    if (full != NULL) {
        ok(llmctl_qr(full, uri, 0) == LLMCTL_FAILED
           && strstr(message, "write"), "no room: %s", message);
        fclose(full);

    } else {
        skip(1, "no /dev/full");
    }

    return done();
}
