"""The rollout of one revision as a pure state machine: facts in, one decision out.

`decide.decide(inputs, now)` is the only entry; `model` has its types, `plan` what is frozen at the start and `causes` why
pods are not ready. No I/O, no clock and no logging here: the reconcile gathers, this decides, the reconcile applies.
"""
