//! What every engine must do. A case is written once against [`Store`](super::Store), and runs on each engine under the
//! same name: the crate of an engine says [`contract!`](crate::contract) with its name and how to make one.
#![allow(
    missing_docs,
    reason = "the name of a case is the sentence that it holds an engine to"
)]
#![allow(clippy::unwrap_used, reason = "these are tests, though of another crate")]

pub mod begin;
pub mod bulk;
pub mod by_id;
pub mod check;
mod desk;
pub mod durability;
pub mod event;
pub mod limits;
pub mod message;
pub mod receipt;
pub mod request;
pub mod retention;
pub mod text;

pub use desk::{Desk, Engine};

/// The tests of an engine. `$engine`: its name; `$open`: makes one with data of its own, an `Arc<dyn Engine>`.
#[macro_export]
macro_rules! contract {
    ($engine:ident, $open:expr) => {
        $crate::contract_cases! { $engine, $open,
            begin:
                a_second_registration_shares_the_code_and_its_end
                a_code_is_shared_by_those_of_the_same_purpose_alone
                registering_again_forgives_no_failure
                what_others_fail_costs_the_first_session_nothing
                sessions_opened_ahead_of_a_failure_add_one_attempt_each
                used_up_attempts_are_refused_until_the_code_expires
                at_most_so_many_sessions_share_a_code
                an_expired_code_makes_room_for_a_fresh_one
                a_used_code_makes_room_for_a_fresh_one
                all_who_register_a_number_at_once_share_one_code
                a_code_that_went_while_the_message_was_worded_is_not_shared
                a_pending_code_tells_who_sent_it_last;
            check:
                a_code_is_good_once
                of_64_right_codes_at_once_exactly_one_is_valid
                of_64_wrong_codes_at_once_no_more_are_compared_than_allowed
                of_64_codes_at_once_in_all_sessions_of_a_code_one_is_valid_and_few_are_compared
                two_processes_judge_a_code_as_one
                a_code_may_be_good_for_longer_than_once
                a_code_is_good_to_the_last_millisecond
                a_locked_session_takes_no_code
                a_success_gives_no_attempt_back
                an_unknown_session_is_told_so
                a_code_that_was_used_in_one_session_is_used_in_all
                an_attempt_is_taken_before_the_backend_is_asked
                an_attempt_without_a_verdict_is_given_back
                an_attempt_is_given_back_to_where_it_was_taken_from
                two_verdicts_of_a_backend_use_a_code_once
                a_verified_session_is_told_so_for_good
                a_code_of_a_backend_is_judged_by_nobody_else;
            limits:
                as_many_begin_at_once_as_a_limit_allows
                two_processes_share_a_limit
                a_limit_survives_a_crash
                what_is_refused_is_counted_nowhere
                a_message_that_was_not_sent_is_taken_back
                a_message_that_its_process_never_tried_is_taken_back_by_the_next
                what_its_process_never_tried_is_taken_back_once
                a_message_that_another_process_left_stays_counted;
            by_id:
                a_verification_is_found_as_it_stands
                a_verification_that_has_no_attempts_or_no_time_left_says_so
                the_latest_of_a_number_are_found_and_of_no_other
                the_latest_of_a_callers_name_are_found_under_any_key
                of_what_is_not_there_nothing_is_found_ended_or_sent
                a_cancelled_session_takes_no_code_and_keeps_its_place
                a_further_message_is_begun_as_long_as_its_code_is_good
                a_further_message_that_was_not_sent_ends_nothing;
            request:
                a_request_is_known_again_for_a_day
                the_first_answer_to_a_request_is_kept_with_it
                a_request_is_forgotten_if_certainly_nothing_was_sent
                a_request_is_forgotten_with_its_verification
                of_many_of_the_same_request_at_once_one_is_done
                the_same_check_has_the_same_verdict
                the_same_further_message_is_begun_once
                the_same_end_is_put_once;
            message:
                a_message_that_a_dead_process_left_is_sent_once_more
                a_message_of_a_living_process_is_nobody_elses_whatever_the_time
                a_settled_message_is_gone
                a_settled_message_is_not_settled_again
                a_message_that_its_process_never_tried_may_be_tried_by_two_more
                a_message_is_not_sent_once_its_code_expired
                a_code_that_nobody_got_is_not_pending
                a_code_that_somebody_may_have_got_stays_pending
                a_message_that_two_tried_may_have_been_sent_by_the_first
                a_session_that_got_no_message_gives_up_its_place;
            receipt:
                a_report_finds_its_message_by_backend_and_id_alone
                a_report_that_comes_again_changes_nothing
                a_report_about_another_processs_message_is_recorded
                a_report_before_its_message_is_settled_is_kept_and_recorded
                a_report_about_no_message_is_given_up
                no_more_than_so_many_unknown_reports_are_kept
                an_acknowledged_report_survives_a_crash
                a_report_ends_no_verification
                a_provider_that_gives_an_id_again_means_the_latest_message;
            text:
                a_text_is_found_as_it_stands
                a_text_that_a_dead_process_left_is_sent_once_more_within_its_time
                the_same_request_begins_one_text
                a_text_is_counted_and_taken_back_if_it_was_not_sent
                a_text_is_reported_on
                a_text_is_shown_and_forgotten_with_its_number
                an_old_text_is_deleted;
            event:
                nothing_is_recorded_unless_it_is_asked_for
                a_verification_is_told_from_its_begin_to_its_end
                a_message_is_told_as_what_became_of_it
                a_text_is_told_as_one
                an_event_is_as_durable_as_what_it_tells
                events_are_read_on_from_a_place
                events_leave_with_their_number_and_in_their_time
                no_number_or_code_of_an_event_can_be_read_in_the_database;
            bulk:
                a_job_is_begun_once
                every_number_is_leased_once_and_settled
                one_run_at_a_time_has_a_job
                what_a_dead_run_had_under_way_is_unknown
                a_run_that_ended_leaves_the_job_to_the_next
                what_was_not_sent_waits_again
                a_late_outcome_is_better_than_none;
            retention:
                old_records_are_counted_and_deleted
                an_expired_code_is_forgotten
                a_session_whose_code_was_deleted_is_unknown
                a_number_is_forgotten_and_no_other
                what_changes_nothing_is_not_in_the_audit_log
                the_audit_log_leaves_when_it_is_old_and_not_before
                who_did_what_is_kept_in_order;
            durability:
                what_was_acknowledged_survives_a_crash
                nothing_readable_is_stored
                it_says_whether_it_can_write;
        }
    };
}

/// The cases of [`contract!`](crate::contract), by module.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_cases {
    ($engine:ident, $open:expr, $($module:ident: $($case:ident)+;)+) => {
        mod $engine {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let mut desk = $crate::store::contract::Desk::open($open);
                    $crate::store::contract::$module::$case(&mut desk).await;
                })+
            })+
        }
    };
}
