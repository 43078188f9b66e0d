"""A progress bar on a terminal, silence elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def shown(total: int) -> Iterator[Callable[[str], None]]:
    """Yield a function to call with a few words before each of `total` steps."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=total)
        begun = False

        def step(words: str) -> None:
            nonlocal begun
            bar.update(task, description=words, advance=1 if begun else 0)
            begun = True

        yield step
