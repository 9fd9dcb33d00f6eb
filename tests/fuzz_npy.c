/* Any bytes as a .npy file. What opens must hold ids in range and survive being written again. */
#include "format/id_file.h"
#include "fuzz_main.h"

static int32_t *read_ids(eq_id_file *f, const char *path, eq_err *err) {
    eq_file file = eq_file_of(path);
    if (eq_id_file_open(f, &file, NULL, err) != EQ_OK) return NULL;
    int64_t n = eq_id_file_count(f);
    int32_t *ids = eq_calloc(n, sizeof *ids);
    FUZZ_CHECK(ids);
    if (eq_id_file_get(f, ids, 0, n, (int64_t)1 << 31, err) == EQ_OK) return ids;
    eq_free(ids);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = fuzz_file("input.npy", data, size);
    eq_id_file a = {0}, b = {0};
    eq_err err = {0};
    int64_t before = eq_mem_current();
    int32_t *ids = read_ids(&a, path, &err);
    if (ids) {
        int64_t n = eq_id_file_count(&a);
        for (int64_t i = 0; i < n; i++) FUZZ_CHECK(ids[i] >= 0);
        const char *again = fuzz_file("again.npy", "", 0);
        FUZZ_CHECK(eq_npy_write(again, ids, a.head.rows, a.head.cols, a.head.is_2d, &err) == EQ_OK);
        int32_t *same = read_ids(&b, again, &err);
        FUZZ_CHECK(same && b.head.rows == a.head.rows && b.head.cols == a.head.cols &&
                   b.head.is_2d == a.head.is_2d);
        FUZZ_CHECK(!n || !memcmp(ids, same, (size_t)n * sizeof *ids));
        eq_free(same);
    } else {
        fuzz_check_error(&err);
    }
    eq_free(ids);
    eq_id_file_close(&a), eq_id_file_close(&b);
    FUZZ_CHECK(eq_mem_current() == before);
    return 0;
}
