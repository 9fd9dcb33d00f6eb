/* See report.h. Knows no command: what inspect and plan say is decided in the library. */
#include "report.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"

enum { CELL = 128, COLUMNS = 16 };

static bool named(const char *key, const char *what) {
    size_t n = strlen(key), m = strlen(what);
    return n >= m && !strcmp(key + n - m, what) && (n == m || key[n - m - 1] == '_');
}

static void value_text(const char *key, const json_t *v, char out[CELL]) {
    char unit[32];
    *out = 0;
    if (json_is_number(v) && named(key, "bytes"))
        snprintf(out, CELL, "%s", cli_bytes(unit, json_number_value(v)));
    else if (json_is_number(v) && named(key, "seconds"))
        snprintf(out, CELL, "%s", cli_seconds(unit, json_number_value(v)));
    else if (json_is_number(v) && named(key, "flop_per_second"))
        snprintf(out, CELL, "%.0f GFLOP/s", json_number_value(v) * 1e-9);
    else if (json_is_integer(v))
        snprintf(out, CELL, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        snprintf(out, CELL, "%.6g", json_real_value(v));
    else if (json_is_string(v))
        snprintf(out, CELL, "%s", json_string_value(v));
    else if (json_is_boolean(v))
        snprintf(out, CELL, "%s", json_is_true(v) ? "yes" : "no");
    else if (json_is_null(v))
        snprintf(out, CELL, "-");
}

/* "memory_bytes" -> "memory": the value says its unit. Underscores become spaces. */
static void label_text(const char *key, char out[CELL]) {
    static const char *const unit[] = {"_bytes", "_seconds", "_flop_per_second"};
    size_t n = strlen(key);
    for (int i = 0; i < 3; i++) {
        size_t m = strlen(unit[i]);
        if (n > m && !strcmp(key + n - m, unit[i])) {
            n -= m;
            break;
        }
    }
    snprintf(out, CELL, "%.*s", (int)n, strcmp(key, "seconds") ? key : "time");
    for (char *c = out; *c; c++)
        if (*c == '_') *c = ' ';
}

/* [4096, 11008] -> "4096 x 11008" */
static void list_text(const char *key, const json_t *list, char out[CELL]) {
    size_t n = 0;
    *out = 0;
    for (size_t i = 0; i < json_array_size(list) && n < CELL - 1; i++) {
        char item[CELL];
        value_text(key, json_array_get(list, i), item);
        int k = snprintf(out + n, CELL - n, "%s%s", i ? " x " : "", item);
        n += k > 0 ? (size_t)k : 0;
    }
}

static void cell_text(const char *key, const json_t *v, char out[CELL]) {
    if (json_is_array(v))
        list_text(key, v, out);
    else
        value_text(key, v, out);
}

static int key_width(const json_t *object) {
    int width = 0;
    char label[CELL];
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)object, key, v) {
        label_text(key, label);
        if (!json_is_object(v) && (int)strlen(label) > width) width = (int)strlen(label);
    }
    return width;
}

/* Columns are the keys of the first row; numbers stand at the right of their column. */
static void report_table(const json_t *rows, int indent) {
    const char *keys[COLUMNS];
    int width[COLUMNS], columns = 0;
    char cell[CELL];
    const char *key;
    json_t *v;
    json_object_foreach(json_array_get(rows, 0), key, v) {
        if (columns < COLUMNS) keys[columns++] = key;
    }
    for (int c = 0; c < columns; c++) {
        label_text(keys[c], cell);
        width[c] = (int)strlen(cell);
        for (size_t r = 0; r < json_array_size(rows); r++) {
            cell_text(keys[c], json_object_get(json_array_get(rows, r), keys[c]), cell);
            if ((int)strlen(cell) > width[c]) width[c] = (int)strlen(cell);
        }
    }
    for (size_t r = 0; r <= json_array_size(rows); r++) {
        printf("%*s", indent, "");
        for (int c = 0; c < columns; c++) {
            const json_t *row = r ? json_array_get(rows, r - 1) : NULL;
            const json_t *value = row ? json_object_get(row, keys[c]) : NULL;
            bool right = json_is_number(json_object_get(json_array_get(rows, 0), keys[c]));
            if (row)
                cell_text(keys[c], value, cell);
            else
                label_text(keys[c], cell);
            if (c + 1 == columns && !right)
                printf("%s", cell);
            else
                printf("%*s%s", right ? width[c] : -width[c], cell, c + 1 < columns ? "  " : "");
        }
        putchar('\n');
    }
}

static void report(const json_t *object, int indent) {
    int width = key_width(object);
    char cell[CELL], label[CELL];
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)object, key, v) {
        label_text(key, label);
        bool table = json_is_array(v) && json_is_object(json_array_get(v, 0));
        if (json_is_object(v) || table) {
            printf("%*s%s\n", indent, "", label);
            if (table)
                report_table(v, indent + 2);
            else
                report(v, indent + 2);
        } else {
            cell_text(key, v, cell);
            printf("%*s%-*s  %s\n", indent, "", width, label, cell);
        }
    }
}

int cli_report(char *json_text, bool as_json) {
    eq_err err = {0};
    json_t *object = NULL;
    if (as_json)
        puts(json_text);
    else if (eq_json_parse(&object, json_text, (int64_t)strlen(json_text), "report", &err) == EQ_OK)
        report(object, 0);
    json_decref(object);
    eq_text_free(json_text);
    return err.status == EQ_OK ? EXIT_DONE : cli_fail(&err);
}
