/* See items.h. */
#include "eval/items.h"

#include "base/mem.h"

eq_span eq_items_put(eq_items *items, const char *text, int64_t n) {
    eq_span s = eq_span_begin(items);
    eq_str_put(&items->text, text, n);
    return eq_span_end(items, s);
}

static eq_status room(void *list, int64_t n, int64_t *cap, int64_t size, eq_err *err) {
    if (n < *cap) return EQ_OK;
    int64_t want = *cap < 256 ? 256 : *cap * 2;
    void **p = list, *q = eq_realloc(*p, want, size);
    if (!q) return eq_nomem(err, "items", want * size);
    *p = q, *cap = want;
    return EQ_OK;
}

eq_status eq_items_open(eq_items *items, int gold, int64_t line, eq_err *err) {
    EQ_TRY(room(&items->item, items->n, &items->cap_items, sizeof *items->item, err));
    items->item[items->n++] = (eq_item){.first = items->choices, .gold = gold, .line = line};
    return EQ_OK;
}

eq_status eq_items_choice(eq_items *items, eq_choice c, eq_err *err) {
    EQ_TRY(room(&items->choice, items->choices, &items->cap_choices, sizeof *items->choice, err));
    items->choice[items->choices++] = c;
    items->item[items->n - 1].n++;
    return EQ_OK;
}

eq_status eq_items_close(eq_items *items, int least, const char *where, eq_err *err) {
    const eq_item *i = &items->item[items->n - 1];
    if (i->n < least)
        return eq_fail(err, EQ_EINPUT, "%s: expected at least %d choices, found %d", where, least,
                       i->n);
    if (i->gold < 0 || i->gold >= i->n)
        return eq_fail(err, EQ_EINPUT, "%s: expected an answer among %d choices, found number %d",
                       where, i->n, i->gold + 1);
    for (int k = 0; k < i->n; k++) {
        const eq_choice *c = &items->choice[i->first + k];
        if (!c->chars)
            return eq_fail(err, EQ_EINPUT, "%s: choice %d: expected a text, found nothing", where,
                           k + 1);
        if (!c->context.n)
            return eq_fail(err, EQ_EINPUT,
                           "%s: expected a text in front of the choices, found "
                           "nothing",
                           where);
    }
    return items->text.oom ? eq_nomem(err, where, items->text.n) : EQ_OK;
}

void eq_items_free(eq_items *items) {
    eq_str_free(&items->text);
    eq_free(items->choice), eq_free(items->item);
    *items = (eq_items){0};
}
