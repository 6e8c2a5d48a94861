"""Pictures of attention: the page, its explorer, and still figures."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .figure import figure as figure
    from .notebook import explore as explore

__all__ = ["explore", "figure"]


def __getattr__(name: str) -> Any:
    # Looked up when asked for: matplotlib and torch take seconds that --help need not wait.
    if name == "explore":
        from .notebook import explore

        return explore
    if name == "figure":
        from .figure import figure

        globals()["figure"] = figure  # else the module of that name would stand here from now on
        return figure
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
