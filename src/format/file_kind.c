/* See file_kind.h. */
#define _GNU_SOURCE
#include "format/file_kind.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "format/inflate.h"

/* ---- by name --------------------------------------------------------------------------------- */

static const struct {
    const char *ending;
    eq_file_kind kind;
    bool packed; /* may have .gz or .zst behind it */
} kinds[] = {
    {".txt", EQ_FILE_TEXT, true},    {".raw", EQ_FILE_TEXT, true},  {".jsonl", EQ_FILE_JSON, true},
    {".ndjson", EQ_FILE_JSON, true}, {".json", EQ_FILE_JSON, true}, {".npy", EQ_FILE_NPY, false},
    {".bin", EQ_FILE_BIN, false},
};

static bool ends(const char *path, size_t n, const char *ending) {
    size_t m = strlen(ending);
    return n >= m && !strncasecmp(path + n - m, ending, m);
}

eq_file eq_file_of(const char *path) {
    eq_file f = {.path = path, .name = path};
    size_t n = strlen(path);
    if (ends(path, n, ".gz")) f.packing = EQ_PACKED_GZ, n -= 3;
    if (f.packing == EQ_PACKED_NOT && ends(path, n, ".zst")) f.packing = EQ_PACKED_ZST, n -= 4;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (ends(path, n, kinds[i].ending) && (kinds[i].packed || f.packing == EQ_PACKED_NOT))
            f.kind = kinds[i].kind;
    return f;
}

eq_status eq_file_known(const eq_file *f, eq_err *err) {
    if (f->kind != EQ_FILE_UNKNOWN) return EQ_OK;
    bool parquet = ends(f->path, strlen(f->path), ".parquet");
    return eq_fail(err, EQ_EINPUT,
                   "%s: expected a name ending in .txt, .raw, .jsonl, .ndjson or .json, each also "
                   "with .gz or .zst behind it, or, for token ids, in .npy or .bin%s",
                   f->name,
                   parquet ? "; pandas makes a .jsonl of a .parquet: pd.read_parquet(FILE)"
                             ".to_json(\"data.jsonl\", orient=\"records\", lines=True)"
                           : "");
}

/* ---- standard input -------------------------------------------------------------------------- */

static eq_status copy_in(int to, eq_err *err) {
    char *buf = eq_calloc(1 << 18, 1);
    if (!buf) return eq_nomem(err, "standard input", 1 << 18);
    eq_status st = EQ_OK;
    for (;;) {
        ssize_t n = read(0, buf, 1 << 18), put = 0;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) st = eq_fail_errno(err, "standard input: cannot read");
        while (st == EQ_OK && put < n) {
            ssize_t k = write(to, buf + put, (size_t)(n - put));
            if (k < 0 && errno != EINTR)
                st = eq_fail_errno(err, "standard input: cannot write it to a file in /tmp");
            put += k > 0 ? k : 0;
        }
        if (st != EQ_OK || n <= 0) break;
    }
    eq_free(buf);
    return st;
}

static eq_status to_file(eq_err *err) {
    struct stat s;
    if (!fstat(0, &s) && S_ISREG(s.st_mode)) return EQ_OK;
    if (isatty(0))
        return eq_fail(err, EQ_EINPUT, "standard input: expected data, found a terminal");
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) return eq_fail_errno(err, "standard input: cannot make a file for it in /tmp");
    eq_status st = copy_in(fd, err);
    if (st == EQ_OK && dup2(fd, 0) < 0)
        st = eq_fail_errno(err, "standard input: cannot put a file in its place");
    close(fd);
    return st;
}

/* The first bytes, unpacked, are enough: JSON begins with a bracket. */
static eq_status look_inside(eq_file *f, eq_err *err) {
    eq_inflate *in;
    const char *p = "";
    int64_t n = 0, i = 0;
    EQ_TRY(eq_inflate_open(&in, f, 0, err));
    eq_status st = eq_inflate_next(in, &p, &n, err);
    if (st == EQ_OK && n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3)) i = 3;
    while (st == EQ_OK && i < n && strchr(" \t\r\n", p[i]) && p[i]) i++;
    f->kind = i < n && (p[i] == '{' || p[i] == '[') ? EQ_FILE_JSON : EQ_FILE_TEXT;
    if (f->packing == EQ_PACKED_NOT && n >= 6 && !memcmp(p, "\x93NUMPY", 6)) f->kind = EQ_FILE_NPY;
    eq_inflate_close(in);
    return st;
}

eq_status eq_file_stdin(eq_file *f, eq_err *err) {
    unsigned char head[4] = {0};
    *f = (eq_file){.path = "/dev/fd/0", .name = "standard input"};
    EQ_TRY(to_file(err));
    if (pread(0, head, 4, 0) < 0) return eq_fail_errno(err, "standard input: cannot read");
    if (head[0] == 0x1f && head[1] == 0x8b) f->packing = EQ_PACKED_GZ;
    if (!memcmp(head, "\x28\xb5\x2f\xfd", 4)) f->packing = EQ_PACKED_ZST;
    return look_inside(f, err);
}
