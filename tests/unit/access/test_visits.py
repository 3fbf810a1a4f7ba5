"""Who is here: by requests of the last minutes and by open tabs."""

from __future__ import annotations

from tunesmith.access import visits
from tunesmith.access.people import ADMIN, VIEWER, Person
from tunesmith.access.visits import HERE_SECONDS, Visits


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


ANN, VI = Person("Ann", ADMIN), Person("Vi", VIEWER)


def test_who_asked_lately_is_here_the_last_first() -> None:
    clock = Clock()
    known = Visits(clock)
    assert known.see(ANN)
    clock.now += 10
    assert known.see(VI)
    assert not known.see(ANN)
    assert known.see(Person("Ann", VIEWER))  # the same name in another role is another visit
    assert [(visit.name, visit.role) for visit in known.here()] == [("Ann", VIEWER), ("Ann", ADMIN), ("Vi", VIEWER)]
    assert (known.here()[1].first_at, known.here()[1].last_at) == (1000.0, 1010.0)
    clock.now += HERE_SECONDS
    assert known.here() == []
    assert not known.see(ANN)


def test_an_open_tab_is_here_for_as_long_as_it_is_open() -> None:
    clock = Clock()
    known = Visits(clock)
    with known.tab(VI), known.tab(VI):
        clock.now += 10 * HERE_SECONDS
        assert [(visit.name, visit.tabs) for visit in known.here()] == [("Vi", 2)]
    assert [(visit.name, visit.tabs) for visit in known.here()] == [("Vi", 0)]
    clock.now += HERE_SECONDS
    assert known.here() == []


def test_programs_are_told_apart_and_not_all_are_remembered() -> None:
    known = Visits(Clock())
    assert known.see(ANN)
    assert known.see(ANN, program=True)
    for number in range(2 * visits._REMEMBERED):
        known.see(Person(f"p{number}", VIEWER))
    assert len(known.here()) == visits._REMEMBERED
