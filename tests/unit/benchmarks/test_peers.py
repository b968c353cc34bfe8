from benchmarks.peers import contenders, counter, scenario
from benchmarks.peers.counter import MOST, Counter


def test_the_count_goes_on_in_the_next_process(tmp_path):
    first = Counter(tmp_path / "counter")
    assert [first.next(), first.next()] == [1, 2]
    assert Counter(tmp_path / "counter").next() == 3
    assert first.now == 3


def test_every_number_comes_back_from_a_pressure_rounded_as_the_peers_round_it():
    for number in (1, 2, 1234, MOST):
        pascal = counter.pressure_Pa(number)
        assert 30_000 < pascal < 110_000, "the part's range"
        assert counter.number_of(round(pascal + 0.2, 1)) == number, "a BME280's resolution"
        assert counter.number_of(round(pascal / 100, 2) * 100) == number, "hPa, two decimals"


def test_out_of_order_is_what_comes_after_a_later_one():
    assert list(scenario.overtaken([1, 2, 5, 3, 4, 6])) == [3, 4]
    assert list(scenario.overtaken([])) == []


def test_the_curve_ends_with_everything_that_came():
    drawn = scenario.curve([0.5, 1.0, 9.0], seconds=2.0, points=3)
    assert drawn == [(0.0, 0), (3.0, 2), (6.0, 2), (9.0, 3)]


def test_a_number_is_read_out_of_each_peers_message():
    assert list(contenders.from_json(b'{"time": 1.5, "pressure": 400.3}')) == [3]
    assert list(contenders.from_number(b"17")) == [17]
