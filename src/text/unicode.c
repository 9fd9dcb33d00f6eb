/* See unicode.h. Look-ups are binary searches over short sorted tables. */
#include "text/unicode.h"

#include <utf8proc.h>

static const eq_uni_map *find_map(const eq_uni_map *t, int n, uint32_t cp) {
    for (int lo = 0, hi = n; lo < hi;) {
        int mid = (lo + hi) / 2;
        if (cp > t[mid].hi)
            lo = mid + 1;
        else if (cp < t[mid].lo)
            hi = mid;
        else
            return t + mid;
    }
    return 0;
}

static bool in_ranges(const eq_uni_range *t, int n, uint32_t cp) {
    for (int lo = 0, hi = n; lo < hi;) {
        int mid = (lo + hi) / 2;
        if (cp > t[mid].hi)
            lo = mid + 1;
        else if (cp < t[mid].lo)
            hi = mid;
        else
            return true;
    }
    return false;
}

uint32_t eq_uni_standin(uint32_t cp) {
    if (cp < eq_uni_newer[0].lo) return cp;
    const eq_uni_map *m = find_map(eq_uni_newer, eq_uni_newer_n, cp);
    return m ? (uint32_t)m->to : cp;
}

static utf8proc_category_t category(uint32_t cp) {
    return utf8proc_category((utf8proc_int32_t)eq_uni_standin(cp));
}

bool eq_uni_space(uint32_t cp) {
    if (cp < 0x80) return cp == ' ' || (cp >= 9 && cp <= 13);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

bool eq_uni_py_space(uint32_t cp) { return eq_uni_space(cp) || (cp >= 0x1c && cp <= 0x1f); }

bool eq_uni_word(uint32_t cp) {
    /* Alphabetic characters outside the letters, marks and letter numbers: the circled ones. */
    static const eq_uni_range circled[] = {
        {0x24b6, 0x24e9}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}};
    switch (category(cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return cp == 0x200c || cp == 0x200d || in_ranges(circled, 4, cp);
    }
}

bool eq_uni_numeric(uint32_t cp) {
    utf8proc_category_t c = category(cp);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO ||
           in_ranges(eq_uni_numeric_more, eq_uni_numeric_more_n, cp);
}

bool eq_uni_punct(uint32_t cp) {
    if (cp < 0x80)
        return cp > 32 && cp < 127 && !(cp >= '0' && cp <= '9') &&
               !((cp | 32) >= 'a' && (cp | 32) <= 'z');
    if (eq_uni_standin(cp) != cp) return false;
    utf8proc_category_t c = category(cp);
    return (c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO) !=
           in_ranges(eq_uni_punct_flip, eq_uni_punct_flip_n, cp);
}

bool eq_uni_mark(uint32_t cp) {
    if (cp < 0x300) return false;
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    bool is = eq_uni_standin(cp) == cp &&
              (c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ME);
    return is != in_ranges(eq_uni_mark_flip, eq_uni_mark_flip_n, cp);
}

int eq_uni_script(uint32_t cp) {
    const eq_uni_map *m = find_map(eq_uni_scripts, eq_uni_scripts_n, cp);
    return m ? (int)m->to : -1;
}

bool eq_uni_cluster_ends(uint32_t a, uint32_t b, int32_t *state) {
    enum { MARK = 0x300 }; /* what the table lists joins as every mark does */
    if (in_ranges(eq_uni_joins_more, eq_uni_joins_more_n, a)) a = MARK;
    if (in_ranges(eq_uni_joins_more, eq_uni_joins_more_n, b)) b = MARK;
    return utf8proc_grapheme_break_stateful((utf8proc_int32_t)a, (utf8proc_int32_t)b, state);
}

int eq_uni_lower(uint32_t cp, uint32_t out[2]) {
    if (cp == 0x130) return out[0] = 'i', out[1] = 0x307, 2;
    const eq_uni_map *m = find_map(eq_uni_lower_more, eq_uni_lower_more_n, cp);
    out[0] = m ? (uint32_t)((int64_t)cp + m->to) : (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
    return 1;
}

bool eq_uni_is_inert(uint32_t cp) {
    return eq_uni_standin(cp) != cp || in_ranges(eq_uni_inert, eq_uni_inert_n, cp);
}
