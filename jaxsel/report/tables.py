"""Tables of units as Parquet files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_parquet(path: Path, columns: Mapping[str, Any], meanings: Mapping[str, str]) -> None:
    """Write columns of equal length, each with what it means and its unit.

    Args:
        path: the file.
        columns: arrays or lists by name.
        meanings: one sentence for every column, kept in the file's schema.

    Raises:
        KeyError: a column without a meaning.
    """
    table = pa.table(dict(columns))
    fields = [field.with_metadata({"meaning": meanings[field.name]}) for field in table.schema]
    pq.write_table(table.cast(pa.schema(fields)), path)
