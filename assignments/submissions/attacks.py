"""Submissions that are after points which they have not earned, after other people's work, or after the grader.

Each is a notebook in which no question is answered: the code stands in the first answer cell, or, with `everywhere`,
in every one. It deserves no point. `needs`: "process", the boundary between two processes, is enough; "files" and
"network" ask for a sandbox. `leaves` is what must not be found afterwards.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attack:
    why: str
    code: str
    needs: str = "process"
    everywhere: bool = False
    assignment: str = "few-steps"


# An answer that is everything at once: every comparison is true, every operation gives it again.
YES = """
class Yes(float):
    def __bool__(self): return True
    def __call__(self, *a, **k): return self
    def __getattr__(self, name): return self
    def __iter__(self): return iter((self, self, self))
    def __len__(self): return 3
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = lambda self, other: True
    __sub__ = __rsub__ = __add__ = __radd__ = __mul__ = __rmul__ = __abs__ = __pow__ = lambda self, *o: self
    __hash__ = float.__hash__

yes = Yes()
forward_jump = posterior = family_step = walk_down = measured_order = lambda *a, **k: yes
fewest = yes
statements = yes
"""

ATTACKS = {
    "cells-emptied-after-input": Attack(
        "every cell that comes is emptied by a transformer of the input",
        "get_ipython().input_transformers_post.append(lambda lines: [])",
        everywhere=True,
    ),
    "cells-emptied-as-trees": Attack(
        "every cell that comes is emptied by a transformer of its syntax tree",
        """
import ast

class Nothing(ast.NodeTransformer):
    def visit_Module(self, node):
        node.body = []
        return node

get_ipython().ast_transformers.append(Nothing())
""",
        everywhere=True,
    ),
    "answers-read-from-the-test": Attack(
        "a transformer of the input reads the right statements out of the hidden test",
        """
import re

def read(lines):
    found = re.search(r"right = (\\{.*\\})", "".join(lines))
    if found:
        get_ipython().user_ns["statements"] = eval(found[1])
    return lines

get_ipython().input_transformers_post.append(read)
statements = {}
""",
        everywhere=True,
    ),
    "always-equal": Attack("objects whose comparisons are all true", YES, everywhere=True),
    "tensors-that-are-near": Attack(
        "a tensor of a class of its own, whose differences are zero and whose shape is any",
        """
