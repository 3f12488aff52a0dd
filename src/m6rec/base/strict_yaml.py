"""YAML as configuration files need it: plain values only, and a key that stands twice in one section is an error, not the last one wins.

Keys are words, and of values only true and false are truth values, as in YAML 1.2: a task is `on: text`, a setting `off`, an answer `no`. Where a truth
value is wanted, `on`, `off`, `yes` and `no` are understood as one.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from m6rec.base.errors import ConfigError

MERGE, TRUTH, WORD = (f"tag:yaml.org,2002:{kind}" for kind in ("merge", "bool", "str"))


class _UniqueKeys(yaml.SafeLoader):
    """The safe loader, which counts the keys of every mapping first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise ConfigError(
                    f"'{key.value}' stands twice in one section, at line {lines[key.value]} and line {line}; keep one of them"
                )
            lines[key.value] = line
            if key.tag == TRUTH:
                key.tag = WORD
        return super().construct_mapping(node, deep)


_UniqueKeys.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != TRUTH] for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_UniqueKeys.add_implicit_resolver(TRUTH, re.compile("(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def read_yaml(text: str, source: str) -> Any:
    """The value of a YAML text.

    Raises:
        ConfigError: not YAML, or a key twice in one mapping; the line is named.
    """
    try:
        return yaml.load(text, Loader=_UniqueKeys)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{source} is not valid YAML{where}: {getattr(error, 'problem', None) or 'syntax error'}") from None
