"""Answers `notebook_inspect` inside an IPython kernel: what is defined, without running user code.

husk sends this text as one expression of an `execute_request` (see REPORT.md); it lives in a
dictionary of its own, so nothing of it stays in the notebook. It may run on a subshell while a
cell mutates everything it looks at. Therefore:
- an object's class is `type(x)`, compared with `is` or `issubclass`: `isinstance`, `==`, hashing
  and `cls.__module__` can all run code of the user's class or metaclass.
- attributes are asked only of classes that come whole from trusted libraries.
- everything is cut to size before it is turned into text, and a deadline ends the details.
"""
import ast
import inspect
import itertools
import json
import sys
import time
import types
from collections import deque

MIME = "application/vnd.husk.inspect+json"
WHOLE = 60_000
SECONDS = 0.25
TRUSTED = set(getattr(sys, "stdlib_module_names", ())) | set(
    """builtins _decimal collections datetime decimal enum fractions pathlib re types uuid zoneinfo
    cupy dask geopandas jax jaxlib numpy pandas polars pyarrow scipy sklearn tensorflow torch xarray
    """.split()
)
LIBRARIES = set("cupy dask geopandas jax jaxlib numpy pandas polars pyarrow scipy torch tensorflow xarray".split())
NEVER = ("In", "Out", "exit", "quit", "get_ipython")
PLAIN = set(
    """datetime.date datetime.datetime datetime.time datetime.timedelta datetime.timezone
    decimal.Decimal fractions.Fraction pandas.Timedelta pandas.Timestamp pathlib.PosixPath
    pathlib.PurePosixPath pathlib.WindowsPath re.Pattern uuid.UUID zoneinfo.ZoneInfo""".split()
)
CONTAINERS = ((list, "[]"), (tuple, "()"), (dict, "{}"), (set, "{}"), (frozenset, "{}"), (deque, "[]"))
TABLES = set(
    """numpy.ndarray torch.Tensor pyarrow.Table pandas.DataFrame pandas.Series pandas.Index
    polars.DataFrame polars.Series""".split()
)
SIZED = (list, tuple, dict, set, frozenset, deque, str, bytes, bytearray, range)
FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
FUNCTION_LIKE = ("numpy.ufunc", "numpy._ArrayFunctionDispatcher", "functools._lru_cache_wrapper")
HEAP_TYPE = 1 << 9
MISSING = object()


def raw(kind, name):
    """A class's own `__module__`, `__name__`, ... as `type` sees it, whatever its metaclass says."""
    value = type.__dict__[name].__get__(kind)
    return value if type(value) is not str else clip(value, 100)


def clip(text, width):
    """Bounded and encodable: a lone surrogate would make the JSON unreadable to a strict parser."""
    if not issubclass(type(text), str):
        return "?"
    cut = str.__getitem__(text, slice(0, width))
    end = "..." if str.__len__(text) > width else ""
    return cut.encode("utf-8", "backslashreplace").decode() + end


def line(text, width=80):
    return clip(" ".join(clip(text, 4 * width).split()), width)


def members(module):
    """A module's dictionary, without `__getattr__` and without waiting for an import under way."""
    if module is None or not issubclass(type(module), types.ModuleType):
        return {}
    return types.ModuleType.__dict__["__dict__"].__get__(module) or {}


def genuine(kind):
    """Whether one class is what its module name says: static C, or to be found in that module."""
    module = raw(kind, "__module__")
    if type(module) is not str or module.split(".")[0] not in TRUSTED:
        return False
    if not type.__dict__["__flags__"].__get__(kind) & HEAP_TYPE:
        return True
    return members(sys.modules.get(module)).get(raw(kind, "__name__")) is kind


def once(ask):
    """Remembers what was told about a class, for this one answer; the class's own hash is not asked."""
    known = {}

    def told(kind):
        if id(kind) not in known:
            known[id(kind)] = kind, ask(kind)
        return known[id(kind)][1]

    return told


@once
def trusted(kind):
    """Whether every class it inherits from is a known library's; then its attributes may be asked."""
    return all(map(genuine, raw(kind, "__mro__")))


@once
def offered(kind):
    return {name for each in raw(kind, "__mro__") for name in raw(each, "__dict__")}


@once
def qualified(kind):
    """`int`, `Model` for the user's own, `pandas.DataFrame` where the package itself offers it."""
    module, name = raw(kind, "__module__"), raw(kind, "__qualname__")
    if type(module) is not str or module in ("builtins", "__main__"):
        return name
    top = module.split(".")[0]
    return "%s.%s" % (top if members(sys.modules.get(top)).get(name) is kind else module, name)


