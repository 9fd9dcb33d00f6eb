/* Any bytes as a safetensors file; bytes that start like JSON text as the index of a folder with
 * one good shard. What opens must be readable to its last byte and cover the file. */
#include "format/safetensors.h"
#include "fuzz_main.h"

static const uint8_t shard[] =
    "\x3a\0\0\0\0\0\0\0"
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}      xy";

static void read_all(const eq_st *st) {
    int64_t held = 0, sizes = 0;
    volatile uint8_t sink = 0;
    for (int64_t i = 0; i < eq_st_count(st); i++) {
        const eq_tensor *t = eq_st_at(st, i);
        int64_t n = 1;
        for (int k = 0; k < t->ndim; k++) n *= t->shape[k];
        FUZZ_CHECK(n == t->n && t->bytes == n * eq_dtype_size(t->dt));
        FUZZ_CHECK((uintptr_t)t->data % (uintptr_t)eq_dtype_size(t->dt) == 0);
        FUZZ_CHECK(eq_st_find(st, t->name) == t);
        for (int64_t k = 0; k < t->bytes; k++)
            sink = (uint8_t)(sink + ((const uint8_t *)t->data)[k]);
        held += t->bytes;
    }
    for (int64_t i = 0; i < eq_st_files(st); i++) {
        const char *path;
        const uint8_t *data;
        int64_t size;
        uint64_t header;
        eq_st_file(st, i, &path, &data, &size);
        memcpy(&header, data, 8);
        sizes += size - 8 - (int64_t)header;
    }
    FUZZ_CHECK(held == sizes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path;
    bool index = size > 1 && data[0] == '{' && (data[1] == '"' || data[1] == '\n');
    if (index) {
        fuzz_file("one", shard, sizeof shard - 1);
        fuzz_file("model.safetensors.index.json", data, size);
        path = fuzz_dir;
    } else {
        path = fuzz_file("input.safetensors", data, size);
    }
    eq_st *st;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    if (eq_st_open(&st, path, &err) == EQ_OK)
        read_all(st);
    else
        fuzz_check_error(&err);
    eq_st_close(st);
    FUZZ_CHECK(eq_mem_current() == before);
    return 0;
}
