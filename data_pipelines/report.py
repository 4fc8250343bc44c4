"""What a job did, as ``report.json`` and one self-contained ``report.html``."""

from __future__ import annotations

import platform
from collections import Counter
from importlib import resources
from typing import Any

import mmcontrast
from data_pipelines.job import Job, identity
from data_pipelines.plots import bars

PLOT_BINS = 24


def write_report(job: Job, name: str, *, seconds: float) -> dict[str, Any]:
    """Write both reports and return the JSON one."""
    workspace, findings = job.workspace, job.findings()
    counts: Counter[str] = Counter()
    steps = []
    for step in job.steps():
        markers = workspace.markers(step.name)
        for marker in markers:
            counts.update(marker["counts"])
        steps.append(
            {
                "step": step.name,
                "tasks": len(markers),
                "task_seconds": round(sum(marker["seconds"] for marker in markers), 1),
            }
        )
    report = {
        **identity(job),
        "counts": dict(counts),
        "tables": findings.tables,
        "outputs": findings.outputs,
        "steps": steps,
        "last_run_seconds": round(seconds, 1),
        "mmcontrast": mmcontrast.__version__,
        "python": platform.python_version(),
    }
    workspace.write_json(workspace.folder / "report.json", report)
    plots = [
        (title, bars(values, bins=PLOT_BINS)) for title, values in findings.histograms.items() if len(set(values)) > 1
    ]
    page = render("report.html.j2", name=name, report=report, plots=plots, page=findings.page)
    with workspace.writing(workspace.folder / "report.html") as stream:
        stream.write(page.encode("utf-8"))
    return report


def render(template: str, **values: Any) -> str:
    """Fill one of the package's page templates; every value is escaped."""
    import jinja2

    folder = resources.files("data_pipelines") / "assets"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
