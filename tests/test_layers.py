"""Imports point down only, and the lowest layer knows no torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From top to bottom; a module may import from its own group and from the layers below it.
LAYERS: list[dict[str, tuple[str, ...]]] = [
    {"cli": ("sdedge.cli", "sdedge.__main__")},
    {"api": ("sdedge.__init__",)},
    {"pipeline": ("sdedge.pipeline",)},
    {"comparison": ("sdedge.comparison",), "report": ("sdedge.report",)},
    {
        "analysis": ("sdedge.analysis",),
        "deploy": (
            "sdedge.deploy.__init__",
            "sdedge.deploy.card",
            "sdedge.deploy.export",
        ),
    },
    {"fit": ("sdedge.deploy.fit",), "board": ("sdedge.deploy.board",)},
    {"artifact": ("sdedge.deploy.artifact",)},
    {"int8": ("sdedge.deploy.int8",), "targets": ("sdedge.deploy.targets",)},
    {"formats": ("sdedge.deploy.formats",)},
    {"memory": ("sdedge.deploy.memory",)},
    {"latency": ("sdedge.deploy.latency",), "ir": ("sdedge.deploy.ir",)},
    {"nas": ("sdedge.nas",), "training": ("sdedge.training",)},
    {
        "loop": ("sdedge.loop", "sdedge.interrupt", "sdedge.meters"),
        "environment": ("sdedge.environment",),
    },
    {"space": ("sdedge.space",), "data": ("sdedge.data",)},
    {"kernels": ("sdedge.kernels",)},
    {"torch tools": ("sdedge.checkpoint", "sdedge.device", "sdedge.graphs")},
    {
        "plain data": (
            "sdedge.bounds",
            "sdedge.config",
            "sdedge.run",
            "sdedge.files",
            "sdedge.lock",
            "sdedge.genotype",
            "sdedge.genotype_text",
            "sdedge.proportion",
            "sdedge.registration",
            "sdedge.errors",
            "sdedge.events",
            "sdedge.escape",
            "sdedge.explain",
            "sdedge.counted",
            "sdedge.dependencies",
            "sdedge.names",
            "sdedge.operations",
            "sdedge.paths",
            "sdedge.resources",
            "sdedge.schema",
            "sdedge.version",
        )
    },
]


def _modules() -> Iterator[tuple[str, Path]]:
    for folder, package in (
        ("sdedge", "sdedge"),
        ("kernels", "sdedge.kernels"),
        ("cli", "sdedge.cli"),
    ):
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join((package, *parts)), file


def _place(module: str) -> tuple[int, str]:
    for depth, groups in enumerate(LAYERS):
        for group, prefixes in groups.items():
            if any(module == p or module.startswith(p + ".") for p in prefixes):
                return depth, group
    raise AssertionError(f"{module} belongs to no layer; add it to LAYERS")


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("module", "file"), [pytest.param(m, f, id=m) for m, f in _modules()])
def test_imports_point_down(module: str, file: Path) -> None:
    depth, group = _place(module)
    for name in _imports(file):
        if name.startswith("sdedge."):
            other_depth, other_group = _place(name)
            assert other_depth > depth or other_group == group, f"{module} imports {name}"


def _graph() -> dict[str, set[str]]:
    """The modules that each module imports, for type checkers alone or anywhere in a function."""
    files = {module.removesuffix(".__init__"): file for module, file in _modules()}
    graph = {}
    for module, file in files.items():
        names = {n if n in files else n.rpartition(".")[0] for n in _imports(file)}
        graph[module] = (names & files.keys()) - {module}
    return graph


GRAPH = _graph()


@pytest.mark.parametrize("module", GRAPH)
def test_no_module_imports_itself_through_others(module: str) -> None:
    came_from, queue = dict.fromkeys(GRAPH[module], module), sorted(GRAPH[module])
    for current in queue:
        for name in GRAPH[current] - came_from.keys():
            came_from[name] = current
            queue.append(name)
    if module in came_from:
        path = [module, came_from[module]]
        while path[-1] != module:
            path.append(came_from[path[-1]])
        pytest.fail(" imports ".join(reversed(path)))


def test_no_test_imports_another() -> None:
    files = sorted((ROOT / "tests").rglob("*.py"))
    assert len(files) > 50
    imported = {(file.name, name) for file in files for name in _imports(file)}
    assert not {(file, name) for file, name in imported if name.startswith(("test_", "conftest"))}


@pytest.mark.parametrize(
    "file",
    [pytest.param(f, id=str(f.relative_to(ROOT))) for f in sorted((ROOT / "cli").rglob("*.py"))],
)
def test_files_of_the_command_line_are_short(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("file", [pytest.param(f, id=f.name) for f in (ROOT / "cli").rglob("*.py")])
def test_the_command_line_leaves_the_files_of_runs_to_the_library(file: Path) -> None:
    files = {"sdedge.run.RunDir", "sdedge.run.read_json", "json", "msgspec"}
    assert not files & set(_imports(file))
    assert not [name for name in _imports(file) if name.startswith("sdedge.files.write")]


@pytest.mark.parametrize(
    "module",
    [
        "sdedge",
        "sdedge.config",
        "sdedge.run",
        "sdedge.genotype",
        "sdedge.operations",
        "sdedge.space.nasbench201.cell",
        "sdedge.space.nasbench201.benchmark_table",
        "sdedge.events",
        "sdedge.cli.main",
        "sdedge.pipeline.memory",
        "sdedge.pipeline.predict",
    ],
)
def test_no_torch_is_loaded(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_loop_has_no_branch_on_a_strategy_s_name() -> None:
    from sdedge.nas.strategies import STRATEGIES

    files = [*(ROOT / "sdedge" / "loop").glob("*.py"), *(ROOT / "sdedge" / "nas").glob("*.py")]
    assert len(files) > 10
    named = {
        (file.name, node.value)
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in STRATEGIES
    }
    assert not named
