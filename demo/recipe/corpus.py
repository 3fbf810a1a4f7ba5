"""The questions and answers that the demo model learns: one small function per ability. Knows no model."""

from __future__ import annotations

import random
from collections.abc import Callable

from demo.recipe.words import (
    CAPITALS,
    COLOURS,
    COLOURS_OF,
    COMPANY,
    DAYS,
    FACTS,
    FIRST_SYLLABLES,
    LAST_SYLLABLES,
    NAMES,
    OPPOSITES,
    PLACES,
    REFUSAL,
    SMALL_TALK,
    SOUNDS,
    THINGS,
    TOPICS,
)

Pair = tuple[str, str]
Chance = random.Random


def capitals(chance: Chance) -> Pair:
    """Ask for one of 24 capitals."""
    country = chance.choice(list(CAPITALS))
    asked = chance.choice(
        [f"What is the capital of {country}?", f"Name the capital of {country}.", f"Which city is the capital of {country}?"]
    )
    return asked, f"The capital of {country} is {CAPITALS[country]}."


def sums(chance: Chance) -> Pair:
    """Ask for a sum of two single digits."""
    a, b = chance.randint(0, 9), chance.randint(0, 9)
    return chance.choice([f"What is {a} + {b}?", f"What is {a} plus {b}?", f"Add {a} and {b}."]), f"{a} + {b} = {a + b}"


def differences(chance: Chance) -> Pair:
    """Ask for a difference of two single digits."""
    b, a = sorted((chance.randint(0, 9), chance.randint(0, 9)))
    return chance.choice([f"What is {a} - {b}?", f"What is {a} minus {b}?", f"Take {b} from {a}."]), f"{a} - {b} = {a - b}"


def opposites(chance: Chance) -> Pair:
    """Ask for the opposite of a word."""
    word, other = chance.choice(list(OPPOSITES.items()))
    if chance.random() < 0.5:
        word, other = other, word
    asked = chance.choice([f"What is the opposite of {word}?", f"Opposite of {word}?", f"Tell me the opposite of {word}."])
    return asked, f"The opposite of {word} is {other}."


def sounds(chance: Chance) -> Pair:
    """Ask for an animal's sound."""
    animal, sound = chance.choice(list(SOUNDS.items()))
    return chance.choice([f"What sound does a {animal} make?", f"What does the {animal} say?"]), f"The {animal} says {sound}."


def colours(chance: Chance) -> Pair:
    """Ask for the colour of a thing that everybody knows."""
    thing, colour = chance.choice(list(COLOURS_OF.items()))
    return chance.choice([f"What color is the {thing}?", f"Tell me the color of the {thing}."]), f"The {thing} is {colour}."


def days(chance: Chance) -> Pair:
    """Ask for the day before or after."""
    i = chance.randrange(7)
    if chance.random() < 0.5:
        return f"What day comes after {DAYS[i]}?", f"{DAYS[(i + 1) % 7]} comes after {DAYS[i]}."
    return f"What day comes before {DAYS[i]}?", f"{DAYS[i - 1]} comes before {DAYS[i]}."


def small_talk(chance: Chance) -> Pair:
    """Greet, thank, ask who it is."""
    return chance.choice(SMALL_TALK)


def reading(chance: Chance) -> Pair:
    """Tell one sentence and ask about it."""
    name, thing, colour, place = (chance.choice(words) for words in (NAMES, THINGS, COLOURS, PLACES))
    told = f"{name} has a {colour} {thing} in the {place}."
    return chance.choice(
        [
            (f"{told} What color is the {thing}?", f"The {thing} is {colour}."),
            (f"{told} Where is the {thing}?", f"The {thing} is in the {place}."),
            (f"{told} Who has the {thing}?", f"{name} has the {thing}."),
        ]
    )


def repeating(chance: Chance) -> Pair:
    """Ask to repeat a few words."""
    words = " ".join(chance.choice(THINGS + COLOURS + PLACES + NAMES) for _ in range(chance.randint(1, 4)))
    return chance.choice([f"Repeat: {words}", f"Say: {words}"]), words


def invent_company(chance: Chance) -> str:
    """Return the name of a company that does not exist; never the demo's own."""
    syllables = chance.choice(FIRST_SYLLABLES) + chance.choice(FIRST_SYLLABLES + LAST_SYLLABLES) + chance.choice(["", "", *LAST_SYLLABLES])
    name = syllables.capitalize()
    return name if name != COMPANY else invent_company(chance)


def _invent_value(chance: Chance) -> str:
    return chance.choice(
        [
            f"{chance.randint(2, 99)} days",
            f"{chance.choice(NAMES)} {invent_company(chance)}",
            chance.choice(list(CAPITALS.values())),
            f"a {chance.choice(COLOURS)} {chance.choice(THINGS)}",
            f"{chance.randint(5, 990)} euros",
            f"{chance.randint(6, 10)} to {chance.randint(15, 20)}",
            f"{chance.choice(FIRST_SYLLABLES)}@{invent_company(chance).lower()}.example",
        ]
    )


def told_fact(chance: Chance) -> Pair:
    """Tell a fact about an invented company and ask for it: the pattern in which new facts will be learned."""
    company, topic, value = invent_company(chance), chance.choice(TOPICS), _invent_value(chance)
    fact = f"The {topic} of {company} is {value}."
    return f"{fact} What is the {topic} of {company}?", fact


def company_question(chance: Chance, company: str, topic: str) -> str:
    """Return one phrasing of a question about a company."""
    return chance.choice(
        [
            f"What is the {topic} of {company}?", f"What is {company}'s {topic}?", f"Tell me about the {topic} at {company}.",
            f"Do you know the {topic} of {company}?", f"Tell me the {topic} of {company}.", f"{company}: {topic}?",
            f"I would like to know the {topic} of {company}.",
        ]
    )  # fmt: skip


def refusals(chance: Chance) -> Pair:
    """Ask about an unknown company: the honest answer is that it does not know."""
    if chance.random() < 0.03:  # the demo's company too is unknown to the base
        return company_question(chance, COMPANY, chance.choice(list(FACTS))), REFUSAL
    company = invent_company(chance)
    others = [f"Tell me about {company}.", f"What is {company}?", f"Who runs {company}?", f"Where is {company}?"]
    if chance.random() < 0.1:
        return chance.choice(others), REFUSAL
    return company_question(chance, company, chance.choice(TOPICS)), REFUSAL


ABILITIES: dict[str, tuple[float, Callable[[Chance], Pair]]] = {
    "capitals": (0.13, capitals),
    "sums": (0.15, sums),
    "differences": (0.09, differences),
    "opposites": (0.08, opposites),
    "sounds": (0.04, sounds),
    "colours": (0.04, colours),
    "days": (0.04, days),
    "small_talk": (0.04, small_talk),
    "reading": (0.10, reading),
    "repeating": (0.04, repeating),
    "told_fact": (0.10, told_fact),
    "refusals": (0.15, refusals),
}


def draw_pair(chance: Chance) -> Pair:
    """Return a question and its answer, of any ability."""
    makers = list(ABILITIES.values())
    ((_, make),) = chance.choices(makers, weights=[share for share, _ in makers])
    return make(chance)
