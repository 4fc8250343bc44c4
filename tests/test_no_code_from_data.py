"""No source file can run what data holds: no pickle, no shell, no eval; torch.load reads weights alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for folder in ("mmcontrast", "data_pipelines") for path in (ROOT / folder).rglob("*.py"))
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
HARMLESS = ["UnpicklingError"]  # what weights_only raises
FORBIDDEN_CALLS = {"eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "yaml.unsafe_load"}


def findings(source: str) -> list[str]:
    """What in a source file could run code from data, with line numbers."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if [alias.name for alias in node.names] != HARMLESS:
                names = [(node.module or "").split(".")[0]]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            if called in FORBIDDEN_CALLS:
                found.append(f"line {node.lineno}: {called}")
            if options.get("shell") == "True" or options.get("allow_pickle") == "True":
                found.append(f"line {node.lineno}: {called} with shell or allow_pickle")
            if options.get("weights_only") == "False" or (called == "torch.load" and "weights_only" not in options):
                found.append(f"line {node.lineno}: {called} without weights_only=True")
        found.extend(f"line {node.lineno}: imports {name}" for name in names if name in FORBIDDEN_MODULES)
    return found


@pytest.mark.parametrize(
    "bad",
    [
        "import pickle",
        "from pickle import load",
        "eval('1')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "subprocess.run(x, shell=True)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_the_audit_finds_what_it_looks_for(bad: str) -> None:
    assert findings(bad)


def test_no_source_file_can_run_code_from_data() -> None:
    assert len(FILES) > 100
    problems = {str(path.relative_to(ROOT)): findings(path.read_text("utf-8")) for path in FILES}
    assert {name: found for name, found in problems.items() if found} == {}
