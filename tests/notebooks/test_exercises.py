"""Every exercise tells right answers from wrong ones, and says which mistake.

Exercises are found by themselves: a module in `notebooks/exercises/` is all it
takes for its exercises to be tested here.
"""

import pkgutil
import sys
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any
from unittest.mock import patch

import pytest
from litestar import Litestar

import exercises
from exercises import Exercise, Mutant, Report, source
from snippets.testing.clock import SKIPPING

# A reader's kernel shows no deprecations, and wrong answers may have some.
pytestmark = pytest.mark.filterwarnings(
    "ignore::litestar.exceptions.LitestarDeprecationWarning"
)


@pytest.fixture
def anyio_backend() -> object:
    return SKIPPING


CHAPTERS = [
    module.name
    for module in pkgutil.iter_modules(exercises.__path__)
    if not module.name.startswith("_")
]
EXERCISES = {
    f"{chapter}.{name}": value
    for chapter in CHAPTERS
    for name, value in vars(import_module(f"exercises.{chapter}")).items()
    if isinstance(value, Exercise)
}
RIGHT = [
    pytest.param(exercise, answer, id=f"{name}-{number}")
    for name, exercise in EXERCISES.items()
    for number, answer in enumerate(exercise.right, start=1)
]
MUTANTS = [
    pytest.param(exercise, mutant, id=f"{name}-{number}")
    for name, exercise in EXERCISES.items()
    for number, mutant in enumerate(exercise.mutants, start=1)
]

each_exercise = pytest.mark.parametrize(
    "exercise", EXERCISES.values(), ids=EXERCISES
)


def mutated(exercise: Exercise, mutant: Mutant) -> object:
    """Make the wrong answer from the source of the right one."""
    right: Any = exercise.right[0]
    text = source(right)
    for piece, instead in mutant.edits.items():
        assert text.count(piece) == 1, f"not once in the solution: {piece!r}"
        text = text.replace(piece, instead)
    function = getattr(right, "fn", right)
    names = dict(vars(sys.modules[function.__module__]))
    exec(compile(text, "<mutant>", "exec"), names)
    return names[function.__name__]


def lean() -> AbstractContextManager[Any]:
    """Make apps without the pages of OpenAPI.

    They take most of the time that it takes to make an app, and no exercise
    is about them.
    """
    defaults: Any = Litestar.__init__.__kwdefaults__
    return patch.dict(defaults, openapi_config=None)


async def both_reports(exercise: Exercise, *answers: object) -> Report:
    """Check an answer twice, and see that both reports are the same.

    The second time apps are lean, which makes no difference.
    """
    first = await exercise.check(answers[0])
    with lean():
        second = await exercise.check(answers[-1])
    assert bundle(first) == bundle(second)
    return first


def bundle(shown: Any) -> dict[str, str]:
    return shown._repr_mimebundle_(include=None, exclude=None)


def test_exercises_are_found():
    assert CHAPTERS
    with_exercises = {name.partition(".")[0] for name in EXERCISES}
    assert with_exercises == set(CHAPTERS)


@each_exercise
async def test_the_stub_is_not_yet_an_answer(exercise: Exercise):
    report = await both_reports(exercise, exercise.stub)
    assert not report.passed
    assert report.likely


async def does_nothing(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})


@each_exercise
async def test_nothing_is_no_answer_to_any_check(exercise: Exercise):
    report = await exercise.check(lambda *_: does_nothing)
    assert all(outcome.missed for outcome in report.outcomes), report


@each_exercise
def test_there_are_two_right_answers_and_wrong_ones(exercise: Exercise):
    assert len({source(answer) for answer in exercise.right}) > 1
    assert exercise.mutants


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
async def test_a_right_answer_passes(exercise: Exercise, answer: object):
    report = await both_reports(exercise, answer)
    assert report.passed, report
    assert not report.likely


@pytest.mark.parametrize(("exercise", "mutant"), MUTANTS)
async def test_a_mutant_is_caught_and_its_mistake_is_named(
    exercise: Exercise, mutant: Mutant
):
    # Made twice, because some keep state in their module.
    answers = [mutated(exercise, mutant) for _ in range(2)]
    with lean():
        report = await both_reports(exercise, *answers)
    assert report.likely == mutant.says, report


@each_exercise
def test_every_check_says_what_it_checks(exercise: Exercise):
    titles = [check.__doc__ for check in exercise.checks]
    assert all(titles)
    assert len(set(titles)) == len(titles)


@each_exercise
def test_the_hint_does_not_give_the_solution(exercise: Exercise):
    assert exercise.tip
    hint = " ".join(bundle(exercise.hint())["text/plain"].split())
    stub = source(exercise.stub).splitlines()
    own = [
        line
        for line in source(exercise.right[0]).splitlines()
        if line not in stub and len(line.split()) > 1
    ]
    assert own
    for line in own:
        assert " ".join(line.split()) not in hint


@each_exercise
def test_the_solution_shown_is_the_one_that_is_tested(exercise: Exercise):
    shown = bundle(exercise.solution())
    assert source(exercise.right[0]) in shown["text/plain"]
    assert shown["text/html"].startswith("<details><summary>")
