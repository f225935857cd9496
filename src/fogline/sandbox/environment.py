"""What a child inherits of the environment: what is named here, and nothing else.

Tokens and cloud credentials often stand in environments, and a child runs a stranger's model or a
trainer's code. A secret that a child does need goes by a 0600 file or by stdin.
"""

import os
from collections.abc import Mapping

_NAMES = frozenset(
    {
        "PATH",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        # How the operator tells Python where the code is; no other PYTHON variable.
        "PYTHONPATH",
        # Threads of numeric libraries: a child must not take more cores than its parent was given.
        "NUMEXPR_MAX_THREADS",
        "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "BLIS_NUM_THREADS",
    }
)
_PREFIXES = ("LC_", "OMP_", "OPENBLAS_", "MKL_", "GOTO_")


def clean_environment(
    extra: Mapping[str, str] | None = None, *, base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The allowed variables of `base` (this process's environment), then `extra` over them."""
    source = os.environ if base is None else base
    kept = {k: v for k, v in source.items() if k in _NAMES or k.startswith(_PREFIXES)}
    return kept | dict(extra or {})
