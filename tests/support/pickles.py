"""Pickles that would run something when they are opened: a harmless something, an empty file at a given place.

Built by hand from opcodes or by `pickle.dumps`; nothing here opens one.
"""

from __future__ import annotations

import io
import marshal
import pickle
import pickletools
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LEGACY_START = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(1001, protocol=2)
MACHINE = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, protocol=2)


class Call:
    """Pickles as a call of a function by its full name, which need not be imported here."""

    def __init__(self, name: str, *arguments: Any) -> None:
        self.name, self.arguments = name, arguments

    def opcodes(self) -> bytes:
        """Protocol 2, by hand: GLOBAL, arguments, TUPLE, REDUCE."""
        module, _, function = self.name.rpartition(".")
        return f"c{module}\n{function}\n".encode() + arguments_of(self.arguments) + b"R"


class Name(str):
    """Pickles as the thing of this full name."""


def value(thing: Any) -> bytes:
    """Opcodes that put a thing on the stack."""
    if isinstance(thing, Call):
        return thing.opcodes()
    if isinstance(thing, Name):
        module, _, name = thing.rpartition(".")
        return f"c{module}\n{name}\n".encode()
    if isinstance(thing, list):
        return b"(" + b"".join(map(value, thing)) + b"l"
    return pickle.dumps(thing, protocol=3)[2:-1]  # without PROTO and STOP


def arguments_of(things: tuple[Any, ...]) -> bytes:
    return b"(" + b"".join(map(value, things)) + b"t"


