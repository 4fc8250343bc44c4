"""Self-contained HTML pages from the package's templates, which share one stylesheet."""

from __future__ import annotations

from typing import Any

from mmcontrast.data.shards import resolve


def rendered(template: str, **fields: Any) -> str:
    """Fill a template of ``assets/report``; what is not marked safe is escaped.

    Args:
        template: its file name.
        fields: what the template names.
    """
    import jinja2

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(resolve("package:report")), autoescape=True)
    return environment.get_template(template).render(**fields)
