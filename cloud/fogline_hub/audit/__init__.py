"""What was done, by whom and when: rows that commit with the deed itself."""

from fogline_hub.audit.audit import AuditRow, last, record
from fogline_hub.audit.audit import list_rows as list  # noqa: A004 - read as `audit.list`

__all__ = ["AuditRow", "last", "list", "record"]