def by_hand(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


def call(name: str, *arguments: Any) -> bytes:
    return by_hand(Call(name, *arguments).opcodes())


class _Reduced:
    """What pickle itself writes for an object whose `__reduce__` asks for a call."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def live_pickles(canary: Path) -> dict[str, bytes]:
    """Pickles by name, each of which writes the canary when Python's own `pickle` opens it."""
    import os
    import subprocess

    shell = f": > '{canary}'"
    python = f"open({str(canary)!r}, 'w').close()"
    code = marshal.dumps(compile(python, "payload", "exec"))
    text = shell.encode()
    inner = call("os.system", shell)
    path = canary.parent / "inner.pickle"
    path.write_bytes(inner)
    os_system, command = value(Name("os.system")), value(shell)
    stack_global = short("os") + short("system") + b"\x93"
    os_module = Call("builtins.__import__", "os")
    return {
        # the plain ones, as pickle writes them, in every protocol that writes other opcodes
        **{f"os.system, protocol {n}": pickle.dumps(_Reduced(os.system, (shell,)), protocol=n) for n in (0, 1, 2, 4, 5)},
        "os.system, optimized": pickletools.optimize(pickle.dumps(_Reduced(os.system, (shell,)), protocol=4)),
        "inside a list": pickle.dumps([1, {"a": _Reduced(os.system, (shell,))}], protocol=2),
        "as a key": pickle.dumps({_Reduced(os.system, (shell,)): 1}, protocol=2),
        "state setter": pickle.dumps(_Reduced(list, (["touch", str(canary)],), -1, None, None, subprocess.call), protocol=2),
        "subprocess.check_call": pickle.dumps(_Reduced(subprocess.check_call, (["touch", str(canary)],)), protocol=2),
        # one call each
        "posix.system": call("posix.system", shell),
        "os.popen and read": by_hand(
            Call("builtins.getattr", Call("os.popen", shell), "read").opcodes(), arguments_of(()), b"R"
        ),
        "os.spawnlp": call("os.spawnlp", 0, "touch", "touch", str(canary)),
        "subprocess.run": call("subprocess.run", ["touch", str(canary)]),
        "subprocess.getoutput": call("subprocess.getoutput", shell),
        "builtins.eval": call("builtins.eval", python),
        "builtins.exec": call("builtins.exec", python),
        "builtins.open": call("builtins.open", str(canary), "w"),
        "Python 2's __builtin__.eval": call("__builtin__.eval", python),
        "pathlib touches": by_hand(
            Call("builtins.getattr", Call("pathlib.Path", str(canary)), "touch").opcodes(), arguments_of(()), b"R"
        ),
        "shutil.copy": call("shutil.copy", "/dev/null", str(canary)),
        "os.mkdir": call("os.mkdir", str(canary)),
        "timeit": call("timeit.timeit", python, "pass", Name("time.perf_counter"), 1),
        "cProfile.runctx": call("cProfile.runctx", python, {}, {}, str(canary) + ".profile"),
        "runpy": call("runpy._run_code", python, {}),
        "pydoc.pipepager": call("pydoc.pipepager", "", f"cat > '{canary}'"),
        "code of an interpreter": by_hand(
            Call("builtins.getattr", Call("code.InteractiveInterpreter"), "runsource").opcodes(), arguments_of((python,)), b"R"
        ),
        "bdb": by_hand(Call("builtins.getattr", Call("bdb.Bdb"), "run").opcodes(), arguments_of((python,)), b"R"),
        # another way to the function
        "getattr of an import": by_hand(Call("builtins.getattr", os_module, "system").opcodes(), arguments_of((shell,)), b"R"),
        "importlib": by_hand(
            Call("builtins.getattr", Call("importlib.import_module", "os"), "system").opcodes(), arguments_of((shell,)), b"R"
        ),
        "operator.methodcaller": by_hand(
            Call("operator.methodcaller", "system", shell).opcodes(), arguments_of((os_module,)), b"R"
        ),
        "operator.attrgetter": by_hand(
            Call("operator.attrgetter", "system").opcodes(), arguments_of((os_module,)), b"R", arguments_of((shell,)), b"R"
        ),
        "functools.partial": by_hand(Call("functools.partial", Name("os.system"), shell).opcodes(), arguments_of(()), b"R"),
        "functools.reduce": call("functools.reduce", Name("builtins.eval"), [python, {}]),
        "list of a map": call("builtins.list", Call("builtins.map", Name("os.system"), [shell])),
        "a name with dots": b"\x80\x04" + short("shutil") + short("os.system") + b"\x93" + command + b"\x85R.",
        # state instead of a call
        "partial's __setstate__": by_hand(
            Call("functools.partial", Name("builtins.print")).opcodes(),
            b"(",
            os_system,
            arguments_of((shell,)),
            b"}Ntb",  # EMPTY_DICT NONE TUPLE BUILD
            arguments_of(()),
            b"R",
        ),
        # other opcodes
        "INST": b"(S'" + text.replace(b"'", b"\\'") + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'" + text.replace(b"'", b"\\'") + b"'\no.",
        "NEWOBJ": by_hand(value(Name("functools.partial")), b"(", os_system, command, b"t\x81", arguments_of(()), b"R"),
        "NEWOBJ_EX": b"\x80\x04"
        + by_hand(value(Name("functools.partial")), b"(", os_system, command, b"t}\x92", arguments_of(()), b"R")[2:],
        "STACK_GLOBAL": b"\x80\x04" + stack_global + command + b"\x85R.",
        "STACK_GLOBAL of memoized names": b"\x80\x04"
        + short("system")
        + b"\x940"
        + short("os")
        + b"h\x00\x93"
        + command
        + b"\x85R.",
        "EXT1": b"\x80\x02\x82\xf0" + command + b"\x85R.",
        "EXT2": b"\x80\x02\x83\xf0\x00" + command + b"\x85R.",
        "EXT4": b"\x80\x02\x84\xf0\x00\x00\x00" + command + b"\x85R.",
        "no PROTO": Call("os.system", shell).opcodes() + b".",
        # tricks with memo and stack
        "text memo": b"cos\nsystem\np7\n0g7\n" + command + b"\x85R.",
        "memo overwritten": by_hand(
            value(Name("collections.OrderedDict")), b"q\x000", os_system, b"q\x000h\x00", command, b"\x85R"
        ),
        "long memo": by_hand(os_system, b"r\x00\x10\x00\x000j\x00\x10\x00\x00", command, b"\x85R"),
        "DUP": by_hand(os_system, b"2", command, b"\x85R"),
        "run, dropped, then a state dict": by_hand(Call("os.system", shell).opcodes(), b"0", b"}"),
        "run below a MARK": by_hand(b"(", Call("os.system", shell).opcodes(), b"1}"),
        "in the state of an OrderedDict": by_hand(
            Call("collections.OrderedDict").opcodes(), b"}", value("_metadata"), Call("os.system", shell).opcodes(), b"sb"
        ),
        # a pickle in a pickle, and code in a pickle
        "pickle.loads": call("pickle.loads", inner),
        "_pickle.loads of a bytearray": pickle.dumps(_Reduced(pickle.loads, (bytearray(inner),)), protocol=5),
        "pickle.load of a file": call("pickle.load", Call("builtins.open", str(path), "rb")),
        "pandas.read_pickle": call("pandas.read_pickle", str(path)),
        "cloudpickle.loads": call("cloudpickle.loads", inner),
        "joblib.load": call("joblib.load", str(path)),
        "marshalled function": by_hand(
            Call("types.FunctionType", Call("marshal.loads", code), {}).opcodes(), arguments_of(()), b"R"
        ),
        # what numpy and torch bring along
        "numpy's runstring": call("numpy.testing._private.utils.runstring", python, {}),
        "numpy's f2py": call("numpy.f2py.crackfortran.myeval", python),
        "torch's collect_env": call("torch.utils.collect_env.run", shell),
        "torch's execWrapper": call("torch.jit.unsupported_tensor_ops.execWrapper", python, {}, {}),
        "torch.hub": call("torch.hub._load_local", _hub(canary, python), "entry"),
        "torch.load": call(
            "torch.serialization._legacy_load",
            Call("builtins.open", _legacy_file(canary, inner), "rb"),
            None,
            Call("builtins.__import__", "pickle"),
        ),
    }


OPTIONAL = {"pandas.read_pickle": "pandas", "cloudpickle.loads": "cloudpickle", "joblib.load": "joblib"}
"""Those that run only where a package is installed, and which."""


def greedy_pickles() -> dict[str, bytes]:
    """Pickles that run no foreign code, but ask for more memory or time than there is, or are none."""
    doubled = b")q\x00" + b"h\x00\x86q\x00" * 60  # each tuple holds the one before twice
    return {
        "a terabyte of bytearray": call("builtins.bytearray", 10**12),
        "a terabyte of Tensor": call("torch.FloatTensor", 10**12),
        "a terabyte of zeros": call("numpy.zeros", 10**12),
        "the last place of the memo": by_hand(b"}r\xff\xff\xff\x7f"),
        "a text longer than the file": by_hand(b"X\xff\xff\xff\x7f", b"abc"),
        "bytes longer than any memory": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",
        "a frame longer than any memory": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}.",
        "a number of a billion digits": by_hand(b"\x8b" + struct.pack("<i", 2**30) + b"abc"),
        "tuples in tuples": by_hand(b"(" * 100_000 + b"t" * 100_000),
        "a key that takes 2**60 steps to hash": by_hand(b"}", doubled, b"Ns"),
        "no end": b"\x80\x02" + b"}0" * 1000,
        "nothing but a stop": b".",
        "no pickle": b"\xff" * 64,
    }


