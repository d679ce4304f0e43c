"""What a customer pays, and on which plan."""

from __future__ import annotations

PLAN_OF_COUPON = {"TEAM24": "team", "WELCOME": "pro"}


def plan_after(plan: str | None, coupon: str | None) -> str | None:
    """Return the plan a customer has after a purchase: a coupon may raise it."""
    if coupon is None:
        return plan
    # The bug: a coupon that is not known takes the plan away.
    return PLAN_OF_COUPON.get(coupon)
