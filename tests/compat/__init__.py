"""CPython's own tests, run against our queues: ``python -m tests.compat``, or ``make compat``.

The tests are those of the running interpreter's ``test`` package; none is copied. ``selection``
says which of them, and which are left out and why; ``lending`` where they are found; ``pointing``
makes them use our classes; ``worker`` is the process that runs some of them under one start method;
``supervise`` starts workers, limits their time and takes note of the outcomes; ``report`` writes
docs/compat.md.
"""
