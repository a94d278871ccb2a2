"""How the agents of one environment and configuration are computed: one protocol, two backends.

`interface.py` is the protocol; `reference.py` (blocks of `at_once.py`) and `native.py` (with what
is no single C call, `native_steps.py`) are the backends; `choice.py` chooses.
"""
