"""Names of the output formats; apart from the printers so that a command line starts without loading them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FORMATS = ("json", "jsonc", "yaml", "yamlc", "table", "tsv", "none")

# How a command's result becomes the objects of a table: a JMESPath expression or a function.
Transformer = str | Callable[[Any], Any]
