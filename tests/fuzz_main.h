/* What every fuzzer shares. With -DEQ_LIBFUZZER the file is linked to libFuzzer, else it has a
 * plain main: argv[1] is a folder of seeds, each is replayed and then changed some hundred times in
 * ways that depend on nothing but the seed's place in the folder, so a failure can be had again. A
 * fuzzer includes this file and defines LLVMFuzzerTestOneInput, which must not crash, must free
 * what it takes, and checks by itself what has to hold. */
#ifndef TESTS_FUZZ_MAIN_H
#define TESTS_FUZZ_MAIN_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/rng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold, also in builds without assert. */
#define FUZZ_CHECK(x) \
    do { \
        if (!(x)) fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x), abort(); \
    } while (0)

/* A failed call says so in one line. */
static inline void fuzz_check_error(const eq_err *err) {
    FUZZ_CHECK(err->status != EQ_OK && err->msg[0] && !strchr(err->msg, '\n'));
}

static char fuzz_dir[64];
static void fuzz_remove(void) { eq_remove_tree(fuzz_dir, NULL); }

/* dir/name holding these bytes; the same name is written over. */
static inline const char *fuzz_file(const char *name, const void *data, size_t size) {
    static char path[4][128];
    static int at;
    if (!fuzz_dir[0]) {
        /* thousands of small files: in memory where that can be had */
        snprintf(fuzz_dir, sizeof fuzz_dir, "%s/eqat-fuzz-XXXXXX",
                 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
        FUZZ_CHECK(mkdtemp(fuzz_dir));
        atexit(fuzz_remove);
    }
    char *p = path[at++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", fuzz_dir, name);
    FILE *f = fopen(p, "wb");
    FUZZ_CHECK(f && fwrite(data, 1, size, f) == size && !fclose(f));
    return p;
}

#ifndef EQ_LIBFUZZER
enum { FUZZ_ROUNDS = 300, FUZZ_MAX = 1 << 16 };

static uint64_t fuzz_next(uint64_t seed, uint64_t *i, uint64_t below) {
    return below ? eq_rand_u64(seed, (*i)++) % below : 0;
}

/* One small change: a bit, a byte, a cut, a doubled piece, a number, a digit. */
static size_t fuzz_change(uint8_t *d, size_t n, uint64_t seed, uint64_t *i) {
    static const uint8_t odd[] = {0, 1, 0x7f, 0x80, 0xff, '{', '}', '"', '-', '9', '\n', ' '};
    size_t at = (size_t)fuzz_next(seed, i, n ? n : 1), k = 1 + (size_t)fuzz_next(seed, i, 16);
    if (n == 0) return d[0] = odd[fuzz_next(seed, i, sizeof odd)], 1;
    if (k > n - at) k = n - at;
    switch (fuzz_next(seed, i, 7)) {
    case 0:
        d[at] ^= (uint8_t)(1 << fuzz_next(seed, i, 8));
        return n;
    case 1:
        d[at] = odd[fuzz_next(seed, i, sizeof odd)];
        return n;
    case 2:
        return at;
    case 3:
        memmove(d + at, d + at + k, n - at - k);
        return n - k;
    case 4:
        if (n + k > FUZZ_MAX) return n;
        memmove(d + at + k, d + at, n - at);
        return n + k;
    case 5:
        memset(d + at, fuzz_next(seed, i, 2) ? 0xff : 0, k);
        return n;
    default:
        for (size_t j = at; j < n; j++)
            if (d[j] >= '0' && d[j] <= '9')
                return d[j] = (uint8_t)('0' + fuzz_next(seed, i, 10)), n;
        return n;
    }
}

static void fuzz_seed(const char *path, uint64_t seed) {
    static uint8_t bytes[FUZZ_MAX];
    eq_map m;
    FUZZ_CHECK(eq_map_open(&m, path, NULL) == EQ_OK && m.size <= FUZZ_MAX);
    LLVMFuzzerTestOneInput(m.data, (size_t)m.size);
    uint64_t i = 0;
    for (int round = 0; round < FUZZ_ROUNDS; round++) {
        size_t n = (size_t)m.size;
        memcpy(bytes, m.data, n);
        for (uint64_t k = 1 + fuzz_next(seed, &i, 4); k; k--) n = fuzz_change(bytes, n, seed, &i);
        uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees the first byte too many */
        FUZZ_CHECK(exact);
        memcpy(exact, bytes, n);
        LLVMFuzzerTestOneInput(exact, n);
        free(exact);
    }
    eq_map_close(&m);
}

int main(int argc, char **argv) {
    eq_names names;
    eq_err err = {0};
    if (argc != 2 || eq_list_dir(argv[1], &names, &err) != EQ_OK) {
        fprintf(stderr, "usage: %s FOLDER_OF_SEEDS\n%s\n", argv[0], err.msg);
        return 2;
    }
    FUZZ_CHECK(names.n > 0);
    for (int64_t k = 0; k < names.n; k++) {
        char *path = eq_path(argv[1], names.p[k]);
        FUZZ_CHECK(path);
        fuzz_seed(path, (uint64_t)k);
        eq_free(path);
    }
    printf("%lld seeds, %d changes of each\n", (long long)names.n, FUZZ_ROUNDS);
    eq_names_free(&names);
    return 0;
}
#endif
#endif
