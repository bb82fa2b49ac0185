"""Imports run one way: no circles, and no room knows a room above it."""

import ast
from pathlib import Path

import llama_index_raganything

ROOT = Path(llama_index_raganything.__file__).parent
PACKAGE = ROOT.name
FLOORS = (
    {"errors", "_arguments", "_files", "_imports", "_pickling", "text"},
    {"elements", "config", "nodes"},
    {"documents", "questions", "attachments", "images", "modalities", "workers", "models", "tables"},
    {"retries", "ranking"},
    {"graph"},
    {"readers", "stores"},
    {"node_parser", "enrich"},
    {"retrievers", "query_engine", "ingestion"},
    {"index"},
    {"cli", "testing"},
)


def is_module(name):
    path = ROOT.joinpath(*name.split(".")[1:])
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def package_of(name, path):
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def imports():
    """Map every module to the package's modules that it imports, inside functions too, types aside."""
    graph = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join((PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typing_only = {
            id(node)
            for branch in ast.walk(tree)
            if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
            for node in ast.walk(branch)
        }
        froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and id(node) not in typing_only]
        graph[name] = {
            target
            for node in froms
            for alias in node.names
            for target in [f"{node.module}.{alias.name}", node.module]
            if (node.module or "").startswith(PACKAGE) and is_module(target) and target != package_of(name, path)
        }
    return graph


def test_no_import_circles():
    graph = imports()
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for target in sorted(graph.get(module, ())):
            visit(target)
        path.pop()
        done.add(module)

    for module in graph:
        visit(module)


def test_no_room_knows_a_room_above_it():
    floor = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
    for module, targets in imports().items():
        room = module.split(".")[1] if "." in module else None
        if room in (None, "__main__"):
            continue
        for target in targets:
            below = target.split(".")[1] if "." in target else None
            if below is not None and below != room:
                assert floor[below] <= floor[room], f"{module} imports {target}"
