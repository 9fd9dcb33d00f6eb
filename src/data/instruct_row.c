/* See instruct_row.h. Invariant: a row that is read has an answer, and every text of it is UTF-8
 * without NUL. */
#include "data/instruct_row.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static bool wrong(eq_instruct_row *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool wrong(eq_instruct_row *r, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->why, sizeof r->why, fmt, ap);
    va_end(ap);
    return false;
}

/* ---- texts ----------------------------------------------------------------------------------- */

/* Appends the string `v`, called `name` in messages. */
static bool put_text(eq_instruct_row *r, eq_str *out, eq_jscan v, const char *name) {
    int64_t from = out->n;
    if (!v.at || *v.at != '"')
        return wrong(r, "\"%s\": expected a string, found %s", name, eq_jscan_type(&v));
    if (!eq_jscan_text(&v, out)) return wrong(r, "\"%s\": %s", name, v.why);
    if (out->oom) return false;
    if (out->n > from && memchr(out->p + from, 0, (size_t)(out->n - from)))
        return wrong(r, "\"%s\": a NUL character", name);
    return true;
}

/* The same of a member; with `or_not` a missing one or null gives nothing. */
static bool put_member(eq_instruct_row *r, eq_str *out, eq_jscan object, const char *name,
                       bool or_not) {
    eq_jscan v;
    eq_jscan_find(object, name, &v);
    if (or_not && (!v.at || *v.at == 'n')) return true;
    return put_text(r, out, v, name);
}

/* A message's content: a string, or a list of parts that are all text. */
static bool put_content(eq_instruct_row *r, eq_str *out, eq_jscan v, const char *name) {
    eq_jscan part, text, in = v;
    if (!v.at || *v.at != '[') return put_text(r, out, v, name);
    while (eq_jscan_next(&in, NULL, &part)) {
        if (!eq_jscan_find(part, "text", &text))
            return wrong(r, "\"%s\": expected parts with a \"text\", found another (an image?)",
                         name);
        if (!put_text(r, out, text, "text")) return false;
    }
    return true;
}

static bool is_blank(const char *p, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!strchr(" \t\r\n", p[i])) return false;
    return true;
}

/* ---- chats ----------------------------------------------------------------------------------- */

static const struct {
    const char *name, *role;
} roles[] = {{"user", "user"},      {"human", "user"},      {"assistant", "assistant"},
             {"gpt", "assistant"},  {"model", "assistant"}, {"chatgpt", "assistant"},
             {"bing", "assistant"}, {"bard", "assistant"},  {"system", "system"}};

static const char *role_of(const char *name) {
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (!strcmp(roles[i].name, name)) return roles[i].role;
    return NULL;
}

/* Until all turns are there, content is an offset into r->text, which may move. */
static bool add_turn(eq_instruct_row *r, const char *role, int64_t at) {
    if (r->n == r->cap) {
        int64_t cap = r->cap ? 2 * r->cap : 16;
        eq_message *p = eq_realloc(r->turn, cap, sizeof *p);
        if (!p) return false;
        r->turn = p, r->cap = cap;
    }
    r->turn[r->n++] = (eq_message){.role = role, .content = (const char *)(intptr_t)at};
    return true;
}

static void place_turns(eq_instruct_row *r) {
    for (int64_t i = 0; i < r->n; i++)
        r->turn[i].content = r->text.p + (intptr_t)r->turn[i].content;
}

static bool end_content(eq_instruct_row *r, const char *role, int64_t at) {
    if (!strcmp(role, "assistant") && is_blank(r->text.p + at, r->text.n - at))
        return wrong(r, "turn %lld: an empty answer", (long long)r->n + 1);
    eq_str_put(&r->text, "", 1);
    return !r->text.oom && add_turn(r, role, at);
}

