"""Reads a pickle as data: no code in it runs, and no class is looked up, let alone called.

A pickle is a program for a small machine, which may call any function. Here its instructions are decoded by `pickletools`,
which runs none, and those that build plain values are carried out. Where it asks for an instance of a class, the result is
an `Instance`: the class's name and the state that it would have been given. All other instructions, and all classes that
were not named, are refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_PLAIN = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = {"PROTO", "FRAME"}
_MOST_VALUES = 2**26  # a byte may stand for an empty dictionary, which takes 64


@dataclass(frozen=True)
class ClassName:
    """A class that a pickle names, as a name and nothing else."""

    name: str


@dataclass
class Instance:
    """What a pickle says of an object: its class's name and its attributes."""

    kind: str
    attributes: dict[str, Any] = field(default_factory=dict)


class _Mark:
    """Where a list of values begins on the stack."""


def read_pickle(data: bytes, classes: Collection[str]) -> Any:
    """Return the value in a pickle: plain values and instances of the named classes.

    Args:
        classes: full names of the classes that may occur.

    Raises:
        ValueError: it is no pickle, it names another class, or it calls something; the message is a reason to put into a
            sentence.
    """
    machine = _Machine(classes)
    try:
        for operation, argument, _ in pickletools.genops(data):
            if operation.name == "STOP":
                return machine.pop()
            machine.step(operation.name, argument)
    except (IndexError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"a broken pickle ({type(error).__name__})") from error
    raise ValueError("a pickle without an end")


class _Machine:
    """The stack and the memo of a pickle, for instructions that build plain values."""

    def __init__(self, classes: Collection[str]):
        self._classes = classes
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._values = 0

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if name in _PLAIN:
            self.push(argument)
        elif name in _INSTRUCTIONS:
            _INSTRUCTIONS[name](self, argument)
        elif name in _CONSTANTS:
            self.push(_CONSTANTS[name])
        elif name in _TUPLES:
            values = [self.pop() for _ in range(_TUPLES[name])]
            self.push(tuple(values[::-1]))
        elif name not in _NOTHING:
            raise ValueError(f"it wants to do more than hold data (the instruction {name}), and was not run")

    def pop(self) -> Any:
        """Take the value on top of the stack."""
        value = self._stack.pop()
        if isinstance(value, _Mark):
            raise IndexError
        return value

    def push(self, value: Any) -> None:
        """Put a value on top of the stack."""
        self._values += 1
        if self._values > _MOST_VALUES:
            raise ValueError(f"more than {_MOST_VALUES:,} values")
        self._stack.append(value)

    def keep(self, place: int | None = None) -> None:
        """Remember the value on top of the stack."""
        self._memo[len(self._memo) if place is None else place] = self._stack[-1]

    def recall(self, place: int) -> None:
        """Put a remembered value on top of the stack."""
        self.push(self._memo[place])

    def marked(self) -> list[Any]:
        """Take all values above the last mark, and the mark."""
        values: list[Any] = []
        while not isinstance(value := self._stack.pop(), _Mark):
            values.append(value)
        return values[::-1]

    def extend(self, values: list[Any]) -> None:
        """Add values to the list on top of the stack."""
        self._top(list).extend(values)

    def set_items(self, values: list[Any]) -> None:
        """Set keys and values, one after the other, in the dictionary on top of the stack."""
        if len(values) % 2 or not all(isinstance(key, str | int) for key in values[::2]):
            raise TypeError
        self._top(dict).update(zip(values[::2], values[1::2], strict=True))

    def add_items(self, values: list[Any]) -> None:
        """Add values to the set on top of the stack."""
        if not all(isinstance(value, str | int) for value in values):
            raise TypeError
        self._top(set).update(values)

    def _top(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise TypeError
        return self._stack[-1]

    def name_class(self, name: str) -> None:
        """Put the name of a class on top of the stack, if it may occur."""
        if name not in self._classes:
            raise ValueError(f"it names {name[:80]!r}, which does not belong there, and was not run")
        self.push(ClassName(name))

    def new(self) -> None:
        """Make an instance of the class below its arguments, of which there must be none."""
        arguments, named = self.pop(), self.pop()
        if arguments != () or not isinstance(named, ClassName):
            raise ValueError("it makes an object with arguments, and was not run")
        self.push(Instance(named.name))

    def build(self) -> None:
        """Give the instance below it the state on top of the stack."""
        state, built = self.pop(), self._top(Instance)
        if not isinstance(state, dict):
            raise TypeError
        # The state of pydantic's objects holds their attributes and what pydantic notes of them.
        attributes = state.get("__dict__", state)
        if not isinstance(attributes, dict):
            raise TypeError
        built.attributes.update(attributes)


_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "MARK": lambda machine, _: machine.push(_Mark()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_SET": lambda machine, _: machine.push(set()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.marked())),
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.marked()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.marked()),
    "ADDITEMS": lambda machine, _: machine.add_items(machine.marked()),
    "GLOBAL": lambda machine, name: machine.name_class(str(name).replace(" ", ".")),
    "STACK_GLOBAL": lambda machine, _: machine.name_class(".".join([machine.pop(), machine.pop()][::-1])),
    "NEWOBJ": lambda machine, _: machine.new(),
    "BUILD": lambda machine, _: machine.build(),
    "MEMOIZE": lambda machine, _: machine.keep(),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Machine.keep),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Machine.recall),
}
