"""Exercises and quizzes have one form in all chapters, and fold in every program that shows a notebook."""

import re
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"
CHAPTERS = (
    "landscape",
    "still-life",
    "few-steps",
    "solvers",
    "schedules",
    "flows",
    "guidance",
    "guidance-continued",
    "negative-prompts",
    "real-checkpoints",
)
FOLD = re.compile(r'<details class="dt-fold"><summary>(.+?)</summary>\n\n(.+?)\n\n</details>', re.S)
LEAD = "Open the answer that you hold to be true, and then the others: each says what is wrong with it."


@pytest.fixture(params=CHAPTERS)
def chapter(request) -> str:
    return (BOOK / f"{request.param}.md").read_text(encoding="utf-8")


def part(text: str, title: str) -> str:
    assert text.count(f"\n## {title}\n") == 1
    return re.split(r"\n## ", text.split(f"\n## {title}\n")[1])[0]


def test_an_exercise_is_a_task_a_hint_and_a_solution_that_runs(chapter):
    exercises = re.split(r"^\*\*Exercise (\d+)\.\*\*", part(chapter, "Exercises"), flags=re.M)
    numbers, texts = exercises[1::2], exercises[2::2]
    assert [int(n) for n in numbers] == list(range(1, len(numbers) + 1)) and len(numbers) >= 4
    for text in texts:
        folds = FOLD.findall(text)
        assert [title for title, _ in folds] == ["Hint", "Solution"], text[:200]
        assert all(len(body) > 30 for _, body in folds), text[:200]
        assert text.index("<details") > 30  # the task comes first
        assert re.search(r"```\{code-cell\} ipython3\n:tags: \[hide-cell", text), text[:200]


def test_a_question_has_feedback_for_every_answer_and_one_is_right(chapter):
    quiz = part(chapter, "Quiz")
    assert quiz.strip().startswith(LEAD)
    questions = re.split(r"^\*\*(\d+)\. ", quiz, flags=re.M)
    numbers, texts = questions[1::2], questions[2::2]
    assert [int(n) for n in numbers] == list(range(1, len(numbers) + 1)) and len(numbers) >= 4
    for text in texts:
        folds = FOLD.findall(text)
        assert [title[:3] for title, _ in folds] == ["A. ", "B. ", "C. "], text[:200]
        assert all(re.match(r"(Right|No)\b", body) and len(body) > 25 for _, body in folds), text[:400]
        assert sum(body.startswith("Right") for _, body in folds) == 1, text[:200]


def test_the_right_answer_is_not_always_in_one_place(chapter):
    bodies = [body for _, body in FOLD.findall(part(chapter, "Quiz"))]
    places = [k % 3 for k, body in enumerate(bodies) if body.startswith("Right")]
    assert len(set(places)) > 1


def test_titles_need_no_markdown(chapter):
    """A summary is HTML: no program sets mathematics or code in it."""
    assert not [title for title, _ in FOLD.findall(chapter) if re.search(r"[$`*{}]", title)]
    assert "{dropdown}" not in chapter and chapter.count("<details") == len(FOLD.findall(chapter))
