"""Says where scripts are no PowerShell or no Bicep: FILE:LINE: what, one each; code 1 when there is any.

The grammars are those of tree-sitter, by which editors colour; it goes on behind an error, so several can be told at once.
"""

import sys
from pathlib import Path

import tree_sitter_bicep
import tree_sitter_powershell
from tree_sitter import Language, Parser

GRAMMARS = {".ps1": tree_sitter_powershell, ".bicep": tree_sitter_bicep}


def errors(path):
    """Lines, from one, that the grammar does not take, and what stands there."""
    parser = Parser(Language(GRAMMARS[path.suffix].language()))
    source = path.read_bytes()
    nodes = [parser.parse(source).root_node]
    while nodes:
        node = nodes.pop()
        if node.is_missing:
            yield node.start_point[0] + 1, f"`{node.type}` is missing"
        elif node.is_error:
            first_line = (node.text.decode(errors="replace").splitlines() or [""])[0]
            yield node.start_point[0] + 1, f"not expected: {first_line[:80]}"
        elif node.has_error:
            nodes.extend(node.children)


found = [f"{file}:{line}: {what}" for file in sys.argv[1:] for line, what in sorted(errors(Path(file)))]
print("\n".join(found))
sys.exit(1 if found else 0)
