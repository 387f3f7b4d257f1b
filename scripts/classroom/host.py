"""The submission's side. Runs inside the sandbox; its source and the codec's are handed over as text.

For each question the host forks a process, which runs the student's cells up to that question, as one module, and
then answers calls. Answers to earlier questions are replaced by the reference once they have run, so that one slip
costs one question; no process ever sees a solution to its own question or to a later one.
"""

import os
import signal
import sys


def serve(inbox: int, outbox: int, path: list, limits: dict) -> None:
    """Answer the judge until it hangs up. inbox, outbox: file descriptors."""
    import resource
    import warnings

    sys.path[:0] = path
    warnings.filterwarnings("ignore")
    import IPython.core.interactiveshell  # noqa: F401
    import numpy  # noqa: F401
    import torch

    torch.set_num_threads(1)
    for module in limits.get("warm", []):
        __import__(module)

    def read(n):
        chunks = []
        while n:
            chunk = os.read(inbox, min(n, 1 << 20))
            if not chunk:
                raise EOFError
            chunks.append(chunk)
            n -= len(chunk)
        return b"".join(chunks)

    def send(message, blobs=()):
        data = memoryview(pack(message, list(blobs)))  # noqa: F821
        while data:
            data = data[os.write(outbox, data) :]

    send({"op": "ready"})
    while True:
        try:
            message, blobs = unpack(read)  # noqa: F821
        except EOFError:
            return
        if message["op"] != "phase":
            continue
        child = os.fork()
        if not child:
            try:
                os.setsid()
                for what, most in (
                    (resource.RLIMIT_CORE, 0),
                    (resource.RLIMIT_FSIZE, 1 << 26),
                    (resource.RLIMIT_DATA, limits["memory"]),
                    (resource.RLIMIT_CPU, limits["seconds"]),
                ):
                    resource.setrlimit(what, (most, most))
                Student(read, send).phase(message, blobs)
            except BaseException as error:
                if not isinstance(error, (EOFError, BrokenPipeError)):
                    import traceback

                    traceback.print_exc()
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        try:
            os.killpg(child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        send({"op": "exit", "status": status})


class Student:
    """One question's process: the student's names, and the calls that the judge makes of them."""

    def __init__(self, read, send):
        self.read, self.send = read, send

    def phase(self, message, blobs) -> None:
        import io
        import tempfile

        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        for name, place in message.get("files", {}).items():
            with open(name, "wb") as file:
                file.write(blobs[place])
        keep = tempfile.TemporaryFile()
        os.dup2(keep.fileno(), 1)
        os.dup2(keep.fileno(), 2)
        sys.stdout = io.TextIOWrapper(
            os.fdopen(1, "wb", 0), encoding="utf-8", errors="replace", write_through=True
        )
        sys.stderr = sys.stdout
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "NoColor"
        shell = InteractiveShell(config=config)
        InteractiveShell._instance = shell
        shell.init_sys_modules()
        shell.enable_gui = lambda gui=None: None
        errors = []
        # References have names of their own, so that nothing of the student's changes what they do.
        ours = {"__name__": "reference"}
        for cell in message["cells"]:
            if cell["kind"] in ("locked", "reference"):
                exec(cell["source"], ours)
            if cell["kind"] == "reference":
                shell.user_ns.update({name: ours[name] for name in cell["names"]})
                continue
            begin = keep.seek(0, 2)
            wrong = self.run(shell, cell["source"])
            if cell["say"]:
                keep.seek(begin)
                text = keep.read(20_000).decode("utf-8", "replace")
                keep.seek(0, 2)
                errors.append({"error": wrong, "output": text})
        self.names = shell.user_ns
        values, out = {}, []
        for name in message["names"]:
            if name in self.names:
                try:
                    # A callable is called where it is; all else is handed over.
                    value = self.names[name]
                    values[name] = ["function", 0, name] if callable(value) else encode(value, out)  # noqa: F821
                except BaseException as error:
                    values[name] = ["unknown", str(error)[:300]]
        self.send({"op": "ran", "cells": errors, "names": values}, out)
        while True:
            message, blobs = self.read_message()
            if message["op"] != "call":
                return
            self.answer(message, blobs)

    def read_message(self):
        return unpack(self.read)  # noqa: F821

    @staticmethod
    def run(shell, source):
        """Run a cell as a notebook does. Returns [type, message] of what it raised, or None."""
        try:
            done = shell.run_cell(source, store_history=False)
            error = done.error_before_exec or done.error_in_exec
        except BaseException as raised:
            error = raised
        return None if error is None else said(error)

    def answer(self, message, blobs) -> None:
        out = []
        try:
            given = decode(message["args"], blobs, self.callback)  # noqa: F821
            named = decode(message["kwargs"], blobs, self.callback)  # noqa: F821
            value = self.names[message["name"]](*given, **named)
            reply = {"op": "result", "value": encode(value, out)}  # noqa: F821
            reply["after"] = [self.after(one, out) for one in given]
        except BaseException as error:
            out = []
            reply = {"op": "result", "error": said(error)}
        self.send(reply, out)

    @staticmethod
    def after(argument, out):
        """What a tensor that was handed in has become, or None."""
        import torch

        if not isinstance(argument, torch.Tensor):
            return None
        return [encode(argument, out), argument.is_leaf and argument.grad is not None]  # noqa: F821

    def callback(self, number: int, name: str):
        """A function of the judge's: the call goes back through the pipe, and so does its derivative."""
        import torch

        def ask(args, kwargs, grad):
            out = []
            handle = None
            device = str(torch.get_default_device())
            message = {"op": "callback", "function": number, "grad": grad, "device": device}
            message["args"] = encode(list(args), out, handle)  # noqa: F821
            message["kwargs"] = encode(dict(kwargs), out, handle)  # noqa: F821
            self.send(message, out)
            return self.reply()

        def derivative(number, gradient):
            out = []
            self.send({"op": "derivative", "of": number, "gradient": encode(gradient, out)}, out)  # noqa: F821
            return self.reply()

        class Through(torch.autograd.Function):
            @staticmethod
            def forward(*args):
                value, tape = ask(args, {}, True)
                return value, torch.tensor(float(tape))

            @staticmethod
            def setup_context(ctx, inputs, output):
                ctx.tape = int(output[1])
                ctx.mark_non_differentiable(output[1])
                ctx.many = len(inputs)

            @staticmethod
            def backward(ctx, gradient, _):
                found = derivative(ctx.tape, gradient)
                return tuple(found[k] if ctx.needs_input_grad[k] else None for k in range(ctx.many))

        def function(*args, **kwargs):
            tracked = any(isinstance(a, torch.Tensor) and a.requires_grad for a in args)
            if tracked and torch.is_grad_enabled() and not kwargs:
                return Through.apply(*args)[0]
            return ask(args, kwargs, False)

        function.__name__ = function.__qualname__ = name
        return function

    def reply(self):
        message, blobs = self.read_message()
        if message["op"] != "reply":
            os._exit(1)
        if "error" in message:
            import builtins

            kind = getattr(builtins, message["error"][0], RuntimeError)
            raise kind(message["error"][1])
        return decode(message["value"], blobs)  # noqa: F821


def said(error) -> list:
    """[name of a built-in type, message, own name of the type] of an exception."""
    import builtins

    kinds = [kind.__name__ for kind in type(error).__mro__]
    known = next((k for k in kinds if isinstance(getattr(builtins, k, None), type)), "Exception")
    try:
        text = str(error)
    except BaseException:
        text = ""
    return [known, text[:2000], kinds[0][:80]]