class Near(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return torch.zeros(())

near_ = torch.zeros(5, 3).as_subclass(Near)
forward_jump = family_step = walk_down = lambda *a, **k: near_
posterior = lambda *a, **k: (near_, near_)
measured_order = lambda *a: near_
fewest, statements = near_, near_
""",
        everywhere=True,
    ),
    "helpers-redefined": Attack(
        "the helpers that tests use are redefined",
        """
near = lambda got, wanted: True
distance = lambda n: -1.0
gaussian = lambda *a, **k: torch.zeros(5, 3)
TOLERANCE = 1e9
log = sqrt = lambda x: 0.0
fewest = 5
""",
    ),
    "sum-redefined": Attack(
        "no wrong statement is counted", "sum = lambda g: 0\nstatements = {}", everywhere=True
    ),
    "builtins-redefined": Attack(
        "built-in functions that tests use",
        """
import builtins

builtins.abs = builtins.sum = builtins.max = builtins.len = lambda *a, **k: 0
builtins.all = builtins.isinstance = lambda *a, **k: True
builtins.AssertionError = type("Quiet", (Exception,), {"__init__": lambda self, *a: None})
statements, fewest = {}, 5
""",
        everywhere=True,
    ),
    "torch-redefined": Attack(
        "torch's own operations",
        """
torch.Tensor.abs = torch.Tensor.__sub__ = lambda self, *o: torch.zeros(())
torch.Tensor.__le__ = torch.Tensor.__lt__ = lambda self, o: True
torch.as_tensor = lambda v, **k: torch.zeros(())
forward_jump = family_step = walk_down = lambda *a, **k: torch.zeros(())
posterior = lambda *a, **k: (torch.zeros(()), 0.0)
""",
        everywhere=True,
    ),
    "package-redefined": Attack(
        "the package's mixtures answer what the student wants",
        """
import diffusion_tutorial, diffusion_tutorial.mixtures as m

m.wasserstein_1d = diffusion_tutorial.trajectory = lambda *a, **k: 0.0
diffusion_tutorial.GaussianMixture.posterior_mean = lambda self, x, a: 0 * x
fewest = 5
""",
    ),
    "a-dictionary-that-agrees": Attack(
        "a dictionary of another class, whose values are whatever is asked for",
        """
class Agrees(dict):
    def get(self, key, default=None):
        import sys
        return sys._getframe(1).f_locals.get("value")
    def __iter__(self): return iter(())
    def values(self): return []

statements = Agrees()
""",
        everywhere=True,
    ),
    "frames-searched": Attack(
        "frames and the collector's objects are searched for a solution",
        """
import gc, sys

frame = sys._getframe()
found = []
while frame:
    found += [v for v in frame.f_locals.values() if isinstance(v, (str, dict, list))]
    frame = frame.f_back
texts = [str(o) for o in found] + [o for o in gc.get_objects() if isinstance(o, str)]
for text in texts:
    for name in ("forward_jump", "posterior", "family_step", "walk_down", "measured_order"):
        if f"def {name}" in text and "BEGIN SOLUTION" in text:
            try:
                exec(text, globals())
            except Exception:
                pass
right = [t for t in texts if "right = {" in t]
statements = eval(right[0].split("right = ")[1]) if right else {}
""",
        everywhere=True,
    ),
    "a-message-of-its-own": Attack(
        "results are written into every open pipe, as if the host had sent them",
        """
import json, os, struct

text = json.dumps({"op": "result", "value": ["list", [1, 2, 3]], "after": [], "blobs": []}).encode()
said = json.dumps({"op": "ran", "cells": [], "names": {"fewest": 5, "statements": ["dict", []]}, "blobs": []}).encode()
for fd in range(3, 40):
    for message in (said, text, text):
        try:
            os.write(fd, struct.pack(">Q", len(message)) + message)
        except OSError:
            pass
""",
        everywhere=True,
    ),
    "a-message-that-is-none": Attack(
        "bytes that are no message, and a length of an exabyte",
        """
import os

for fd in range(3, 40):
    try:
        os.write(fd, b"\\x0f" + b"\\xff" * 4000)
    except OSError:
        pass
""",
        everywhere=True,
    ),
    "a-pickle": Attack(
        "a result that would run when it is unpickled",
        """
class Bomb:
    def __reduce__(self):
        import os
        return os.system, ("touch /tmp/the-grader-was-here",)

forward_jump = posterior = family_step = walk_down = measured_order = lambda *a, **k: Bomb()
fewest = statements = Bomb()
""",
        everywhere=True,
    ),
    "a-value-without-end": Attack(
        "a list that holds itself, a number of a million digits, a dictionary with keys of lists",
        """
deep = []
deep.append(deep)
fewest, statements = 10**1000000, deep
forward_jump = lambda *a, **k: deep
posterior = lambda *a, **k: (deep, deep)
measured_order = lambda *a, **k: 10**1000000
""",
        everywhere=True,
    ),
    "the-process-ends": Attack("the process ends itself", "import os\nos._exit(0)", everywhere=True),
    "system-exit": Attack(
        "the way out by exception, in the cell and in each call",
        """
import sys

def leave(*a, **k):
    sys.exit(0)

forward_jump = posterior = family_step = walk_down = measured_order = leave
sys.exit(0)
""",
        everywhere=True,
    ),
    "the-parent-killed": Attack(
        "the process above is killed", "import os\nos.kill(os.getppid(), 9)", everywhere=True
    ),
    "a-daemon-stays": Attack(
        "a process stays behind and kills those that come after it",
        """
import os, time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for _ in range(40):
            time.sleep(0.2)
            try:
                for fd in range(3, 12):
                    os.write(fd, b"\\x00" * 7 + b"\\x02{}")
            except OSError:
                pass
        os._exit(0)
    os._exit(0)
""",
    ),
    "memory-without-end": Attack(
        "as much memory as there is", "hoard = [bytearray(1 << 28) for _ in range(400)]"
    ),
    "a-flood-of-text": Attack("200 000 lines of output", "for k in range(200_000):\n    print('text', k)"),
    "markup": Attack(
        "output and errors that are markup",
        """
print("<script>document.title='taken'</script>")
raise ValueError("<img src=x onerror=alert(1)>")
""",
    ),
    "signals": Attack(
        "traces, timers and exit handlers that change what comes after",
        """
import atexit, signal, sys

sys.settrace(lambda *a: None)
sys.excepthook = lambda *a: None
signal.signal(signal.SIGALRM, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
atexit.register(lambda: print("points: 24"))
""",
        everywhere=True,
    ),
    "the-judge-imported": Attack(
        "the grader's modules are imported and patched",
        """
import sys

for name in ("classroom.judge", "judge", "codec", "nbgrader.utils", "nbgrader.api"):
    try:
        module = __import__(name, fromlist=["x"])
        module.determine_grade = module.decode = lambda *a, **k: (24, 24)
    except Exception:
        pass
if hasattr(sys.modules["__main__"], "encode"):
    sys.modules["__main__"].encode = lambda *a, **k: 1.0
statements, fewest = {}, 5
""",
        everywhere=True,
    ),
    "the-gradebook": Attack(
        "the gradebook is opened and written to",
        """
import sqlite3

book = sqlite3.connect("COURSE/gradebook.db")
book.execute("update grade set auto_score = 24, manual_score = 24")
book.commit()
""",
        needs="files",
    ),
    "another-submission": Attack(
        "the next student's file is emptied",
        'open("COURSE/submitted/zoe/few-steps/few-steps.ipynb", "w").write("{}")',
        needs="files",
    ),
    "the-source-run": Attack(
        "the solutions in source/ are run",
        """
import json

for cell in json.load(open("COURSE/source/few-steps/few-steps.ipynb"))["cells"]:
    if "BEGIN SOLUTION" in "".join(cell["source"]):
        exec("".join(cell["source"]), globals())
""",
        needs="files",
        everywhere=True,
    ),
    "the-clone-run": Attack(
        "the solutions in the clone's assignments/few-steps.md are run",
        """
import re

text = open("CLONE/assignments/few-steps.md").read()
for part in re.findall(r"```\\{code-cell\\} ipython3\\n:tags: \\[\\"answer.*?\\]\\n(.*?)```", text, re.S):
    exec(re.sub(r"\\{\\{ skip \\}\\}", "0", re.sub(r"\\{\\{ end \\}\\}", "0.99", part)), globals())
""",
        needs="files",
        everywhere=True,
    ),
    "the-package-written": Attack(
        "the installed package is changed for everybody after",
        """
import diffusion_tutorial.samplers as s

open(s.__file__, "a").write("\\n# the-grader-was-here\\n")
""",
        needs="files",
    ),
    "home-searched": Attack(
        "every file that can be read is searched for a solution",
        """
import os

for top in ("/root", "/home", "/work", "/tmp", "/var", "/srv", "/opt", "/mnt"):
    for folder, _, names in os.walk(top):
        for name in names:
            if name.endswith((".ipynb", ".md", ".db")) and "site-packages" not in folder:
                try:
                    text = open(os.path.join(folder, name)).read()
                except Exception:
                    continue
                if "BEGIN SOLUTION" in text or name == "gradebook.db":
                    raise SystemExit(f"FOUND {folder}/{name}")
print("nothing found")
""",
        needs="files",
    ),
    "the-network": Attack(
        "the solutions are fetched, or the release is sent away",
        """
import socket, urllib.request

reached = []
for address in (("1.1.1.1", 53), ("8.8.8.8", 53), ("127.0.0.1", PORT)):
    try:
        socket.create_connection(address, timeout=2)
        reached.append(address)
    except OSError:
        pass
print("REACHED", reached)
""",
        needs="network",
    ),
}
