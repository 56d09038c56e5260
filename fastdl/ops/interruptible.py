"""NumPy's long calls, which look at no signal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

LONG = 1 << 19  # elements to sort: about 50 ms


def interruptible(elements: int, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the function gives. With many elements it runs in a thread of its own, and a signal's handler that raises,
    as that of Ctrl-C does, need not wait for it; its result is then lost. It must write nothing else."""
    if elements < LONG or threading.current_thread() is not threading.main_thread():  # others get no signals
        return function(*args, **kwargs)
    results: list[Any] = []
    errors: list[BaseException] = []
    done = threading.Lock()

    def work() -> None:
        try:
            results.append(function(*args, **kwargs))
        except BaseException as error:
            errors.append(error)
        finally:
            done.release()

    done.acquire()
    try:
        threading.Thread(target=work, name="fastdl", daemon=True).start()
    except RuntimeError:  # the system refuses threads
        return function(*args, **kwargs)
    done.acquire()
    if errors:
        raise errors.pop()
    return results.pop()
