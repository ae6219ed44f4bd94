import json
from pathlib import Path

import pytest

from fanout import Load, rounds
from fanout_plots import plots
from fanout_servers import COMPARED, frame
from fanout_tables import goals, tables

RESULTS = Path(__file__).parents[2] / "benchmarks/results"
FOUND = json.loads((RESULTS / "connections.json").read_text("utf-8"))
TABLES = tables(FOUND)
PLOTS = plots(FOUND)  # once: to draw them takes seconds


@pytest.mark.parametrize("name", TABLES)
def test_a_stored_table_has_the_stored_numbers(name: str):
    assert (RESULTS / name).read_text("utf-8") == TABLES[name]


@pytest.mark.parametrize("name", PLOTS)
def test_a_stored_plot_shows_the_stored_numbers(name: str):
    plot = (RESULTS / name).read_text("utf-8")
    assert plot == PLOTS[name]
    assert len(plot.encode()) < 40_000


def test_plots_can_stand_on_one_page():
    drawn = "".join(PLOTS.values())
    ids = [part.partition('"')[0] for part in drawn.split(' id="')[1:]]
    assert len(ids) == len(set(ids))
    assert "<style" not in drawn  # which would be one for the whole page


def test_all_ways_are_stored_and_nothing_was_lost():
    assert set(FOUND["fan-out"]) == set(COMPARED)
    assert {row["arrived"] for row in FOUND["fan-out"].values()} == {1}


def test_the_clients_did_not_hold_up_the_servers():
    # Who is busy all of the time may be what all others wait for.
    assert max(row["busy"] for row in FOUND["fan-out"].values()) < 0.75


def test_a_goal_that_is_missed_is_said_so():
    worse = FOUND | {"memory": FOUND["memory"] | {"added": 4097}}
    assert [*goals(worse)][3][-1] is False
    assert tables(worse)["connections-more.md"].count("| no |") >= 1


@pytest.mark.parametrize(
    ("way", "load"),
    [
        ("floor", Load(3, 40)),
        ("ours", Load(3, 40)),
        ("ours", Load(3, 40, deflate=True)),
        ("rooms", Load(4, 40, rooms=2)),
        ("rooms", Load(2, 40, rooms=4)),
    ],
)
def test_each_client_gets_what_it_is_owed(way: str, load: Load):
    (figures,) = rounds({way: (way, load)}, 1)[way]
    assert figures["arrived"] == 1
    assert figures["cpu"] > 0
    assert load.deflate == (figures["bytes"] < len(frame("x" * load.size)))
