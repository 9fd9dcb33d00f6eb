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
} eq_settings;

/* Range checks everything; `tune` leaves Block-AP's settings alone. */
eq_status eq_settings_resolve(eq_settings *s, const eq_quantize_opts *o, const eq_config *c,
                              bool tune, const eq_observer *obs, eq_err *err);
eq_block_ap_setup eq_settings_ap(const eq_settings *s);
eq_e2e_setup eq_settings_e2e(const eq_settings *s, int64_t T, int64_t windows);
/* Everything that decides the result, with the fingerprints of model and data (NULL: not used). */
json_t *eq_settings_json(const eq_settings *s, const char *model, const eq_windows *train,
                         const eq_windows *val, const eq_windows *e2e, bool tune);
/* Should the streams live in files? Says so when they should. */
bool eq_settings_streams_on_disk(const eq_settings *s, int64_t job, int64_t streams);
#endif
