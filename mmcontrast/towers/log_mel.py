"""The former place of the log-mel front end."""

from __future__ import annotations

from mmcontrast.front_ends.log_mel import LogMel, LogMelConfig

__all__ = ["LogMel", "LogMelConfig"]
