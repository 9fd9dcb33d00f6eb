/* Recipes: names, what an unknown one leaves, what a recipe may touch. */
#include "scratch.h"

static void names(void **state) {
    const char *name, *about;
    int n = 0;
    (void)state;
    for (; eq_recipe(n, &name, &about); n++) {
        eq_quantize_opts o;
        eq_quantize_opts_init(&o);
        assert_true(*name && *about);
        assert_true(eq_recipe_set(&o, name));
    }
    assert_int_equal(n, 3);
    assert_false(eq_recipe(-1, &name, &about));
}

static void unknown(void **state) {
    eq_quantize_opts o, was;
    (void)state;
    eq_quantize_opts_init(&o);
    o.ap.epochs = 7;
    was = o;
    assert_false(eq_recipe_set(&o, "gourmet"));
    assert_memory_equal(&o, &was, sizeof o);
}

/* Only the phases' settings and how their rates are scaled; their data stays. The paper's are those
 * of eq_quantize_opts_init. */
static void touches(void **state) {
    const char *name, *about;
    (void)state;
    for (int i = 0; eq_recipe(i, &name, &about); i++) {
        eq_quantize_opts o, want;
        eq_quantize_opts_init(&o);
        o.bits = 3, o.seed = 9, o.data = "d", o.qp.data = "e", o.ap.epochs = 7, o.qp.lr = 0.5;
        want = o;
        assert_true(eq_recipe_set(&o, name));
        assert_string_equal(o.qp.data, "e");
        want.ap = o.ap, want.qp = o.qp, want.rate_scale = o.rate_scale;
        assert_memory_equal(&o, &want, sizeof o);
        if (strcmp(name, "paper")) continue;
        eq_quantize_opts_init(&want);
        assert_int_equal(o.ap.epochs, want.ap.epochs);
        assert_int_equal(o.ap.train_size, want.ap.train_size);
        assert_true(o.qp.lr == want.qp.lr && o.ap.weight_lr == want.ap.weight_lr);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(names), cmocka_unit_test(unknown),
                                       cmocka_unit_test(touches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
