"""For all tests: names of cases that are the same in every process, since workers compare them."""


def pytest_make_parametrize_id(config, val, argname):
    """Plain values name themselves; tensors, sets, rules and functions are named by their argument and a number."""
    return None if isinstance(val, (str, bytes, int, float, complex, type, type(None))) else argname
