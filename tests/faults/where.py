"""Which test holds which fault: those that were done by hand first, and each kind that the catalogue does by chance.

``tests/faults/catalogue.py`` does its faults under load, at random, and some always, as the first ones
(``tests/faults/test_faults.py``, ALWAYS); here is the test of each that always runs.
"""

from __future__ import annotations

from collections.abc import Mapping

STORIES, HISTORY = "simulation/test_stories.py", "contract/test_history.py"

WHERE: Mapping[str, tuple[str, ...]] = {
    # -- trapd, workers, their processes
    "trapd stands still and goes on, alone or with its workers": (
        "system/test_standing_still.py::test_trapd_judges_nobody_after_it_stood_still_and_code_by_whether_its_loop_turns",
        "contract/test_backend.py::test_b13_time_in_which_we_stood_still_is_held_against_nobody",
        f"{STORIES}::test_a_drain_timeout_does_not_run_while_trapd_and_its_workers_stand_still",
    ),
    "trapd is killed": (
        "system/test_sigkill.py::test_workers_of_a_killed_trapd_finish_their_tasks_and_leave_and_the_next_trapd_goes_on",
        "simulation/test_random_walks.py::test_every_life_keeps_the_promises_and_comes_to_rest",
    ),
    "a main process is killed": (
        "process/test_worker_account.py::test_what_a_killed_worker_ran_stands_in_its_table",
        "process/test_full_disk.py::"
        "test_a_worker_that_is_killed_is_back_and_drains_and_an_upgrade_says_how_much_is_missing",
        "process/test_worker_revokes.py::test_revoked_tasks_do_not_run_after_every_worker_was_killed",
    ),
    "a child is killed": (
        "process/test_worker_poison.py::test_a_task_that_kills_its_process_is_set_aside_and_freed",
        "process/test_distribute_submit.py::test_a_killed_child_is_not_a_bad_image_and_the_image_is_sent_three_times",
    ),
    "new code blocks the main loop right after READY": (
        f"{STORIES}::test_code_that_blocks_its_loop_right_after_ready_is_never_promoted",
        f"{STORIES}::test_code_that_blocks_its_loop_after_it_was_complete_is_reverted",
    ),
    "all main loops are stalled or stopped": (
        "unit/control/test_status.py::test_a_worker_that_stands_still_is_a_problem_and_not_ready",
        "process/test_worker_health.py::test_a_main_loop_that_hangs_is_ended_and_located",
    ),
    "all workers are told to consume nothing": (
        "system/test_not_consuming.py::test_workers_whose_consumers_were_cancelled_are_replaced_and_a_pause_keeps_them",
    ),
    "a worker hangs while it drains": (
        "contract/test_backend.py::test_b14_a_drain_without_a_sign_of_life_is_ended_and_says_so",
        "process/test_worker_health.py::"
        "test_an_endless_loop_in_the_main_process_is_noticed_while_a_task_runs_in_a_drain",
        f"{STORIES}::test_workers_that_hang_in_their_drain_hold_up_nothing_and_are_told_of",
        "unit/control/test_status.py::test_a_worker_that_hangs_in_its_drain_is_a_problem",
        "process/test_stop_in_a_hung_drain.py::test_a_trapd_that_is_stopped_twice_while_a_drain_hangs_ends",
    ),
    "the application's handler of worker_ready hangs": (
        "process/test_worker_cut_off.py::"
        "test_a_handler_of_worker_ready_that_hangs_is_no_lost_broker_and_has_a_deadline",
    ),
    "one of a worker's children stands still, or all do": (
        "process/test_worker_consuming.py::test_children_that_all_stand_still_are_noticed",
    ),
    # -- the broker
    "all packets of a busy worker to its broker are dropped": (
        "process/test_worker_cut_off.py::test_a_busy_worker_whose_broker_falls_silent_is_left_alone",
    ),
    "a connection is half dead": ("process/test_worker_consuming.py::test_a_connection_that_is_half_dead_is_noticed",),
    "the broker is away": (
        "process/test_worker_consuming.py::test_a_worker_whose_broker_is_away_is_never_said_not_to_consume",
        "process/test_worker_health.py::test_a_broker_that_goes_away_is_no_hang_and_work_goes_on_when_it_is_back",
    ),
    "the broker restarts, cuts connections, raises a memory alarm, pauses": (
        "faults/test_faults.py::test_nothing_is_lost_or_run_twice_whatever_is_done",
    ),
    # -- the disk
    "the state directory is full to the last byte": (
        "process/test_full_disk.py::"
        "test_a_worker_that_is_killed_is_back_and_drains_and_an_upgrade_says_how_much_is_missing",
        f"{STORIES}::test_on_a_full_disk_a_stop_still_drains_and_what_crashed_comes_back",
        f"{HISTORY}::test_a_full_disk_is_told_and_costs_nothing_that_was_saved",
    ),
    "the state directory is read-only": (
        "process/test_full_disk.py::test_a_trapd_that_cannot_write_its_state_says_so_and_starts_nobody",
        "unit/test_troubles.py::test_a_disk_without_room_is_known_without_a_write",
        "unit/backend/test_embedded.py::test_files_that_cannot_be_removed_do_not_keep_a_dead_worker",
    ),
    "the runtime directory is wiped": (
        "process/test_runtime_directory.py::test_trapd_without_its_runtime_directory_makes_it_anew_or_ends",
    ),
    "files or the manifest of a generation are damaged": (
        "process/test_damaged_generation.py::"
        "test_it_is_made_anew_at_a_recycle_when_trapd_starts_and_when_a_start_fails",
    ),
    # -- the history
    "another process holds a lock on the history": (
        f"{HISTORY}::test_a_foreign_lock_is_told_at_once_and_over_when_it_is_gone",
    ),
    "the history is damaged": (
        f"{HISTORY}::test_a_damaged_file_is_refused_when_it_is_opened",
        f"{HISTORY}::test_a_record_that_cannot_be_understood_is_said_to_be_damage",
        f"{STORIES}::test_a_history_that_begins_anew_uses_no_number_twice",
    ),
    "the history is cut off": (
        f"{HISTORY}::test_a_file_that_was_cut_off_is_refused_wherever_that_was",
        f"{HISTORY}::test_a_file_cut_off_at_any_page_or_within_it_is_never_read_as_another_history",
        f"{HISTORY}::test_a_file_cut_off_while_trapd_runs_is_told_at_the_next_start_at_the_latest",
        "nspawn/test_service.py::test_a_history_that_was_cut_in_the_middle_is_told_and_touches_no_worker",
    ),
    "the history lost its end, or a backup was put back": (
        f"{HISTORY}::test_a_backup_that_was_put_back_is_an_older_history_that_is_whole",
        f"{STORIES}::test_a_history_that_lost_its_end_undoes_nothing_that_runs",
    ),
    "the history is removed or replaced while trapd runs": (
        f"{HISTORY}::test_a_history_that_somebody_removed_or_replaced_is_not_written_on_in_vain",
    ),
    "the history's log grows": (f"{HISTORY}::test_the_write_ahead_log_stays_small",),
    # -- everything else
    "the clock is set by 20 years": (
        "simulation/test_set_clock.py::test_in_the_middle_of_a_rollout",
        "simulation/test_set_clock.py::test_while_workers_drain_and_trapd_is_killed",
        "unit/test_daemon.py::test_a_trapd_that_was_killed_is_told_as_that_whatever_became_of_the_clock",
        "unit/rollout/test_absence.py::test_a_clock_that_was_set_meanwhile_makes_no_reboot_and_hides_none",
    ),
    "garbage and floods on the socket": (
        "unit/control/test_server.py::test_garbage_of_every_kind_leaves_the_server_answering",
        "unit/control/test_server.py::test_too_many_requests_on_one_connection_are_refused_and_the_others_go_on",
    ),
    "one user opens all connections": ("unit/control/test_server.py::test_one_user_cannot_take_all_connections",),
    "descriptors are used up": (
        "unit/watch/test_interpreter.py::test_a_trapd_without_descriptors_says_so_and_goes_on",
        "faults/test_faults.py::test_nothing_is_lost_or_run_twice_whatever_is_done",
    ),
    "many upgrades in a row": (
        "faults/test_soak.py::test_many_upgrades_in_a_row_lose_nothing_and_leave_nothing",
        "unit/watch/test_survey.py::test_nothing_is_remembered_of_versions_that_are_gone",
        f"{HISTORY}::test_few_pages_are_kept_in_memory",
    ),
}

# kind of the catalogue -> the row above
OF_CATALOGUE: Mapping[str, str] = {
    "SIGKILL of trapd": "trapd is killed",
    "SIGSTOP of trapd": "trapd stands still and goes on, alone or with its workers",
    "SIGKILL of a main process": "a main process is killed",
    "SIGSTOP of a main process": "all main loops are stalled or stopped",
    "SIGKILL of a child": "a child is killed",
    "SIGSTOP of a child": "one of a worker's children stands still, or all do",
    "the broker pauses": "the broker restarts, cuts connections, raises a memory alarm, pauses",
    "the broker restarts": "the broker restarts, cuts connections, raises a memory alarm, pauses",
    "connections are cut": "the broker restarts, cuts connections, raises a memory alarm, pauses",
    "memory alarm": "the broker restarts, cuts connections, raises a memory alarm, pauses",
    "garbage on the sockets": "garbage and floods on the socket",
    "no descriptors are left": "descriptors are used up",
    "the history is locked": "another process holds a lock on the history",
    "the runtime directory is wiped": "the runtime directory is wiped",
}
