"""The shop's side of the payment service."""

from __future__ import annotations

import os

import httpx

TIMEOUT_S = 1.0


class PaymentTimeout(Exception):
    """The payment service did not answer in time."""


def charge(order: int, amount: int, plan: str | None) -> str:
    """Have an amount paid; return the payment's reference."""
    bill = {"order": order, "amount": amount, "plan": plan}
    try:
        answer = httpx.post(f"{os.environ['PAYMENTS_URL']}/charges", json=bill, timeout=TIMEOUT_S)
    except httpx.TimeoutException as error:
        raise PaymentTimeout(f"the payment service did not answer within {TIMEOUT_S:g} s") from error
    answer.raise_for_status()
    reference: str = answer.json()["reference"]
    return reference
