"""Which control groups bound this process, of either version of them. Linux: cgroups(7)."""

from pathlib import Path


def own_groups(proc: Path, cgroups: Path, controller: str, marker: str) -> tuple[Path, ...]:
    """This process's groups and those above them, innermost first.

    Within a container the path is often that of the host, and the group is mounted at the root.

    Args:
        proc: Where the kernel tells of processes.
        cgroups: Where control groups are mounted.
        controller: Of the first version, whose hierarchy counts beside the second version's.
        marker: A file that every group has; what lacks it is none.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return ()
    found: list[Path] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            roots = [cgroups, cgroups / "unified"]
        elif controller in controllers.split(","):
            roots = [cgroups / controllers, cgroups / controller]
        else:
            continue
        found += next((c for r in roots if (c := _chain(r, path, marker))), ())
    return tuple(found)


def _chain(root: Path, path: str, marker: str) -> tuple[Path, ...]:
    """From the group to the root; empty where there is no hierarchy."""
    own = root / path.strip("/")
    if ".." in own.parts or not (own / marker).exists():
        own = root
    if not (own / marker).exists():
        return ()
    return (own, *(p for p in own.parents if p == root or root in p.parents))
