/* Settings as given -> settings in force: rates by bits, lengths by model, streams by memory. */
#ifndef EQ_TRAIN_SETTINGS_H
#define EQ_TRAIN_SETTINGS_H
#include "base/json.h"
#include "data/windows.h"
#include "model/config.h"
#include "train/block_ap.h"
#include "train/e2e_qp.h"

typedef struct {
    eq_quantize_opts o;  /* as given, rates and lengths filled in */
    bool e2e;            /* the second phase runs */
    int64_t ap_T, e2e_T; /* tokens a window before the data has its say */
    int64_t memory;      /* bytes the job may use */
    double reach; /* over which the model's groups reach on average, where rates follow it; or 0 */
    eq_schemes schemes;
} eq_settings;

/* Range checks everything; `tune` leaves Block-AP's settings alone. eq_settings_free it, on failure
 * too. */
eq_status eq_settings_resolve(eq_settings *s, const eq_quantize_opts *o, const eq_config *c,
                              bool tune, const eq_observer *obs, eq_err *err);
void eq_settings_free(eq_settings *s);
eq_block_ap_setup eq_settings_ap(const eq_settings *s);
eq_e2e_setup eq_settings_e2e(const eq_settings *s, int64_t T, int64_t windows);
/* What decides the result, with the fingerprints of model and data: as far as phase one knows it
 * (windows that are not used have n == 0), what phase two adds, and both for the finished folder.
 */
json_t *eq_settings_first(const eq_settings *s, const eq_config *c, const char *model,
                          const json_t *side_files, const eq_windows *train, const eq_windows *val,
                          bool tune);
json_t *eq_settings_second(const eq_settings *s, const char *teacher, const eq_windows *e2e,
                           const eq_windows *val); /* teacher: fingerprint, "": the model or none */
json_t *eq_settings_recipe(const json_t *first, const json_t *second); /* second may be NULL */
/* Should the streams, of so many bytes for so many tokens, live in files of this folder (NULL: of
 * one with room enough)? When the user names a folder, when memory has no room for them beside the
 * job, and when making them anew after a kill would take long. */
bool eq_settings_streams_on_disk(const eq_settings *s, const eq_config *c, int64_t job,
                                 int64_t streams, int64_t tokens, const char *dir);
#endif
