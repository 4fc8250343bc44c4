"""How shards are read: where fetched ones are kept, which URLs may be opened, what a failing disk or server does."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mmcontrast.config import Count, NonNegative, NonNegativeCount, Positive, config


@config
class Storage:
    """Reading of shards, local and remote."""

    cache: Path = Path("~/.cache/mmcontrast/shards")  # folder that remote shards are fetched into, whole
    cache_bytes: Count = 100 << 30  # the least recently used shards are deleted over this
    schemes: tuple[str, ...] = ("http", "https", "s3", "gs", "hf")  # URLs that may be opened
    retries: NonNegativeCount = 4  # further tries after a failed read or request
    backoff_seconds: NonNegative = 0.5  # pause before the first of them; doubled each time
    timeout_seconds: Positive = 60.0  # longest silence of a server
    on_shard_error: Literal["fail", "substitute"] = "fail"  # a shard that cannot be read: stop, or replace its rows
    check_crc32: bool = True  # compare every member with the index when it is read
