"""An exported folder: some towers of a model with all that their use needs, apart from any run."""

from mmcontrast.exported.folder import (
    MODEL_JSON,
    Exported,
    exported_model,
    is_exported,
    read_exported,
    seal,
    verify,
    write_exported,
)

__all__ = [
    "MODEL_JSON",
    "Exported",
    "exported_model",
    "is_exported",
    "read_exported",
    "seal",
    "verify",
    "write_exported",
]