static bool read_turn(eq_instruct_row *r, eq_jscan turn) {
    eq_jscan content, from;
    int64_t at = r->text.n;
    bool share = eq_jscan_find(turn, "from", &from);
    if (!put_member(r, &r->text, turn, share ? "from" : "role", false)) return false;
    const char *role = role_of(r->text.p + at);
    if (!role)
        return wrong(r,
                     "turn %lld: expected a role of user (human), assistant (gpt) or system, found "
                     "\"%.60s\"",
                     (long long)r->n + 1, r->text.p + at);
    r->text.n = at;
    eq_jscan_find(turn, share ? "value" : "content", &content);
    return put_content(r, &r->text, content, share ? "value" : "content") &&
           end_content(r, role, at);
}

static bool read_chat(eq_instruct_row *r, eq_jscan list) {
    eq_jscan turn;
    bool answered = false;
    if (*list.at != '[')
        return wrong(r, "expected a list of turns, found %s", eq_jscan_type(&list));
    while (eq_jscan_next(&list, NULL, &turn)) {
        if (*turn.at != '{')
            return wrong(r, "turn %lld: expected an object, found %s", (long long)r->n + 1,
                         eq_jscan_type(&turn));
        if (!read_turn(r, turn)) return false;
        answered |= !strcmp(r->turn[r->n - 1].role, "assistant");
    }
    if (!answered) return wrong(r, "a chat without an answer of the assistant");
    place_turns(r);
    return true;
}

/* ---- Alpaca ---------------------------------------------------------------------------------- */

/* What the paper's source puts around a row. */
static const char with_input[] =
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n### Instruction:\n";
static const char without_input[] =
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n";

/* Is there an input? Then it stays in r->answer for the moment. */
static bool has_input(eq_instruct_row *r, eq_jscan object, bool *yes) {
    r->answer.n = 0;
    if (!put_member(r, &r->answer, object, "input", true)) return false;
    *yes = r->answer.n > 0;
    return true;
}

static bool read_alpaca(eq_instruct_row *r, eq_jscan object) {
    bool input;
    if (!has_input(r, object, &input)) return false;
    eq_str_puts(&r->prompt, input ? with_input : without_input);
    if (!put_member(r, &r->prompt, object, "instruction", false)) return false;
    if (input) {
        eq_str_puts(&r->prompt, "\n\n### Input:\n");
        eq_str_put(&r->prompt, r->answer.p, r->answer.n);
    }
    eq_str_puts(&r->prompt, "\n\n### Response: ");
    r->answer.n = 0;
    if (!put_member(r, &r->answer, object, "output", false)) return false;
    if (is_blank(r->answer.p, r->answer.n)) return wrong(r, "\"output\": an empty answer");
    r->alpaca = true;
    return !r->prompt.oom;
}

/* Instruction and input are the user's turn, with a blank line between them. */
static bool read_alpaca_turns(eq_instruct_row *r, eq_jscan object) {
    bool input;
    if (!has_input(r, object, &input)) return false;
    if (!put_member(r, &r->text, object, "instruction", false)) return false;
    if (input) {
        eq_str_puts(&r->text, "\n\n");
        eq_str_put(&r->text, r->answer.p, r->answer.n);
    }
    if (!end_content(r, "user", 0)) return false;
    int64_t at = r->text.n;
    if (!put_member(r, &r->text, object, "output", false)) return false;
    if (!end_content(r, "assistant", at)) return false;
    place_turns(r);
    return true;
}

bool eq_instruct_row_read(eq_instruct_row *r, eq_jscan object, bool turns) {
    eq_jscan v;
    r->prompt.n = r->answer.n = r->text.n = r->n = 0;
    r->alpaca = false, *r->why = 0;
    if (eq_jscan_find(object, "messages", &v) || eq_jscan_find(object, "conversations", &v))
        return read_chat(r, v);
    if (!eq_jscan_find(object, "instruction", &v))
        return wrong(r, "expected \"instruction\" and \"output\" (Alpaca), or a chat in "
                        "\"messages\" or \"conversations\"; found none of them");
    return turns ? read_alpaca_turns(r, object) : read_alpaca(r, object);
}

void eq_instruct_row_free(eq_instruct_row *r) {
    eq_str_free(&r->prompt), eq_str_free(&r->answer), eq_str_free(&r->text);
    eq_free(r->turn);
    *r = (eq_instruct_row){0};
}
