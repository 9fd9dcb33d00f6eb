/* Token ids of text, for comparison with another tokenizer and for measuring.
 *
 * usage: tokenize [-0lsbdk] [-p N] [-r N] TOKENIZER [FILE]
 *   -0  the input is many texts, separated by NUL characters
 *   -l  the input is many texts, each led by its length in decimal and a newline
 *   -s  add the template's special tokens       -b  write binary int32 (count, ids) per text
 *   -d  decode again and write that instead     -k  leave special tokens out when decoding
 *   -p N  encode in parts of N bytes (whole characters of UTF-8), with -s
 *   -r N  encode N times and write the best MB/s of processor time to stderr */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "text/tokenizer_text.h"

typedef struct {
    bool nul, lengths, special, binary, decode, skip;
    long repeat, part;
    const char *tokenizer, *file;
} options;

static int die(const eq_err *err) {
    fprintf(stderr, "tokenize: %s\n", err->msg);
    return 1;
}

static int parse(options *o, int argc, char **argv) {
    int c;
    while ((c = getopt(argc, argv, "0lsbdkp:r:")) != -1) switch (c) {
        case '0':
            o->nul = true;
            break;
        case 'l':
            o->lengths = true;
            break;
        case 's':
            o->special = true;
            break;
        case 'b':
            o->binary = true;
            break;
        case 'd':
            o->decode = true;
            break;
        case 'k':
            o->skip = true;
            break;
        case 'p':
            o->part = strtol(optarg, NULL, 10);
            break;
        case 'r':
            o->repeat = strtol(optarg, NULL, 10);
            break;
        default:
            return 2;
        }
    if (optind >= argc || argc - optind > 2) {
        fprintf(stderr, "usage: tokenize [-0lsbdk] [-p N] [-r N] TOKENIZER [FILE]\n");
        return 2;
    }
    o->tokenizer = argv[optind];
    o->file = argv[optind + 1];
    return 0;
}

/* Seconds of processor time, which other programs on the machine do not lengthen. */
static double cpu_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void slurp(eq_str *s) {
    char buf[65536];
    size_t n;
    while ((n = fread(buf, 1, sizeof buf, stdin)) > 0) eq_str_put(s, buf, (int64_t)n);
}

static void write_ids(const options *o, const int32_t *ids, int64_t n) {
    if (o->binary) {
        int32_t count = (int32_t)n;
        fwrite(&count, 4, 1, stdout);
        if (n) fwrite(ids, 4, (size_t)n, stdout);
        return;
    }
    for (int64_t i = 0; i < n; i++) printf(i ? " %d" : "%d", ids[i]);
    printf("\n");
}

static eq_status encode(const options *o, const eq_tokenizer *t, eq_ids *ids, const char *s,
                        int64_t n, eq_err *err) {
    if (!o->part) return eq_encode(t, ids, s, n, o->special, err);
    eq_encoder *e = eq_encoder_new(t);
    eq_ids more = {0};
    eq_status st = e ? EQ_OK : EQ_ENOMEM;
    for (bool last = false; !last && st == EQ_OK;) {
        int64_t k = o->part < n ? o->part : n;
        while (k < n && ((unsigned char)s[k] & 0xc0) == 0x80) k++;
        last = k == n;
        st = eq_encoder_put(e, &more, s, k, last, err);
        s += k, n -= k;
    }
    eq_encoder_free(e);
    eq_ids_free(ids);
    *ids = more;
    return st;
}

static eq_status one(const options *o, const eq_tokenizer *t, const char *s, int64_t n,
                     eq_err *err) {
    eq_ids ids = {0};
    eq_str text = {0};
    eq_status st = encode(o, t, &ids, s, n, err);
    double best = 1e9;
    for (long r = 0; r < o->repeat && st == EQ_OK; r++) {
        double t0 = cpu_now();
        ids.n = 0;
        st = eq_encode(t, &ids, s, n, o->special, err);
        if (cpu_now() - t0 < best) best = cpu_now() - t0;
    }
    if (o->repeat) fprintf(stderr, "%.2f MB/s\n", (double)n / best / 1e6);
    if (st == EQ_OK && o->decode) {
        st = eq_decode_text(t, ids.p, ids.n, o->skip, &text, err);
        if (o->lengths) printf("%lld\n", (long long)text.n);
        fwrite(text.p, 1, (size_t)text.n, stdout);
        if (o->nul) putchar(0);
    } else if (st == EQ_OK && !o->repeat)
        write_ids(o, ids.p, ids.n);
    eq_str_free(&text);
    eq_ids_free(&ids);
    return st;
}

static eq_status all(const options *o, const eq_tokenizer *t, const char *s, int64_t n,
                     eq_err *err) {
    if (!o->nul && !o->lengths) return one(o, t, s, n, err);
    while (n > 0) {
        int64_t len, step;
        if (o->lengths) {
            char *end;
            len = strtoll(s, &end, 10);
            n -= end + 1 - s, s = end + 1;
            if (len < 0 || len > n)
                return eq_fail(err, EQ_EINPUT, "a length beyond the end of the input");
            step = len;
        } else {
            const char *z = memchr(s, 0, (size_t)n);
            len = z ? z - s : n;
            step = z ? len + 1 : len;
        }
        EQ_TRY(one(o, t, s, len, err));
        s += step, n -= step;
    }
    return EQ_OK;
}

int main(int argc, char **argv) {
    options o = {0};
    eq_err err = {0};
    eq_tokenizer *t;
    eq_map m = {0};
    eq_str in = {0};
    int rc = parse(&o, argc, argv);
    if (rc) return rc;
    if (eq_tokenizer_open(&t, o.tokenizer, &err) != EQ_OK) return die(&err);
    if (o.file && eq_map_open(&m, o.file, &err) != EQ_OK) rc = die(&err);
    if (!o.file) slurp(&in);
    if (!rc &&
        all(&o, t, o.file ? (const char *)m.data : in.p, o.file ? m.size : in.n, &err) != EQ_OK)
        rc = die(&err);
    if (o.file && m.data) eq_map_close(&m);
    eq_str_free(&in);
    eq_tokenizer_close(t);
    return rc;
}
