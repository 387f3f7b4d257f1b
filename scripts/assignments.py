"""Graded assignments: from one source with solutions to a course that nbgrader works on, and to grades.

    make [--salt TEXT] [--course FOLDER] [--replace] [name ...]    sources and student releases
    autograde --course FOLDER [--student NAME] [name ...]          grade what was handed in, each in a sandbox
    feedback --course FOLDER [--student NAME] [name ...]           a page for each student
    pairs --course FOLDER [name ...]                               submissions with equal normalised answers
    grade [--all] [name ...]                                       grade the kept submissions and compare the points
    mutants [--most N] [name ...]                                  grade mutants and variants of our solutions

What the tags and the salt of a source are is said in classroom/source.py.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from classroom.course import Course, CourseError
from classroom.sandbox import NoSandbox
from classroom.source import ROOT, names

ACTIONS = ("make", "autograde", "feedback", "pairs", "grade", "mutants")


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("names", nargs="*", help="assignments; all if none is named")
    parser.add_argument(
        "--salt", help="any text; another salt gives other constants (default: the course's own)"
    )
    parser.add_argument(
        "--course", default=str(ROOT / "course"), help="the course's folder (default: %(default)s)"
    )
    parser.add_argument("--replace", action="store_true", help="a release that is there already may change")
    parser.add_argument("--student", action="append", help="only this one; may be given more than once")
    parser.add_argument("--all", action="store_true", help="every kept submission, not three an assignment")
    parser.add_argument("--most", type=int, default=0, help="mutants an answer (0: all that there are)")
    options = parser.parse_intermixed_args(argv)
    if unknown := set(options.names) - set(names()):
        parser.error(f"no assignment named {', '.join(sorted(unknown))}; there are: {', '.join(names())}")
    chosen = options.names or names()
    try:
        return run(options, chosen)
    except (CourseError, NoSandbox) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def run(options, chosen: list[str]) -> int:
    if options.action == "grade":
        from classroom import checks

        found = checks.grade(chosen, options.all)
        print("\n".join(found) or f"{', '.join(chosen)}: every kept submission has the points that it should")
        return bool(found)
    if options.action == "mutants":
        from classroom import mutants

        return mutants.report(chosen, options.most)
    course = Course(options.course)
    if options.action == "make":
        # make(1) hands the salt over in the environment, where no shell reads it.
        salt = os.environ.get("ASSIGNMENTS_SALT") or None if options.salt is None else options.salt
        for line in course.make(chosen, salt, options.replace):
            print(line)
        print(f"the course is {course.folder}; its salt is {course.state()['salt']!r}")
        if shutil.which("nbgrader") is None:
            print(f"nbgrader's own programs are in {Path(sys.executable).parent}")
        return 0
    if not course.state():
        raise CourseError(
            f"--course is {str(course.folder)!r}, no course; allowed: a folder that `make` wrote"
        )
    if not options.names:
        chosen = [name for name in chosen if course.students(name)]
        if not chosen:
            raise CourseError(
                f"{course.folder}/submitted holds no answers; allowed: submitted/STUDENT/NAME/NAME.ipynb"
            )
    if options.action == "autograde":
        return int(sum(course.autograde_all(name, options.student) for name in chosen) > 0)
    if options.action == "pairs":
        from classroom import pairs

        for name in chosen:
            print("\n".join(pairs.report(course, name)))
        return 0
    from classroom import feedback

    for name in chosen:
        for student in options.student or course.students(name):
            print(feedback.write(course, name, student))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
