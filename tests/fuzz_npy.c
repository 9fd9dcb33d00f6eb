/* Any bytes as a .npy file. What opens must hold ids in range and survive being written again. */
#include "format/npy.h"
#include "fuzz_main.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = fuzz_file("input.npy", data, size);
    eq_npy a, b;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    if (eq_npy_read(&a, path, &err) == EQ_OK) {
        int64_t n = a.rows * a.cols;
        for (int64_t i = 0; i < n; i++) FUZZ_CHECK(a.ids[i] >= 0);
        const char *again = fuzz_file("again.npy", "", 0);
        FUZZ_CHECK(eq_npy_write(again, a.ids, a.rows, a.cols, a.is_2d, &err) == EQ_OK);
        FUZZ_CHECK(eq_npy_read(&b, again, &err) == EQ_OK);
        FUZZ_CHECK(b.rows == a.rows && b.cols == a.cols && b.is_2d == a.is_2d);
        FUZZ_CHECK(!n || !memcmp(a.ids, b.ids, (size_t)n * sizeof *a.ids));
        eq_npy_free(&b);
    } else {
        fuzz_check_error(&err);
    }
    eq_npy_free(&a);
    FUZZ_CHECK(eq_mem_current() == before);
    return 0;
}