@once
def library(kind):
    """Which sort of table or array: the nearest base that its library names, or None."""
    if trusted(kind):
        for name in map(qualified, raw(kind, "__mro__")):
            if name in TABLES:
                return name
    return None


def again(read):
    """Reads what a running cell may be changing: tried anew when it changed meanwhile."""
    for _ in range(20):
        try:
            return read()
        except RuntimeError:
            time.sleep(0.0005)
    return []


class Shower:
    """Text of a value within a budget. `own` allows objects their own `__repr__`."""

    def __init__(self, budget, items, width, own):
        self.left, self.items, self.width, self.own = budget, items, width, own

    def show(self, value, depth=0):
        if self.left <= 0 or depth > 4:
            return "..."
        try:
            text = self.leaf(value, type(value)) or self.container(value, type(value), depth)
            text = text or self.table(value, library(type(value)), depth) or self.other(value, depth)
        except Exception as error:
            text = "<%s object: %s>" % (qualified(type(value)), qualified(type(error)))
        self.left -= len(text)
        return text

    def leaf(self, value, kind):
        if kind is int:
            bits = value.bit_length()
            return repr(value) if bits < 2000 else "<int of about %d digits>" % (bits * 0.30103 + 1)
        if kind is float or kind is complex or kind is bool or kind is range or value is None:
            return repr(value)
        for base in (str, bytes, bytearray):
            if issubclass(kind, base):
                cut = base.__getitem__(value, slice(0, self.width))
                return repr(cut) + ("..." if base.__len__(value) > self.width else "")
        if trusted(kind):
            name = qualified(kind)
            if "numpy.generic" in map(qualified, raw(kind, "__mro__")) and name not in ("numpy.void", "numpy.record"):
                return str(value)
            if name in PLAIN and trusted(type(getattr(value, "tzinfo", None))):
                return repr(value)
        return None

    def container(self, value, kind, depth):
        """Through the base class's methods, so a subclass's own are not called."""
        for base, (left, right) in CONTAINERS:
            if issubclass(kind, base) and (trusted(kind) or not self.own or depth):
                break
        else:
            return None
        every = (lambda: dict.items(value)) if base is dict else (lambda: base.__iter__(value))
        some = again(lambda: list(itertools.islice(every(), self.items)))
        if base is dict:
            parts = ["%s: %s" % (self.show(k, depth + 1), self.show(v, depth + 1)) for k, v in some]
        else:
            parts = [self.show(item, depth + 1) for item in some]
        if base.__len__(value) > len(some):
            parts.append("...")
        text = left + ", ".join(parts) + ("," if base is tuple and len(parts) == 1 else "") + right
        return text if kind is base and base not in (frozenset, deque) else "%s(%s)" % (qualified(kind), text)

    def table(self, value, sort, depth):
        """Labels of a table, first values of an array, without formatting the rest of it."""
        if sort is None:
            return None
        if sort == "torch.Tensor":
            return repr(value) if self.own and not depth else "<tensor on %s>" % value.device
        if sort.endswith(("DataFrame", "Table")):
            names = value.column_names if sort == "pyarrow.Table" else value.columns
            some = [self.label(name) for name in names[: self.items]]
            return "columns: " + ", ".join(some + ["..."] * (len(names) > len(some)))
        if sort == "numpy.ndarray":
            if self.own and not value.dtype.hasobject:
                return numpy_text(value)
            some, count = value.flat[: self.items].tolist(), value.size
        else:
            head = value.iloc[: self.items] if sort == "pandas.Series" else value[: self.items]
            some, count = head.to_list(), len(value)
        return "[%s%s]" % (", ".join(self.show(v, depth + 1) for v in some), ", ..." if count > len(some) else "")

    def label(self, name):
        return name if type(name) is str else self.show(name, 3)

    def other(self, value, depth):
        """What is left: the class's name, or with leave the words of the object asked about."""
        if not self.own or depth:
            return "<%s object>" % qualified(type(value))
        try:
            return clip(repr(value), 4000)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return "<%s object: its repr raised %s>" % (qualified(type(value)), qualified(type(error)))


def numpy_text(array):
    """Without the user's print options, which may ask for all of ten million numbers."""
    text = members(sys.modules.get("numpy")).get("array2string")
    return text(array, threshold=200, edgeitems=3) if text else str(array.shape)


