"""Job scripts: the numbers asked for, a config that fits them, nothing submitted on a dry run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mmcontrast.cli import main, parser
from mmcontrast.config import dump
from tests.small_run import run_of

LAUNCH = Path(__file__).parent.parent / "launch"


@pytest.fixture
def config(sets: dict[str, str], tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(dump(run_of(sets, tmp_path / "run")))
    return path


def test_a_dry_run_prints_a_script_with_the_numbers_asked_for(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--nodes", "2", "--gpus-per-node", "3", "--time", "1-02:00:00", "--partition", "long", "--dry-run"]
    assert main(["launch", "slurm", str(config), "engine=ddp", *asked]) == 0
    script = capsys.readouterr().out
    for line in ("--nodes=2", "--ntasks-per-node=3", "--gpus-per-node=3", "--time=1-02:00:00", "--partition=long"):
        assert script.count(f"#SBATCH {line}\n") == 1
    assert f"set -- {config} engine=ddp\n" in script and "--account" not in script
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert not (tmp_path / "run").exists()


def test_a_job_on_cpus_asks_for_no_gpu(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch", "slurm", str(config), "--gpus-per-node", "0", "--dry-run"]) == 0
    script = capsys.readouterr().out
    assert "#SBATCH --gpus-per-node" not in script and "#SBATCH --ntasks-per-node=1\n" in script


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["engine=ddp", "--gpus-per-node", "5"], "12 rows do not divide among 5 ranks"),
        (["--gpus-per-node", "2"], "'local' is one process, the job has 2 ranks"),
        (["--time", "soon"], "'soon' is no time"),
        (["--nodes", "0"], "--nodes: 0 is no count"),
        (["optimiser=x"], "Did you mean 'optimizer'?"),
        ([], "there is no 'sbatch' here"),
    ],
)
def test_what_cannot_run_is_refused_before_it_is_submitted(
    config: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert main(["launch", "slurm", str(config), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("script", sorted(path.name for path in [*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")]))
def test_every_launcher_is_valid_bash_and_says_how_it_is_used(script: str) -> None:
    path = LAUNCH / script
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("usage: ")


def array_task(number: int, run: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One task of the evaluation array, with ``echo`` in Python's place."""
    environment = {**os.environ, "PYTHON": "echo", "SLURM_ARRAY_TASK_ID": str(number)}
    command = ["bash", str(LAUNCH / "eval_array.sbatch"), str(run), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_an_evaluation_array_covers_every_checkpoint_and_suite_with_commands_that_parse(tmp_path: Path) -> None:
    for step in (4, 8):
        (tmp_path / f"checkpoints/step-{step:08d}").mkdir(parents=True)
    (tmp_path / "checkpoints/.aside-step-00000006").mkdir()
    found = []
    for number in range(4):
        done = array_task(number, tmp_path, "quick", "sets/own.yaml", "--", "--device", "cuda", "--allow-missing")
        words = done.stdout.split()
        assert words[:2] == ["-m", "mmcontrast"], done.stderr
        parsed = parser().parse_args(words[2:])
        assert parsed.device == "cuda" and parsed.allow_missing
        assert parsed.out == tmp_path / "eval" / f"{Path(parsed.checkpoint).name}-{Path(parsed.suite).stem}"
        found.append((Path(parsed.checkpoint).name, parsed.suite))
    assert found == [(f"step-{step:08d}", suite) for step in (4, 8) for suite in ("quick", "sets/own.yaml")]
    beyond = array_task(4, tmp_path, "quick", "sets/own.yaml")
    assert beyond.returncode == 2 and "--array=0-3" in beyond.stderr
