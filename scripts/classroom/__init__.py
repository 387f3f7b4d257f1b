"""The classroom: submissions repaired, graded where they can reach nothing, and answered with a page of feedback.

repair.py    a student's notebook, brought into the release's order; says what it mended
sandbox.py   a process that sees the package and nothing else
host.py      runs inside: answer cells become a module, one process a question
codec.py     what goes through the pipe: plain data, both ways
judge.py     runs the tests outside, with the grader's own helpers
grader.py    the judge as a step of nbgrader's autograde
feedback.py  the page that a student gets
"""
