"""The equations of MetaGenRL as functions on explicit parameters (torch only).

Each stands here in plain torch: `critic.py` (Eq. 5), `objective/` (L_alpha, Eq. 7),
`policy_update.py`, `policy_value.py`, `meta_gradient.py` (Eq. 6 and 8), `returns.py` (Eq. 2 and 3)
for one agent (`critic.py`: for K), `stacked_*.py` for K agents along a leading axis, on any device.
`native/` has the fast forms in C; `ops.py` and `native/forms.py` say which is used.
docs/algorithm.md has the table.
"""
