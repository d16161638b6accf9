"""Manifests in files, with the line of each field: YAML as Kubernetes reads it, and JSON.

Belongs here: text to objects, keys that are there twice, lines. Does not belong here: what is wrong with an object (lint.py).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST = 200
_TAGS = {"tag:yaml.org,2002:timestamp"}
_FLOAT = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_INT = re.compile(r"[-+]?0b[01_]+|[-+]?0o?[0-7_]*|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*")


class _Loader(_LOADER):  # type: ignore[misc]
    """YAML as the Kubernetes tools read it: dates and 1:30 stay text, 1e5 is a number."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class has it
        first: [(tag, pattern) for tag, pattern in found if tag not in _TAGS and not tag.endswith((":int", ":float"))]
        for first, found in _LOADER.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(rf"^(?:{_INT.pattern})$"), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"^(?:{_FLOAT.pattern})$"), list("-+0123456789."))


class UnreadableError(Exception):
    """The text is no YAML or JSON; with the line where it stops being it."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Document:
    """One document of a file.

    Attributes:
        content: what it says.
        node: where it says that.
        twice: keys that are there twice: line, key, and the line of the first.
    """

    content: Any
    node: yaml.Node
    twice: tuple[tuple[int, str, int], ...]

    @property
    def line(self) -> int:
        """Where it begins."""
        return _line(self.node)

    def line_of(self, path: str) -> int:
        """The line of a field (`spec.arms[1].weight`), or of the part that should have it."""
        node, rest, line = self.node, path, self.line
        while rest:
            found = _step(node, rest)
            if found is None:
                break
            line, node, rest = found
        return line


def read_documents(text: str) -> list[Document]:
    """Every document of a text, empty ones left out.

    Raises:
        UnreadableError: it is no YAML, or nested deeper than any manifest.
    """
    text = text.removeprefix("\ufeff")
    as_json = _json(text)
    if as_json is not None:
        text = text.replace("\t", " ")  # no tab is inside a string of valid JSON, and YAML takes none as a blank
    try:
        _demand_flat(text)
        nodes = list(yaml.compose_all(text, _Loader))
        found = [_document(node) for node in nodes if node is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(filter(None, (error.context, error.problem, error.note)))
        raise UnreadableError(
            f"no YAML: {said}", min(int(getattr(mark, "line", 0)) + 1, text.count("\n") + 1)
        ) from error
    except yaml.YAMLError as error:
        raise UnreadableError(f"no YAML: {' '.join(str(error).split())}", 1) from error
    except (RecursionError, ValueError, TypeError) as error:
        raise UnreadableError(f"no manifest: {type(error).__name__}: {str(error)[:200]}", 1) from error
    if as_json is not None and len(found) == 1:
        return [replace(found[0], content=as_json[0])]
    return [document for document in found if document.content is not None]


def _document(node: yaml.Node) -> Document:
    _demand_shallow(node)
    twice = tuple(_twice(node))  # before it is built: that merges `<<` into the nodes
    loader = _Loader("")
    try:
        return Document(loader.construct_document(node), node, twice)
    finally:
        loader.dispose()


def _twice(root: yaml.Node) -> Iterator[tuple[int, str, int]]:
    """Keys that are there twice: line, key, and the line of the first."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, value in node.value:
                stack.append(value)
                if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                    continue
                if key.value in first:
                    yield _line(key), key.value, first[key.value]
                first.setdefault(key.value, _line(key))
        elif isinstance(node, yaml.SequenceNode):
            stack.extend(node.value)


def _demand_flat(text: str) -> None:
    """Refuses endless nesting before the composer, which recurses in C, meets it."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise UnreadableError(f"nested deeper than {_DEEPEST}", int(getattr(event.start_mark, "line", 0)) + 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _demand_shallow(root: yaml.Node) -> None:
    """Refuses what no parser of manifests takes: an alias inside of what it stands for, and endless nesting."""
    deepest: dict[int, int] = {}
    open_now: set[int] = set()

    def depth(node: yaml.Node, level: int) -> int:
        if level > _DEEPEST:
            raise ValueError(f"nested deeper than {_DEEPEST}")
        if id(node) in open_now:
            raise ValueError("an alias stands inside of what it names")
        if id(node) in deepest:
            return deepest[id(node)]
        below = [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else []
        below = list(node.value) if isinstance(node, yaml.SequenceNode) else below
        open_now.add(id(node))
        found = 1 + max((depth(each, level + 1) for each in below), default=0)
        open_now.discard(id(node))
        deepest[id(node)] = found
        return found

    if depth(root, 0) > _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST}")


def _json(text: str) -> tuple[Any] | None:
    """The one value of a JSON text in a tuple; None: it is none."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return (json.loads(text, parse_constant=_refuse_constant),)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _step(node: yaml.Node, path: str) -> tuple[int, yaml.Node, str] | None:
    """Line, node and the rest of the path one part further; None: that part is not there."""
    if isinstance(node, yaml.SequenceNode):
        index = re.match(r"\[(\d{1,9})\]\.?", path)
        if index is None or int(index[1]) >= len(node.value):
            return None
        item = node.value[int(index[1])]
        return _line(item), item, path[index.end() :]
    if not isinstance(node, yaml.MappingNode):
        return None
    best: tuple[yaml.ScalarNode, yaml.Node] | None = None
    for key, value in node.value:  # the longest: names of annotations have dots
        fits = isinstance(key, yaml.ScalarNode) and re.match(re.escape(key.value) + r"(?=$|[.\[])", path)
        if fits and (best is None or len(key.value) > len(best[0].value)):
            best = (key, value)
    if best is None:
        return None
    return _line(best[0]), best[1], path[len(best[0].value) :].removeprefix(".")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def as_mapping(value: Any) -> Mapping[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}
