/* See instruct.h. Invariant: of every row that is kept some id behind the first is learned. */
#include "data/instruct.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/observe.h"
#include "data/instruct_row.h"
#include "format/records.h"

typedef struct {
    eq_examples *x;
    const eq_instruct_read *o;
    eq_instruct_row row;
    eq_ids ids;
    eq_str mask, text; /* mask: a byte for each of ids */
    char *bos, *eos;   /* as text */
    int64_t skipped;
    eq_err first; /* of those */
} reader;

void eq_examples_free(eq_examples *x) {
    eq_free(x->ids), eq_free(x->learn), eq_free(x->end);
    eq_inputs_free(&x->inputs);
    *x = (eq_examples){0};
}

/* ---- keeping --------------------------------------------------------------------------------- */

static eq_status make_room(eq_examples *x, int64_t n, int64_t memory, eq_err *err) {
    int64_t have = x->n ? x->end[x->n - 1] : 0;
    if (have + n > x->ids_cap) {
        int64_t cap = have + n + x->ids_cap / 2 + 4096;
        if (memory && cap > memory / 8)
            return eq_fail(err, EQ_ENOMEM,
                           "instruction rows of more than %lld tokens do not fit into the memory "
                           "limit of %.2f GiB",
                           (long long)have, (double)memory / (1 << 30));
        int32_t *ids = eq_realloc(x->ids, cap, sizeof *ids);
        if (ids) x->ids = ids;
        uint8_t *learn = ids ? eq_realloc(x->learn, cap, 1) : NULL;
        if (!learn) return eq_nomem(err, "instruction rows", cap * 5);
        x->learn = learn, x->ids_cap = cap;
    }
    if (x->n < x->n_cap) return EQ_OK;
    int64_t cap = x->n_cap + x->n_cap / 2 + 1024;
    int64_t *end = eq_realloc(x->end, cap, sizeof *end);
    if (!end) return eq_nomem(err, "instruction rows", cap * 8);
    x->end = end, x->n_cap = cap;
    return EQ_OK;
}

/* The row in r->ids and r->mask, unless nothing of it is learned: the first id never is. */
static eq_status keep(reader *r, eq_err *err) {
    eq_examples *x = r->x;
    int64_t n = r->ids.n;
    for (int64_t i = 0; i < n; i++)
        if (r->ids.p[i] < 0 || r->ids.p[i] >= r->o->vocab)
            return eq_fail(err, EQ_EINPUT, "id %d, but the vocabulary has %lld", r->ids.p[i],
                           (long long)r->o->vocab);
    if (n < 2 || !memchr(r->mask.p + 1, 1, (size_t)n - 1)) return x->unlearned++, EQ_OK;
    EQ_TRY(make_room(x, n, r->o->memory, err));
    int64_t at = eq_example_start(x, x->n);
    memcpy(x->ids + at, r->ids.p, (size_t)n * sizeof *x->ids);
    memcpy(x->learn + at, r->mask.p, (size_t)n);
    x->end[x->n++] = at + n;
    return EQ_OK;
}

/* ---- encoding -------------------------------------------------------------------------------- */

static bool cut_to(reader *r, int64_t limit) {
    if (r->ids.n <= limit) return false;
    r->ids.n = limit;
    if (r->mask.n > limit) r->mask.n = limit;
    return true;
}

/* Appends the ids of a half of an Alpaca row, `limit` of them at most. */
static eq_status put_half(reader *r, const char *before, const eq_str *text, const char *behind,
                          int64_t limit, bool learn, bool *cut, eq_err *err) {
    int64_t from = r->ids.n;
    r->text.n = 0;
    eq_str_puts(&r->text, before);
    eq_str_put(&r->text, text->p, text->n);
    eq_str_puts(&r->text, behind);
    if (r->text.oom) return eq_nomem(err, "a row", r->text.n);
    EQ_TRY(eq_encode(r->o->tok, &r->ids, r->text.p, r->text.n, false, err));
    *cut |= cut_to(r, from + limit);
    for (int64_t i = from; i < r->ids.n; i++) eq_str_put(&r->mask, learn ? "\1" : "\0", 1);
    return r->mask.oom ? eq_nomem(err, "a row", r->ids.n) : EQ_OK;
}

static eq_status encode(reader *r, eq_err *err) {
    const eq_instruct_read *o = r->o;
    bool cut = false;
    r->ids.n = r->mask.n = 0;
    if (r->row.alpaca) {
        EQ_TRY(put_half(r, r->bos, &r->row.prompt, "", o->source_limit, o->all, &cut, err));
        EQ_TRY(put_half(r, "", &r->row.answer, r->eos, o->target_limit, true, &cut, err));
    } else if (!o->chat) {
        return eq_fail(err, EQ_EINPUT, "a chat needs a template (--chat-template): %s",
                       o->no_chat && *o->no_chat ? o->no_chat : "there is none");
    } else {
        EQ_TRY(eq_chat_encode(o->chat, o->tok, &r->ids, &r->mask, r->row.turn, r->row.n, err));
        if (o->all && r->mask.n) memset(r->mask.p, 1, (size_t)r->mask.n);
    }
    cut |= cut_to(r, o->length);
    r->x->cut += cut;
    return EQ_OK;
}