def facts(value):
    """Type, shape or length, dtype and size in bytes, as far as they are cheap and nobody's code."""
    kind = type(value)
    told, top = {"type": qualified(kind)}, raw(kind, "__module__")
    base = next((base for base in SIZED if issubclass(kind, base)), None)
    try:
        if base:
            told["length"] = base.__len__(value)
        if trusted(kind) and (base or top == "builtins"):
            told["size"] = sys.getsizeof(value)
        elif trusted(kind) and top.split(".")[0] in LIBRARIES:
            if "shape" in offered(kind):
                told["shape"] = [n if type(n) is int else None for n in value.shape]
            if "dtype" in offered(kind):
                told["dtype"] = clip(str(value.dtype), 60)
            if library(kind) == "pandas.DataFrame":
                # The sum of `memory_usage()`, which takes half a millisecond to make a Series of it.
                told["size"] = value.index.nbytes + sum(each.values.nbytes for each in value._mgr.blocks)
            elif library(kind) == "polars.DataFrame":
                told["size"] = value.estimated_size()
            elif "nbytes" in offered(kind) and type(value.nbytes) is int:
                told["size"] = value.nbytes
    except Exception:  # A library in an odd state: what is known so far is the answer.
        pass
    return told


def compact(name, value):
    """The list that a module, class or function belongs in, and its entry there; None for data."""
    kind, args = type(value), ""
    if issubclass(kind, types.ModuleType):
        group, full = "modules", members(value).get("__name__")
    elif issubclass(kind, type):
        group, full = "classes", qualified(value)
    elif any(kind is one for one in FUNCTIONS) or qualified(kind) in FUNCTION_LIKE:
        group, full = "functions", name
        if kind is types.FunctionType and value.__module__ == "__main__":
            args = "(%s)" % ", ".join(inspect.getargs(value.__code__).args)
    else:
        return None
    name = clip(name, 100)
    return group, name + clip(args, 80) if name == full else "%s = %s" % (name, clip(full, 80))


def listing(space, hidden, limit):
    """The user's names, the latest first; %whos would list the same ones."""
    told = {"variables": [], "modules": [], "functions": [], "classes": [], "more": 0}
    left = {"variables": 42_000, "modules": 4000, "functions": 4000, "classes": 4000}
    end = time.monotonic() + SECONDS
    for name, value in reversed(list(space.items())):
        if type(name) is not str or name[:1] == "_" or name in NEVER or hidden.get(name, MISSING) is value:
            continue
        group, entry = compact(name, value) or ("variables", {"name": clip(name, 100)})
        if left[group] <= 0 or group == "variables" and len(told[group]) >= limit:
            told["more"] += 1
            continue
        if group == "variables" and time.monotonic() > end:
            entry["type"] = qualified(type(value))
        elif group == "variables":
            entry.update(facts(value), repr=line(Shower(200, 6, 60, False).show(value)))
        told[group].append(entry)
        left[group] -= len(json.dumps(entry))
    return told


def attribute(value, name):
    """Like `getattr`, but what only code of the user's class could tell is refused."""
    if issubclass(type(value), types.ModuleType):
        return members(value).get(name, MISSING)
    if trusted(type(value)) and not issubclass(type(value), type):
        return getattr(value, name, MISSING)
    found = inspect.getattr_static(value, name, MISSING)
    kind = type(found)
    if kind is types.MemberDescriptorType:
        return found.__get__(value)
    if kind is staticmethod or kind is classmethod:
        return found.__func__
    if kind is not types.FunctionType and any("__get__" in raw(base, "__dict__") for base in raw(kind, "__mro__")):
        raise LookupError("`.%s` is computed by code, which was not run" % name)
    return found


def resolve(node, space):
    """The value of `name`, `a.b`, `a["x"]` or `a[0]`."""
    found = MISSING
    if type(node) is ast.Name:
        found = space.get(node.id, members(sys.modules["builtins"]).get(node.id, MISSING))
    elif type(node) is ast.Attribute:
        found = attribute(resolve(node.value, space), node.attr)
    elif type(node) is ast.Subscript:
        value, key = resolve(node.value, space), ast.literal_eval(node.slice)
        base = next((base for base in (dict, list, tuple) if issubclass(type(value), base)), None)
        if base is dict:
            found = dict.get(value, key, MISSING)  # Never `__missing__`.
        elif base and type(key) is int:
            found = base.__getitem__(value, key)
        elif library(type(value)):
            found = value[key]
    else:
        raise LookupError("only names, attributes and constant keys are looked up, no code is run")
    if found is MISSING:
        raise LookupError("not found: " + clip(ast.unparse(node), 200))
    return found


def origin(value, shell):
    """Where a function or class was written; for a class without `__firstlineno__` its first method."""
    if issubclass(type(value), type):
        parts = [each for each in raw(value, "__dict__").values() if type(each) is types.FunctionType]
        start = raw(value, "__dict__").get("__firstlineno__")
    else:
        parts, start = [getattr(value, "__func__", value)], None
    codes = [each.__code__ for each in parts if type(each) is types.FunctionType]
    first = min(codes, key=lambda code: code.co_firstlineno, default=None)
    if first is None:
        return {}
    file = first.co_filename
    cell = getattr(getattr(shell, "compile", None), "_filename_map", {}).get(file)
    return {"file": "In [%s]" % cell if cell else clip(file, 300), "line": start or first.co_firstlineno}


