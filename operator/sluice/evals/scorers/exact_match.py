"""Scorer `ExactMatch`: the answer equals the reference, white space at the ends aside."""

from __future__ import annotations


class ExactMatch:
    """Right only if nothing differs: case and inner white space count."""

    def is_right(self, answer: str, reference: str) -> bool:
        """Whether the model's answer counts as right."""
        return answer.strip() == reference.strip()