static eq_status read_row(reader *r, const eq_records *in, eq_jscan object, eq_err *err) {
    EQ_TRY(eq_records_object(in, &object, err));
    if (!eq_instruct_row_read(&r->row, object, r->o->turns))
        return *r->row.why ? eq_fail(err, EQ_EINPUT, "%s", r->row.why)
                           : eq_nomem(err, "a row", object.end - object.at);
    EQ_TRY(encode(r, err));
    return keep(r, err);
}

/* ---- files ----------------------------------------------------------------------------------- */

static eq_status next_row(reader *r, eq_records *in, const char *name, bool *over, eq_err *err) {
    eq_jscan object;
    eq_err why = {0};
    EQ_TRY(eq_records_next(in, &object, err));
    *over = !object.at;
    if (*over) return EQ_OK;
    eq_status st = read_row(r, in, object, &why);
    if (st == EQ_OK) return EQ_OK;
    if (!eq_starts_with(why.msg, name)) eq_fail_at(&why, "%s: %s", name, eq_records_where(in));
    if (st != EQ_EINPUT || !r->o->skip_bad) return eq_fail(err, st, "%s", why.msg);
    if (!r->skipped++) r->first = why;
    return EQ_OK;
}

static eq_status note_input(reader *r, eq_records *in, const char *name, int64_t rows,
                            int64_t tokens, eq_err *err) {
    eq_input *to;
    int64_t at;
    EQ_TRY(eq_inputs_add(&r->x->inputs, name, &to, err));
    eq_inflate_place(eq_records_stream(in), &at, &to->bytes);
    to->documents = rows, to->tokens = tokens, to->skipped = r->skipped;
    to->sum = eq_inflate_sum(eq_records_stream(in));
    if (r->skipped)
        eq_note(r->o->obs, "%s: %lld rows passed over (--skip-bad), the first: %s", name,
                (long long)r->skipped, r->first.msg);
    r->skipped = 0;
    return EQ_OK;
}

static eq_status read_file(reader *r, const eq_file *f, eq_err *err) {
    eq_records *in;
    int64_t rows = r->x->n, tokens = eq_example_start(r->x, rows);
    if (f->kind != EQ_FILE_JSON)
        return eq_fail(err, EQ_EINPUT,
                       "%s: instruction rows: expected .json, .jsonl or .ndjson (also .gz, .zst)",
                       f->name);
    EQ_TRY(eq_records_open(&in, f, r->o->memory / 2, err));
    eq_status st = EQ_OK;
    for (bool over = false; st == EQ_OK && !over;) {
        eq_progress p = {.phase = "tokenize", .loss = __builtin_nan("")};
        eq_inflate_place(eq_records_stream(in), &p.done, &p.total);
        eq_progress_say(r->o->obs, &p);
        st = eq_stopped(r->o->obs) ? eq_fail(err, EQ_EINTR, "%s: stopped", f->name)
                                   : next_row(r, in, f->name, &over, err);
    }
    rows = r->x->n - rows, tokens = eq_example_start(r->x, r->x->n) - tokens;
    if (st == EQ_OK) st = note_input(r, in, f->name, rows, tokens, err);
    eq_records_close(in);
    return st;
}

static eq_status read_all(reader *r, const eq_source *src, eq_err *err) {
    const eq_instruct_read *o = r->o;
    r->bos = o->bos < 0 ? eq_strdup("") : eq_decode(o->tok, &o->bos, 1, false);
    r->eos = eq_decode(o->tok, &o->eos, 1, false);
    if (!r->bos || !r->eos) return eq_nomem(err, "a row", 64);
    for (int64_t i = 0; i < src->n; i++) EQ_TRY(read_file(r, &src->file[i], err));
    if (!r->x->n && r->x->unlearned)
        return eq_fail(err, EQ_EINPUT,
                       "%s: of %lld rows nothing that is learned is left within %lld tokens (the "
                       "limits of prompt, answer and window)",
                       src->name, (long long)r->x->unlearned, (long long)o->length);
    if (!r->x->n) return eq_fail(err, EQ_EINPUT, "%s: no row in it", src->name);
    if (r->x->cut || r->x->unlearned)
        eq_note(o->obs,
                "%s: %lld of %lld rows are longer than the limits and cut; %lld left out, since "
                "nothing that is learned is left of them",
                src->name, (long long)r->x->cut, (long long)(r->x->n + r->x->unlearned),
                (long long)r->x->unlearned);
    return EQ_OK;
}

eq_status eq_examples_read(eq_examples *x, const eq_source *src, const eq_instruct_read *o,
                           eq_err *err) {
    reader r = {.x = x, .o = o};
    *x = (eq_examples){0};
    eq_status st = read_all(&r, src, err);
    eq_instruct_row_free(&r.row);
    eq_ids_free(&r.ids);
    eq_str_free(&r.mask), eq_str_free(&r.text);
    eq_free(r.bos), eq_free(r.eos);
    if (st != EQ_OK) eq_examples_free(x);
    return st;
}
