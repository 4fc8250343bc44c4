"""The command line: quick to start, one door to every field."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mmcontrast.cli import KINDS, main, parser
from mmcontrast.config import flatten, to_tree
from mmcontrast.run import check, load_run

ROOT = Path(__file__).parent.parent
CONFIGS = sorted(  # of runs; comparisons and mendings have tests of their own
    path
    for path in (ROOT / "configs").rglob("*.yaml")
    if not {"base", "mend"} & {*path.parts} and not path.name.startswith("objectives")
)


@pytest.mark.parametrize("code", ["import mmcontrast", "import mmcontrast.cli; mmcontrast.cli.parser().format_help()"])
def test_importing_loads_no_heavy_package(code: str) -> None:
    heavy = "('torch', 'torchaudio', 'timm', 'open_clip', 'librosa', 'transformers', 'deepspeed', 'matplotlib')"
    probe = f"{code}\nimport sys; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip().splitlines()[-1] == "[]"


def test_the_flags_of_train_are_frozen() -> None:
    """Every setting is a config field: a new flag would be a second door."""
    (commands,) = [action for action in parser()._actions if hasattr(action, "choices") and action.choices]
    flags = [flag for action in commands.choices["train"]._actions for flag in action.option_strings]
    assert sorted(flags) == ["--help", "--print-config", "-h"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_lists_its_names(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines and all(len(line.split(maxsplit=1)) == 2 for line in lines), "every component has a first line"


def test_an_unknown_kind_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "tower"]) == 2
    assert "Did you mean 'towers'" in capsys.readouterr().err


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_shipped_configs_resolve_as_their_goldens_say(path: Path) -> None:
    golden = ROOT / "tests/goldens" / path.relative_to(ROOT / "configs").with_suffix(".txt")
    lines = sorted(f"{key}: {value!r}" for key, value in flatten(to_tree(load_run(path))).items())
    assert golden.is_file(), "run: make goldens"
    assert golden.read_text(encoding="utf-8").splitlines() == lines, "if this was meant, run: make goldens"


def test_the_quickstart_passes_its_check(tmp_path: Path) -> None:
    run = load_run(ROOT / "configs/quickstart.yaml", [f"out={tmp_path}/run"])
    assert any("rows per update" in line for line in check(run))


def test_a_watchdog_that_would_speak_after_the_collectives_gave_up_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["check", str(ROOT / "configs/quickstart.yaml"), f"out={tmp_path}/run", "watchdog.hung_seconds=600"]
    assert main(asked) == 0  # one process waits for nobody
    assert main([*asked, "engine={type: ddp}"]) == 2
    assert "watchdog.hung_seconds: 600 s is not below engine.timeout_seconds = 600 s" in capsys.readouterr().err
