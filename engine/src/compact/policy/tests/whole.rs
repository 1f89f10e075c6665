//! What the policy picks where a table is to be compacted as a whole, drawn as beside.

use super::*;

#[test]
fn as_a_whole_what_is_wide_is_cut_first() {
    check(
        Effort::Whole,
        "
    9       [==============================] 100 0 0
    1       [==============]                 1600 0 0
    1                       [==============] 1600 0 0
    -> asked for: 9
    9       [==============]                 50 0 0
    9                       [==============] 50 0 0
    1       [==============]                 1600 0 0
    1                       [==============] 1600 0 0
    ",
    );
}

#[test]
fn as_a_whole_the_last_slots_come_first() {
    check(
        Effort::Whole,
        "
    9       [==============]                 100 0 0
    9                       [==============] 100 0 0
    1       [==============]                 1600 0 0
    1                       [==============] 1600 0 0
    -> asked for: 9, 1
    9       [==============]                 100 0 0
    1-9                     [==============] 1700 0 0
    1       [==============]                 1600 0 0
    ",
    );
}

#[test]
fn as_a_whole_a_small_table_becomes_one_run() {
    check(
        Effort::Whole,
        "
    9       [==============]                 100 0 0
    8                       [==============] 100 0 3
    1       [==============]                 300 0 0
    1                       [==============] 300 0 0
    -> asked for: 9, 8, 1, 1
    1-9     [==============================] 800 0 0
    ",
    );
}

#[test]
fn as_a_whole_a_tidy_table_stays() {
    check(
        Effort::Whole,
        "
    2       [==============]                 300 0 0
    1                       [==============] 300 0 0
    -> nothing
    ",
    );
}