def keys(value):
    some = again(lambda: list(itertools.islice(dict.keys(value), 50)))
    return [line(Shower(200, 6, 60, False).show(key)) for key in some]


def head(value, sort):
    if sort == "pandas.DataFrame":
        return value.head(5).to_string(max_cols=20, max_colwidth=40)
    return str(value.head(5) if sort == "polars.DataFrame" else value.slice(0, 5))


def about(value, name, shell, own):
    """All that is worth telling about one object; only with `own` may its own `__repr__` run."""
    kind, sort = type(value), library(type(value))
    told, code = {"name": clip(name, 200), **facts(value)}, compact("", value)
    steps = {"repr": lambda: clip(Shower(2000, 50, 2000, own).show(value), 2000)}
    if code:
        told_by = raw(value, "__dict__").get if code[0] == "classes" else lambda name: getattr(value, name)
        told_by = members(value).get if code[0] == "modules" else told_by
        steps["doc"] = lambda: clip(inspect.cleandoc(told_by("__doc__") or ""), 2000)
    elif not trusted(kind):
        steps["doc"] = lambda: clip(inspect.cleandoc(raw(kind, "__dict__").get("__doc__") or ""), 2000)
    if code and code[0] == "modules":
        steps["file"] = lambda: clip(members(value)["__file__"], 300)
    elif code:
        steps["origin"] = lambda: origin(inspect.unwrap(value) if own else value, shell)
        if own:  # The defaults' `__repr__`.
            steps["signature"] = lambda: clip(str(inspect.signature(value)), 1000)
        elif kind is types.FunctionType:
            steps["signature"] = lambda: "(%s)" % ", ".join(inspect.getargs(value.__code__).args)
    elif issubclass(kind, dict):
        steps["keys"] = lambda: keys(value)
    elif sort and sort.endswith(("DataFrame", "Table")):
        names = value.columns if sort != "pyarrow.Table" else value.column_names
        types_of = value.schema.types if sort == "pyarrow.Table" else value.dtypes
        types_of = list(types_of)
        pairs = itertools.islice(zip(names, types_of), 100)
        steps["columns"] = lambda: [[clip(Shower(80, 6, 60, False).label(n), 80), clip(str(t), 60)] for n, t in pairs]
        if own or not any(str(each).lower().startswith("object") for each in types_of):
            steps["head"] = lambda: clip(head(value, sort), 4000)
    for key, step in steps.items():
        try:
            told[key] = step()
        except Exception as error:
            told.setdefault("failed", []).append("%s: %s" % (key, qualified(type(error))))
    told.update(told.pop("origin", {}))
    return told


def close(name, names):
    """By pairs of letters in common; `difflib` would stay behind in `sys.modules`."""
    pairs = lambda text: set(zip(" " + text.lower(), text.lower() + " "))
    wanted = pairs(name)
    score = lambda each: 2 * len(wanted & pairs(each)) / (len(wanted) + len(each) + 1)
    return [each for each in sorted(names, key=score, reverse=True)[:5] if score(each) > 0.5]


class Answer:
    """Shown as it is: no pretty-printer quotes, wraps or shortens a class that nobody knows.

    The own media type is out of reach even of a formatter that a user registered for `object`;
    the text is for a user who switched the bundles off.
    """

    def __init__(self, told):
        self.text = json.dumps(told)
        for key in ("head", "columns", "keys", "doc", "repr"):
            if len(self.text) > WHOLE and told.pop(key, None):
                told.setdefault("failed", []).append(key + ": too long")
                self.text = json.dumps(told)

    def __repr__(self):
        return self.text

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {MIME: self.text, "text/plain": "husk"}


def answer(space, name=None, limit=200, own=True):
    """What husk asks for: everything there is in short, or one name at length.

    `own=False` is for a subshell: one that hangs in a `__repr__` can never be deleted.
    """
    getter = members(sys.modules.get("IPython.core.getipython")).get("get_ipython")
    shell = getter() if getter else None
    space = again(space.copy) or {}
    if name is None:
        return Answer(listing(space, getattr(shell, "user_ns_hidden", {}), limit))
    try:
        found = resolve(ast.parse(name[:300].strip(), mode="eval").body, space)
    except Exception as error:
        why = "not a name" if type(error) is SyntaxError else clip(str(error), 300)
        names = [clip(each, 100) for each in space if type(each) is str and each[:1] != "_"]
        return Answer({"error": why, "close": close(name[:100], names[-5000:])})
    return Answer(about(found, name, shell, own))
