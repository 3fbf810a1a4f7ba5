"""Small tables, questions about them, and the SQL that answers: the demo's text-to-SQL rows."""

from __future__ import annotations

import random

TABLES = {
    "teas": (["Name", "Country", "Price", "Grams"], [["Sencha", "Assam", "Rooibos"], ["Japan", "India", "Kenya"], None, None]),
    "ferries": (["Route", "Captain", "Seats", "Year"], [["North", "Harbour", "Island"], ["Lind", "Okada", "Mora"], None, None]),
    "lamps": (["Model", "Room", "Watts", "Stock"], [["Glow", "Beam", "Arc"], ["kitchen", "office", "hall"], None, None]),
    "choirs": (["Town", "Leader", "Singers", "Founded"], [["Visby", "Sintra", "Nara"], ["Eva", "Hugo", "Mia"], None, None]),
    "bikes": (["Brand", "Color", "Gears", "Weight"], [["Velo", "Kite", "Rado"], ["red", "green", "black"], None, None]),
}
COMPARISONS = (("more than", ">"), ("less than", "<"))


def draw_query(chance: random.Random) -> tuple[str, str]:
    """Return the table with a question, and the SQL."""
    table = chance.choice(list(TABLES))
    columns, values = TABLES[table]
    word = chance.choice([0, 1])
    number = chance.choice([2, 3])
    amount = chance.randint(2, 99)
    said, sign = chance.choice(COMPARISONS)
    value = chance.choice(values[word] or [])
    wanted = columns[1 - word]
    question, condition, picked = chance.choice(
        [
            (f"Which {wanted} has {columns[word]} {value}?", f"{columns[word]} = '{value}'", wanted),
            (f"What is the {columns[number]} where {columns[word]} is {value}?", f"{columns[word]} = '{value}'", columns[number]),
            (f"Which {wanted} has {said} {amount} {columns[number]}?", f"{columns[number]} {sign} {amount}", wanted),
            (f"How many rows have {said} {amount} {columns[number]}?", f"{columns[number]} {sign} {amount}", "COUNT(*)"),
        ]
    )
    return f"table: {table}\ncolumns: {', '.join(columns)}\nQ: {question}", f"SELECT {picked} FROM {table} WHERE {condition}"
