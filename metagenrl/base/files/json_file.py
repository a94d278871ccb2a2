"""A small JSON file: an object, or an error that says what the file is instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metagenrl.base.files.errors import CorruptFile


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises `CorruptFile` for whatever else is there, and nothing."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CorruptFile(path, "missing file") from None
    except OSError as error:
        raise CorruptFile(path, (error.strerror or str(error)).lower()) from None
    except UnicodeDecodeError:
        raise CorruptFile(path, "not UTF-8") from None
    except (ValueError, RecursionError):
        raise CorruptFile(path, "not JSON") from None
    if not isinstance(found, dict):
        raise CorruptFile(path, f"a JSON {type(found).__name__}, not an object")
    return found
