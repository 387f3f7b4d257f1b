"""What `unshare` runs first: a root of its own, without our files; then no rights at all; then the submission's host.

Works on the namespaces that unshare(1) made. sys.argv[1]: {"root", "visible", "hidden", "run"} as JSON.
"""

import ctypes
import json
import os
import sys

setup = json.loads(sys.argv[1])
root = setup["root"]
libc = ctypes.CDLL(None, use_errno=True)
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, NOATIME, NODIRATIME, BIND, REC, PRIVATE, RELATIME = (
    1, 2, 4, 8, 32, 1024, 2048, 4096, 16384, 1 << 18, 1 << 21,
)  # fmt: skip


def mount(source, target, kind=None, flags=0, data=None):
    words = [None if w is None else os.fsencode(w) for w in (source, target, kind)]
    if libc.mount(*words, ctypes.c_ulong(flags), None if data is None else data.encode()):
        raise OSError(ctypes.get_errno(), f"mount {source} on {target}")


mount("none", "/", flags=REC | PRIVATE)
mount("tmpfs", root, "tmpfs", NOSUID | NODEV, "mode=755,size=1m")
for there, inside in setup["visible"]:
    target = root + inside
    if os.path.isdir(there):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "a").close()
    mount(there, target, flags=BIND | REC)
for name in setup["hidden"]:
    if os.path.isdir(root + name):
        mount("tmpfs", root + name, "tmpfs", NOSUID | NODEV | RDONLY, "size=4k")
os.makedirs(root + "/dev")
for name in ("null", "zero", "random", "urandom"):
    open(f"{root}/dev/{name}", "w").close()
    mount(f"/dev/{name}", f"{root}/dev/{name}", flags=BIND)
os.makedirs(root + "/tmp")
os.makedirs(root + "/proc")
try:
    mount("proc", root + "/proc", "proc", NOSUID | NODEV | NOEXEC)
except OSError:
    pass  # some containers forbid it, and nothing here needs it
with open("/proc/self/mountinfo") as file:
    inside = [line.split()[4].encode().decode("unicode_escape") for line in file]
for place in inside:
    if place.startswith((root + "/",)) and not place.startswith((root + "/dev/", root + "/proc")):
        keep = os.statvfs(place).f_flag
        flags = BIND | REMOUNT | RDONLY | NOSUID
        for bit, flag in ((4, NODEV), (8, NOEXEC), (1024, NOATIME), (2048, NODIRATIME), (4096, RELATIME)):
            flags |= flag if keep & bit else 0
        mount(None, place, flags=flags)
mount("tmpfs", root + "/tmp", "tmpfs", NOSUID | NODEV, "mode=1777,size=256m")
mount(None, root, flags=REMOUNT | BIND | RDONLY | NOSUID | NODEV)
os.chdir(root)
PIVOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}[os.uname().machine]
if libc.syscall(PIVOT, b".", b"."):
    raise OSError(ctypes.get_errno(), "pivot_root")
if libc.umount2(b".", 2):  # the old root, which lies on top
    raise OSError(ctypes.get_errno(), "umount2")
os.chdir("/tmp")
# No rights, and no way back to any: bounding set, securebits, no_new_privs, then the capabilities themselves.
for capability in range(64):
    libc.prctl(24, capability, 0, 0, 0)
libc.prctl(28, 0x2F, 0, 0, 0)
libc.prctl(38, 1, 0, 0, 0)


class Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


if libc.capset(ctypes.byref(Header(0x20080522, 0)), (ctypes.c_uint32 * 6)()):
    raise OSError(ctypes.get_errno(), "capset")
os.execv(setup["run"][0], setup["run"])
