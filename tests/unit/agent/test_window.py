"""The publisher's window: what it allows, what goes again, and that nothing is ever stuck."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.window import ANSWER_S, LONGEST_RESEND_S, PUBACK_S, RESEND_S, SendWindow


def window(in_flight=4, unreceipted=10, head=0):
    """A window of a connection that has taken a proof."""
    made = SendWindow(in_flight, unreceipted)
    made.start(head, 0.0)
    made.handed_over(0, head, 0.0)
    made.delivered(0)
    return made


def send(one, seqs, now_s=0.0):
    """Hand over `seqs`, each under a mid of the same number."""
    for seq in seqs:
        one.handed_over(seq, seq, now_s)


def test_places_are_what_is_left_in_flight():
    one = window()
    assert one.places(0) == 4
    send(one, [1, 2, 3])
    assert (one.places(0), one.flying) == (1, 3)
    one.delivered(1)
    assert (one.places(0), one.flying) == (2, 2)


def test_a_connection_begins_with_one_proof_until_its_puback():
    one = window()
    one.start(0, 0.0)
    assert one.places(0) == 1
    send(one, [1])
    assert one.places(0) == 0
    one.delivered(1)
    assert one.places(0) == 4
    send(one, [2])
    one.refused(2)
    assert one.places(0) == 1


def test_a_gateway_that_is_heard_ends_a_pause():
    one = window()
    one.pause(100.0)
    one.gateway_lives(1.0)
    assert not one.paused(1.0)
    assert one.places(1.0) == 4


def test_a_gateway_that_is_heard_gets_again_what_it_does_not_answer_soon():
    one = window()
    send(one, [1, 2])
    one.gateway_lives(ANSWER_S - 0.5)
    assert one.next_look_s(ANSWER_S - 0.5) == 0.5
    one.places(ANSWER_S - 0.1)
    assert one.sent == 2, "it may be about to answer"
    one.places(ANSWER_S)
    assert one.sent == 0


def test_what_was_long_unanswered_when_the_gateway_is_heard_goes_again_at_once():
    one = window()
    send(one, [1, 2])
    one.gateway_lives(ANSWER_S)
    assert one.next_look_s(ANSWER_S) == 0
    one.places(ANSWER_S)
    assert one.sent == 0


def test_a_gateway_that_is_heard_shortens_one_wait_and_no_later_one():
    """One that never answers this device must not get everything every few seconds."""
    one = window()
    send(one, [1, 2])
    one.gateway_lives(0.0)
    one.places(ANSWER_S)
    send(one, [1, 2], ANSWER_S)
    assert one.next_look_s(ANSWER_S) == RESEND_S
    one.places(ANSWER_S + RESEND_S)
    send(one, [1, 2], ANSWER_S + RESEND_S)
    assert one.next_look_s(ANSWER_S + RESEND_S) == 2 * RESEND_S


def test_a_receipt_after_the_gateway_was_heard_starts_the_usual_wait():
    one = window()
    send(one, [1, 2])
    one.gateway_lives(1.0)
    one.receipted(1, (), 2.0)
    assert one.next_look_s(2.0) == RESEND_S


def test_a_puback_moves_no_head():
    one = window()
    send(one, [1, 2])
    one.delivered(1)
    one.delivered(2)
    assert (one.head, one.sent, one.idle) == (0, 2, False)


def test_no_more_than_the_limit_goes_without_a_receipt():
    one = window(in_flight=4, unreceipted=5)
    for seq in range(1, 6):
        send(one, [seq])
        one.delivered(seq)
    assert one.places(1.0) == 0
    one.receipted(2, (), 1.0)
    assert one.places(1.0) == 2


def test_a_receipt_that_covers_all_makes_it_idle():
    one = window()
    send(one, [1, 2])
    one.receipted(2, (), 1.0)
    assert not one.idle  # their PUBACKs are still to come
    one.delivered(1)
    one.delivered(2)
    assert one.idle


def test_an_old_receipt_moves_nothing_back():
    one = window()
    send(one, [1, 2, 3])
    one.receipted(3, (), 1.0)
    one.receipted(1, (), 2.0)
    assert (one.head, one.sent) == (3, 3)


def test_a_head_beyond_what_was_sent_in_this_connection_counts():
    one = window()
    one.receipted(7, (), 0.0)
    assert (one.head, one.sent, one.places(0.0)) == (7, 7, 4)


def test_what_is_missing_is_told_once_and_only_if_it_was_sent_and_does_not_fly():
    one = window(in_flight=4)
    send(one, [1, 2, 3, 4, 5])
    for mid in (2, 3, 5):
        one.delivered(mid)
    one.receipted(1, ((2, 4), (5, 9)), 1.0)  # 4 still flies, 6 to 9 were never sent
    assert one.wanted(2) == (2, 3)
    assert one.wanted(2) == (5,)
    assert one.wanted(2) == ()


def test_asking_twice_before_it_went_does_not_double_it():
    one = window()
    send(one, [1, 2, 3])
    for mid in (1, 2, 3):
        one.delivered(mid)
    one.receipted(0, ((1, 2),), 1.0)
    one.receipted(0, ((1, 2),), 1.0)
    assert one.wanted(9) == (1, 2)


def test_what_a_later_receipt_covers_is_not_sent_for_an_earlier_one():
    one = window()
    send(one, [1, 2, 3])
    for mid in (1, 2, 3):
        one.delivered(mid)
    one.receipted(0, ((1, 2),), 1.0)
    one.receipted(1, (), 2.0)
    assert one.wanted(9) == (2,)


def test_an_absurd_range_of_missing_proofs_is_bounded():
    one = window(unreceipted=10)
    send(one, range(1, 11))
    for mid in range(1, 11):
        one.delivered(mid)
    one.receipted(0, tuple((1 + n, 2**62) for n in range(64)), 1.0)
    assert one.wanted(100) == tuple(range(1, 11))


def test_a_proof_sent_out_of_turn_does_not_jump_the_queue_of_the_others():
    one = window()
    send(one, [1, 2, 3])
    one.handed_over(99, 20, 0.0, asked=True)  # the proof that carries the gap record of what is missing
    assert (one.sent, one.flying) == (3, 4)


def test_without_progress_everything_goes_again_each_time_later():
    one = window()
    send(one, [1, 2, 3], 0.0)
    for mid in (1, 2, 3):
        one.delivered(mid)
    now_s, wait_s = 0.0, RESEND_S
    while wait_s < LONGEST_RESEND_S:
        assert one.next_look_s(now_s) == wait_s
        one.places(now_s + wait_s - 0.1)
        assert one.sent == 3
        now_s += wait_s
        assert one.places(now_s) == 4
        assert one.sent == 0
        send(one, [1, 2, 3], now_s)
        for mid in (1, 2, 3):
            one.delivered(mid)
        wait_s *= 2
    assert one.next_look_s(now_s) == LONGEST_RESEND_S
    one.receipted(1, (), now_s)
    assert one.next_look_s(now_s) == RESEND_S  # progress starts it over


def test_a_receipt_without_progress_does_not_shorten_the_wait():
    one = window()
    send(one, [1], 0.0)
    one.delivered(1)
    one.receipted(0, (), RESEND_S - 1.0)
    assert one.next_look_s(RESEND_S - 1.0) == 1.0


def test_what_was_refused_goes_again_after_the_pause_with_all_that_came_after():
    one = window(in_flight=4)
    send(one, [1, 2, 3])
    one.delivered(1)
    one.refused(2)
    one.pause(5.0)
    assert one.sent == 1
    assert (one.places(4.9), one.next_look_s(4.0)) == (0, 1.0)
    one.delivered(3)
    assert one.places(5.0) == 4


def test_a_receipt_ends_the_pause():
    one = window()
    send(one, [1])
    one.refused(1)
    one.pause(100.0)
    one.receipted(0, (), 1.0)
    assert one.places(1.0) == 1


def test_a_new_connection_starts_after_the_head_with_nothing_in_flight():
    one = window()
    send(one, [1, 2, 3, 4])
    one.receipted(2, ((3, 3),), 1.0)
    one.start(2, 1.0)
    assert (one.flying, one.wanted(9), one.sent, one.places(1.0)) == (0, (), 2, 1)


def test_a_mid_of_something_else_is_not_a_proof():
    one = window()
    send(one, [1])
    assert one.flies(1)
    assert not one.flies(2)
    one.delivered(2)
    assert one.flying == 1


class Deliveries(RuleBasedStateMachine):
    """A log that grows, a broker and a gateway that do what they like."""

    def __init__(self):
        super().__init__()
        self.window = window(in_flight=3, unreceipted=8)
        self.now_s, self.newest, self.mid, self.head = 0.0, 0, 0, 0
        self.flying = {}

    @rule(count=st.integers(1, 6))
    def seal(self, count):
        self.newest += count

    @rule(seconds=st.sampled_from([0.1, 1.0, RESEND_S, LONGEST_RESEND_S]))
    def time_passes(self, seconds):
        self.now_s += seconds

    @rule()
    def send(self):
        self.offer()

    def offer(self):
        places = self.window.places(self.now_s)
        asked = self.window.wanted(places)
        after = self.window.sent
        in_turn = range(after + 1, min(self.newest, after + places - len(asked)) + 1)
        for seq, was_asked in [*((seq, True) for seq in asked), *((seq, False) for seq in in_turn)]:
            assert self.head < seq <= self.newest
            self.mid += 1
            self.window.handed_over(self.mid, seq, self.now_s, asked=was_asked)
            self.flying[self.mid] = seq
        return {*asked, *in_turn}

    @rule(data=st.data())
    def puback(self, data):
        if self.flying:
            mid = data.draw(st.sampled_from(sorted(self.flying)))
            del self.flying[mid]
            self.window.delivered(mid)

    @rule(data=st.data(), pause_s=st.floats(0, 120))
    def refused(self, data, pause_s):
        if self.flying:
            mid = data.draw(st.sampled_from(sorted(self.flying)))
            del self.flying[mid]
            self.window.refused(mid)
            if not self.window.paused(self.now_s):
                self.window.pause(self.now_s + pause_s)

    @rule(data=st.data())
    def receipt(self, data):
        head = data.draw(st.integers(0, self.newest))
        pair = st.tuples(st.integers(1, 60), st.integers(0, 2**40)).map(lambda p: (p[0], p[0] + p[1]))
        missing = data.draw(st.lists(pair, max_size=4))
        self.window.receipted(head, tuple(missing), self.now_s)

    @rule()
    def a_beacon(self):
        self.window.gateway_lives(self.now_s)

    @rule()
    def reconnect(self):
        self.flying.clear()
        self.window.start(self.window.head, self.now_s)

    @invariant()
    def bounds_hold(self):
        assert self.window.flying == len(self.flying) <= 3
        assert self.window.head <= self.window.sent <= self.window.head + 8
        assert self.window.head >= self.head  # it never falls
        self.head = self.window.head

    @invariant()
    def it_never_asks_to_be_looked_at_in_the_past(self):
        assert self.window.next_look_s(self.now_s) >= 0.0

    def teardown(self):
        """From any state: with PUBACKs and time, and no receipt, all that fits the window is offered."""
        offered = set()
        self.now_s += LONGEST_RESEND_S + 120
        for _ in range(20):
            for mid in list(self.flying):
                self.puback_of(mid)
            offered |= self.offer()
        assert set(range(self.window.head + 1, min(self.newest, self.window.head + 8) + 1)) <= offered

    def puback_of(self, mid):
        del self.flying[mid]
        self.window.delivered(mid)


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_what_has_no_puback_for_a_minute_is_stuck_until_the_next_connection():
    one = window()
    one.handed_over(7, 1, 0.0)
    assert not one.stuck(PUBACK_S - 1)
    assert one.stuck(PUBACK_S)
    one.start(0, PUBACK_S)
    assert not one.stuck(PUBACK_S)
    one.handed_over(8, 1, PUBACK_S)
    one.delivered(8)
    assert not one.stuck(9 * PUBACK_S)
