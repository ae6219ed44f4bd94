"""Runs the code of one cell: Python that may `await` at its top level."""

import ast
import asyncio
import linecache
from inspect import CO_COROUTINE
from types import CodeType
from typing import Any

from .outputs import Outputs


async def execute(
    source: str, name: str, names: dict[str, Any], outputs: Outputs
) -> str:
    """Run a cell's code, and show what its last expression gives.

    Args:
        source: The code; nothing is shown if it ends in a semicolon.
        name: What tracebacks call the cell.
        names: Where it finds and defines names.
        outputs: Where a result or an error goes.

    Returns:
        How it ended: "ok", "error" or "stopped".
    """
    try:
        value = None
        for code in _compiled(source, name):
            value = eval(code, names)
            if code.co_flags & CO_COROUTINE:
                value = await value
        if value is not None:
            outputs.show(value, "execute_result")
    except BaseException as error:  # noqa: BLE001 - SystemExit is only told
        task = asyncio.current_task()
        stopped = isinstance(error, asyncio.CancelledError)
        if stopped and task and task.cancelling():
            return "stopped"
        outputs.fail(error)
        return "error"
    return "ok"


def _compiled(source: str, name: str) -> list[CodeType]:
    """Compile statements, and a last expression if it is to be shown."""
    lines = source.splitlines(keepends=True)
    linecache.cache[name] = (len(source), None, lines, name)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    parts: list[tuple[Any, str]]
    try:
        tree: Any = compile(source, name, "exec", ast.PyCF_ONLY_AST)
        parts = [(tree, "exec")]
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr) and not source.rstrip().endswith(";"):
            tree.body.pop()
            parts.append((ast.Expression(last.value), "eval"))
        return [compile(part, name, mode, flags) for part, mode in parts]
    except SyntaxError as error:
        # If only the compiler has found it, it lacks its line.
        error.text = error.text or linecache.getline(name, error.lineno or 0)
        raise
