/* See hash.h. */
#include "base/hash.h"

#include <stdio.h>
#include <xxh_x86dispatch.h> /* behind it: the same sums from the widest registers there are */
#include <xxhash.h>

#include "base/io.h"
#include "base/mem.h"

struct eq_hash {
    XXH3_state_t *state;
};

static eq_digest digest(XXH128_hash_t v) {
    eq_digest d;
    snprintf(d.hex, sizeof d.hex, "%016llx%016llx", (unsigned long long)v.high64,
             (unsigned long long)v.low64);
    return d;
}

eq_hash *eq_hash_new(void) {
    eq_hash *h = eq_calloc(1, sizeof *h);
    if (h && !(h->state = XXH3_createState())) {
        eq_free(h);
        return NULL;
    }
    if (h) XXH3_128bits_reset(h->state);
    return h;
}
void eq_hash_put(eq_hash *h, const void *bytes, int64_t n) {
    XXH3_128bits_update(h->state, bytes, (size_t)n);
}
eq_digest eq_hash_end(eq_hash *h) {
    eq_digest d = digest(XXH3_128bits_digest(h->state));
    XXH3_freeState(h->state);
    eq_free(h);
    return d;
}
eq_digest eq_hash_bytes(const void *bytes, int64_t n) {
    return digest(XXH3_128bits(bytes, (size_t)n));
}
uint64_t eq_hash64(const void *bytes, int64_t n, uint64_t seed) {
    return XXH3_64bits_withSeed(bytes, (size_t)n, seed);
}

eq_status eq_hash_file(const char *path, eq_digest *out, eq_err *err) {
    eq_map m;
    EQ_TRY(eq_map_open(&m, path, err));
    eq_map_sequential(&m);
    *out = eq_hash_bytes(m.data, m.size);
    eq_map_close(&m);
    return EQ_OK;
}
