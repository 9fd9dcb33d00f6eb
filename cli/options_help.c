/* The help lines of an option table; see options.h. Defaults are read out of the initialised
 * settings, so a help text cannot disagree with the program. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "options.h"

enum { INDENT = 30, WIDTH = 96 };

/* The i-th word of "a|b|c". */
static void put_word(char *out, size_t cap, const char *list, int i) {
    for (; i > 0 && *list; i--) list += strcspn(list, "|,") + 1;
    snprintf(out, cap, "%.*s", (int)strcspn(list, "|,"), list);
}

static void put_set(char *out, size_t cap, const char *list, unsigned set) {
    char word[32];
    *out = 0;
    for (int i = 0; set >> i; i++) {
        if (!(set >> i & 1)) continue;
        put_word(word, sizeof word, list, i);
        size_t n = strlen(out);
        snprintf(out + n, cap - n, "%s%s", n ? "," : "", word);
    }
}

void opt_value(const opt *o, const void *args, char *out, size_t cap) {
    const void *at = (const char *)args + o->at;
    const char *text;
    int index;
    *out = 0;
    switch (o->kind) {
    case OPT_INT:
        snprintf(out, cap, "%d", *(const int *)at);
        break;
    case OPT_I64:
    case OPT_ONE_OF:
        snprintf(out, cap, "%lld", (long long)*(const int64_t *)at);
        break;
    case OPT_U64:
        snprintf(out, cap, "%llu", (unsigned long long)*(const uint64_t *)at);
        break;
    case OPT_NUM:
        snprintf(out, cap, "%g", *(const double *)at);
        break;
    case OPT_ENUM:
        memcpy(&index, at, sizeof index);
        put_word(out, cap, o->arg, index);
        break;
    case OPT_SET:
        put_set(out, cap, o->arg, *(const unsigned *)at);
        break;
    case OPT_STR:
    case OPT_LIST:
    case OPT_WORD:
        text = *(const char *const *)at;
        if (text) snprintf(out, cap, "%s", text);
        break;
    default:
        break;
    }
}

static void default_text(const opt *o, const void *args, char *out, size_t cap) {
    if (o->fallback)
        snprintf(out, cap, "%s", o->fallback);
    else
        opt_value(o, args, out, cap);
}

bool opt_differs(const opt *o, const void *a, const void *b, char *out, size_t cap) {
    char was[96], is[96];
    if (o->kind == OPT_FLAG || o->kind == OPT_UNSET) {
        bool p, q;
        memcpy(&p, (const char *)a + o->at, sizeof p),
            memcpy(&q, (const char *)b + o->at, sizeof q);
        snprintf(out, cap, "--%s", o->name);
        return p != q;
    }
    opt_value(o, a, was, sizeof was), opt_value(o, b, is, sizeof is);
    snprintf(out, cap, "--%s %s", o->name, is);
    return strcmp(was, is) != 0;
}

/* Prints `text` from column `at` on, broken between words. */
static void put_wrapped(const char *text, int at) {
    int column = at;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column > at && column + 1 + n > WIDTH) {
            printf("\n%*s", at, "");
            column = at;
        } else if (column > at) {
            putchar(' ');
            column++;
        }
        printf("%.*s", n, text);
        column += n;
        text += n + (text[n] == ' ');
    }
    putchar('\n');
}

void opt_describe(const opt *o, const void *args, opt_text *t) {
    char fallback[96];
    int n = 0;
    size_t cap = sizeof t->head;
    if (o->kind <= OPT_POSITIONAL) {
        snprintf(t->head, cap, "%s", o->name);
    } else {
        if (o->letter) n = snprintf(t->head, cap, "-%c, ", o->letter);
        n += snprintf(t->head + n, cap - (size_t)n, "--%s", o->name);
        if (o->arg) snprintf(t->head + n, cap - (size_t)n, " %s", o->arg);
    }
    default_text(o, args, fallback, sizeof fallback);
    n = snprintf(t->help, sizeof t->help, "%s", o->help);
    if (*fallback) n += snprintf(t->help + n, sizeof t->help - (size_t)n, " [%s]", fallback);
    /* "--e2e-lr" for "--lr" needs no word on every line. */
    if (o->alias && !eq_ends_with(o->alias, o->name))
        snprintf(t->help + n, sizeof t->help - (size_t)n, " (also --%s)", o->alias);
}

static void put_row(const opt *o, const void *args) {
    opt_text t;
    opt_describe(o, args, &t);
    if (strlen(t.head) + 4 > INDENT)
        printf("  %s\n%*s", t.head, INDENT, "");
    else
        printf("  %-*s", INDENT - 2, t.head);
    put_wrapped(t.help, INDENT);
}

void opt_help(const opt *table, const void *args) {
    for (const opt *o = table; o->kind != OPT_END; o++) {
        if (o->kind == OPT_HEADING)
            printf("\n%s\n", o->help);
        else
            put_row(o, args);
    }
}
