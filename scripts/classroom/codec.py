"""What goes through the pipe between judge and submission: numbers, text, lists, tensors. Nothing that runs.

A message is one JSON object, followed by the bytes of its tensors: ">Q" length of the JSON, the JSON, the bytes. No
pickle: decoding makes nothing but plain values of the types below, so what a submission sends cannot act.
"""

import json
import struct

MOST = 1 << 28  # bytes of a message
DEEPEST = 40
FLOATS = ("float64", "float32", "float16", "bfloat16")
DTYPES = (*FLOATS, "int64", "int32", "int16", "int8", "uint8", "bool")


class Undecodable(ValueError):
    """A value of a type that is not passed on, or bytes that are no message."""


def encode(value, blobs: list, handle=None, depth: int = 0):
    """`value` as JSON; tensors' bytes are appended to `blobs`. `handle(function)` gives a callable's id.

    Raises Undecodable for a type that is not passed on.
    """
    import numpy
    import torch

    if depth > DEEPEST:
        raise Undecodable(f"a value is nested more than {DEEPEST} deep")

    def deeper(one):
        return encode(one, blobs, handle, depth + 1)

    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.nn.Module):
        return ["module", [[n, str(p.dtype)[6:], list(p.shape), p.requires_grad] for n, p in parts(value)]]
    if isinstance(value, torch.Tensor):
        name = str(value.dtype)[6:]
        if name not in DTYPES or value.is_meta:
            raise Undecodable(f"a tensor of dtype {name} on {value.device}; allowed: {', '.join(DTYPES)}")
        plain = value.detach().to("cpu", torch.float32 if name == "bfloat16" else value.dtype).contiguous()
        blobs.append(plain.numpy().tobytes())
        return ["tensor", name, list(plain.shape), len(blobs) - 1, bool(value.requires_grad)]
    if isinstance(value, numpy.generic):
        return deeper(value.item())
    if isinstance(value, numpy.ndarray):
        return ["array", deeper(torch.from_numpy(numpy.ascontiguousarray(value)))]
    for kind, name in ((list, "list"), (tuple, "tuple"), (set, "set")):
        if isinstance(value, kind):
            return [name, [deeper(one) for one in value]]
    if isinstance(value, dict):
        return ["dict", [[deeper(key), deeper(one)] for key, one in value.items()]]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if callable(value) and handle is not None:
        return ["function", handle(value), str(getattr(value, "__name__", "a function"))[:80]]
    raise Undecodable(
        f"a value of type {type(value).__name__}; allowed: numbers, text, tensors, and lists of them"
    )


def parts(module):
    """(name, tensor) of each parameter of a network; buffers come as "buffer:" + name."""
    yield from module.named_parameters()
    yield from ((f"buffer:{name}", tensor) for name, tensor in module.named_buffers())


def decode(data, blobs: list, function=None, plain: bool = False, depth: int = 0):
    """The value that `encode` was given. With `plain` floating-point tensors come as float64, as the judge wants them.

    `function(id, name)` makes a callable. Raises Undecodable for what `encode` cannot have written.
    """
    import torch

    if depth > DEEPEST:
        raise Undecodable(f"a value is nested more than {DEEPEST} deep")

    def deeper(one):
        return decode(one, blobs, function, plain, depth + 1)

    if data is None or type(data) in (bool, int, float, str):
        return data
    if type(data) is not list or not data or type(data[0]) is not str:
        raise Undecodable("no value")
    kind, *rest = data
    try:
        if kind in ("list", "tuple", "set"):
            return {"list": list, "tuple": tuple, "set": set}[kind](deeper(one) for one in rest[0])
        if kind == "dict":
            return {deeper(key): deeper(one) for key, one in rest[0]}
        if kind == "array":
            tensor = deeper(rest[0])
            return tensor if plain else tensor.numpy()
        if kind == "tensor":
            name, shape, place, needs = rest
            if name not in DTYPES:
                raise Undecodable(f"dtype {name!r}")
            stored = torch.float32 if name == "bfloat16" else getattr(torch, name)
            if len(blobs[place]):
                tensor = torch.frombuffer(bytearray(blobs[place]), dtype=stored).reshape(shape)
            else:
                tensor = torch.zeros(shape, dtype=stored)
            if name in FLOATS:
                tensor = tensor.to(torch.float64 if plain else getattr(torch, name))
                tensor.requires_grad_(bool(needs))
            return tensor
        if kind == "module" and not plain:
            return network(rest[0])
        if kind == "function" and function is not None:
            return function(int(rest[0]), str(rest[1]))
    except Undecodable:
        raise
    except Exception as error:
        raise Undecodable(f"{kind}: {error}") from None
    raise Undecodable(f"a value of the kind {kind!r}")


def network(rows):
    """A network with these parameters and buffers, made on the default device, without what it computes."""
    import torch

    root = torch.nn.Module()
    for path, dtype, shape, trains in rows:
        buffer, path = path.startswith("buffer:"), path.removeprefix("buffer:")
        *owners, name = path.split(".")
        owner = root
        for step in owners:
            if step not in owner._modules:
                owner.add_module(step, torch.nn.Module())
            owner = owner._modules[step]
        tensor = torch.empty(shape, dtype=getattr(torch, dtype))
        if buffer:
            owner.register_buffer(name, tensor)
        else:
            owner.register_parameter(name, torch.nn.Parameter(tensor, requires_grad=trains))
    return root


def pack(message: dict, blobs: list) -> bytes:
    """A message as bytes."""
    text = json.dumps({**message, "blobs": [len(b) for b in blobs]}).encode()
    return b"".join([struct.pack(">Q", len(text)), text, *blobs])


def unpack(read) -> tuple[dict, list]:
    """The next message of `read(n)`, which returns n bytes or raises EOFError. Raises Undecodable if it is none."""
    (length,) = struct.unpack(">Q", read(8))
    if length > MOST:
        raise Undecodable(f"a message of {length} bytes; allowed: at most {MOST}")
    try:
        message = json.loads(read(length))
        sizes = message["blobs"]
        if not all(type(n) is int and 0 <= n <= MOST for n in sizes) or sum(sizes) > MOST:
            raise Undecodable("a message that is too large")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Undecodable(f"no message: {error}") from None
    return message, [read(n) for n in sizes]