def zipped(program: bytes, members: Mapping[str, bytes] | None = None, *, method: int = zipfile.ZIP_STORED) -> bytes:
    """A file as `torch.save` writes it, around any program, with further members."""
    rest = {"archive/byteorder": b"little", "archive/version": b"3\n", **(members or {})}
    return archive_of({"archive/data.pkl": program, **rest}, method)


def archive_of(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def legacy(program: bytes, *, machine: bytes = MACHINE, keys: Sequence[str] = ()) -> bytes:
    """A file as `torch.save` wrote it before PyTorch 1.6."""
    return LEGACY_START + machine + program + pickle.dumps(list(keys), protocol=2)


def storage_of(kind: str, count: int) -> bytes:
    """A program that asks for a storage of a kind, by its full name, with so many numbers."""
    return by_hand(b"(", *map(value, ("storage", Name(kind), "0", "cpu", count)), b"NtQ")


def containers(canary: Path) -> dict[str, bytes]:
    """Files of other forms around a call of os.system, or made to confuse or exhaust a reader."""
    evil, sound = call("os.system", f": > '{canary}'"), by_hand(b"}")
    numbers = storage_of("torch.FloatStorage", 10**9)
    promising = bytearray(zipped(numbers, {"archive/data/0": b"1234"}))
    for header, size_at in ((b"PK\x03\x04", 18), (b"PK\x01\x02", 20)):
        at = promising.rindex(header) + size_at
        promising[at : at + 8] = struct.pack("<2I", 4 * 10**9, 4 * 10**9)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = len(evil)
            archive.addfile(member, io.BytesIO(evil))
    return {
        "a zip without a folder": archive_of({"data.pkl": evil, "version": b"3\n"}),
        "a zip with two folders": archive_of({"archive/data.pkl": sound, "other/data.pkl": evil}),
        # zipfile would warn of the second member of one name: it is given the name afterwards
        "a zip with two programs": archive_of({"archive/data.pkl": sound, "archive/data.pk_": evil}).replace(b".pk_", b".pkl"),
        "a zip with another name for the program": archive_of({"archive/payload.pkl": evil}),
        "a zip with packed members": zipped(evil, method=zipfile.ZIP_DEFLATED),
        "a zip bomb": zipped(sound, {"archive/data/0": bytes(100 * 2**20)}, method=zipfile.ZIP_DEFLATED),
        "a zip that promises four gigabytes": bytes(promising),
        "a zip whose storage is a function": zipped(storage_of("os.system", 1), {"archive/data/0": b"1"}),
        "a zip cut short": zipped(evil)[:-30],
        "a zip behind a pickle": evil + zipped(sound),
        "TorchScript": zipped(evil, {"archive/constants.pkl": evil, "archive/code/__torch__.py": b"import os"}),
        "legacy, called in the program": legacy(evil),
        "legacy, called before the program": legacy(sound, machine=evil),
        "legacy, called after the program": LEGACY_START + MACHINE + sound + evil,
        "legacy, with forty gigabytes promised": legacy(storage_of("torch.FloatStorage", 10**10), keys=["0"]) + b"1234",
        "legacy, with four petabytes promised": legacy(storage_of("torch.FloatStorage", 10**15), keys=["0"]) + b"1234",
        "the tar of the first PyTorch": tar.getvalue(),
    }


def short(text: str) -> bytes:
    """SHORT_BINUNICODE, of protocol 4."""
    return b"\x8c" + bytes([len(text)]) + text.encode()


def _hub(canary: Path, python: str) -> str:
    folder = canary.parent / "hub"
    folder.mkdir(exist_ok=True)
    (folder / "hubconf.py").write_text(f"{python}\n\ndef entry():\n    pass\n")
    return str(folder)


def _legacy_file(canary: Path, program: bytes) -> str:
    path = canary.parent / "legacy.pt"
    path.write_bytes(legacy(program))
    return str(path)
