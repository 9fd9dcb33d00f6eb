/* Any bytes as the rows of a task, which the first byte names, or as a subject of mmlu in csv. What
 * is taken has texts within bounds and an answer among its choices. */
#include "eval/task.h"
#include "fuzz_main.h"

static const struct {
    char letter;
    const char *name;
} tasks[] = {{'P', "piqa"},     {'W', "winogrande"}, {'H', "hellaswag"},
             {'A', "arc_easy"}, {'L', "lambada"},    {'C', "mmlu_virology"}};

static void look_at(const eq_items *items) {
    for (int64_t i = 0; i < items->n; i++) {
        const eq_item *it = &items->item[i];
        FUZZ_CHECK(it->gold >= 0 && it->gold < it->n && it->first + it->n <= items->choices);
    }
    for (int64_t k = 0; k < items->choices; k++) {
        const eq_choice *c = &items->choice[k];
        FUZZ_CHECK(c->context.n > 0 && c->context.at + c->context.n <= items->text.n);
        FUZZ_CHECK(c->continuation.n > 0);
        FUZZ_CHECK(c->continuation.at + c->continuation.n <= items->text.n && c->chars > 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int64_t before = eq_mem_current();
    int t = 0;
    while (t < 5 && (!size || tasks[t].letter != (char)data[0])) t++;
    const char *path = fuzz_file("input.jsonl", data + (size > 0), size - (size > 0));
    static char folder[128];
    if (tasks[t].letter == 'C') {
        snprintf(folder, sizeof folder, "%s/test", fuzz_dir);
        FUZZ_CHECK(eq_mkdir(folder, NULL) == EQ_OK);
        fuzz_file("test/virology_test.csv", data + (size > 0), size - (size > 0));
        path = fuzz_dir;
    }
    char *names = eq_sprintf("%s=%s", tasks[t].name, path);
    eq_item_sets sets;
    eq_err err = {0};
    FUZZ_CHECK(names);
    if (eq_item_sets_read(&sets, names, NULL, 0, 0, &err) == EQ_OK) {
        FUZZ_CHECK(sets.n == 1 && sets.set[0].items.n > 0);
        look_at(&sets.set[0].items);
        eq_item_sets_free(&sets);
    } else {
        fuzz_check_error(&err);
    }
    eq_free(names);
    FUZZ_CHECK(eq_mem_current() == before);
    return 0;
}
