
/*
 * Copyright (C) nginx-llm contributors
 *
 * A text as a QR code on a terminal, for a phone to read.  Level L: a screen
 * has no scratches, and the code of a long text fits.
 */


#include <errno.h>
#include <string.h>

#include <openssl/crypto.h>
#include <qrencode.h>

#include "llmctl.h"


/* light modules around it.  The standard says 4; readers do with 2, and so a
 * code of 134 bytes has 23 lines, for a terminal of 24 */
#define LLMCTL_QR_QUIET  2


/*
 * Black on white, whatever the terminal's colours are: 107 is a brighter white
 * than 47 where it is known.  They end with each line, or some terminals paint
 * the rest of it.
 */
#define LLMCTL_QR_BEGIN  "\033[0;30;47;107m"
#define LLMCTL_QR_END    "\033[0m"


static void llmctl_qr_halves(FILE *f, const QRcode *qr);
static void llmctl_qr_ascii(FILE *f, const QRcode *qr);
static int llmctl_qr_dark(const QRcode *qr, int y, int x);


int
llmctl_qr(FILE *f, const char *text, int ascii)
{
    QRcode  *qr;

    qr = QRcode_encodeString(text, 0, QR_ECLEVEL_L, QR_MODE_8, 1);

    if (qr == NULL) {
        return llmctl_error(LLMCTL_FAILED, "QR code: %s",
                            errno == ERANGE ? "the text is too long"
                            : errno == ENOMEM ? "no memory"
                            : "no text");
    }

    if (ascii) {
        llmctl_qr_ascii(f, qr);

    } else {
        llmctl_qr_halves(f, qr);
    }

    /* the text may be a secret, and the modules are the text */

    OPENSSL_cleanse(qr->data, (size_t) qr->width * (size_t) qr->width);
    QRcode_free(qr);

    if (fflush(f) != 0 || ferror(f)) {
        return llmctl_error(LLMCTL_FAILED, "QR code: write: %s",
                            strerror(errno));
    }

    return LLMCTL_OK;
}


/* a character is two modules, one above the other: a cell of a terminal is
 * about twice as high as wide */

static void
llmctl_qr_halves(FILE *f, const QRcode *qr)
{
    int  x, y, end;

    static const char *const  halves[] = {
        " ",
        "\xe2\x96\x80",         /* the upper is dark */
        "\xe2\x96\x84",         /* the lower */
        "\xe2\x96\x88"
    };

    end = qr->width + LLMCTL_QR_QUIET;

    for (y = -LLMCTL_QR_QUIET; y < end; y += 2) {
        (void) fputs(LLMCTL_QR_BEGIN, f);

        for (x = -LLMCTL_QR_QUIET; x < end; x++) {
            (void) fputs(halves[llmctl_qr_dark(qr, y, x)
                                + 2 * llmctl_qr_dark(qr, y + 1, x)], f);
        }

        (void) fputs(LLMCTL_QR_END "\n", f);
    }
}


/* a module is two characters: reads well in black on white */

static void
llmctl_qr_ascii(FILE *f, const QRcode *qr)
{
    int  x, y, end;

    end = qr->width + LLMCTL_QR_QUIET;

    for (y = -LLMCTL_QR_QUIET; y < end; y++) {

        for (x = -LLMCTL_QR_QUIET; x < end; x++) {
            (void) fputs(llmctl_qr_dark(qr, y, x) ? "##" : "  ", f);
        }

        (void) fputc('\n', f);
    }
}


static int
llmctl_qr_dark(const QRcode *qr, int y, int x)
{
    if (y < 0 || y >= qr->width || x < 0 || x >= qr->width) {
        return 0;
    }

    return qr->data[y * qr->width + x] & 1;
}
