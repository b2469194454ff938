#!/usr/bin/env python3
"""Pays an invoice, once somebody has allowed it. Waiting for that holds no program, for minutes or for weeks."""

import os
import pathlib
import sys

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[2] / "sdk" / "python"))

from weft_agent import Permanent, serve


def check(invoice):
    if invoice["amount"] <= 0:
        raise Permanent("an invoice over nothing", code="bad_invoice")
    return {"to": invoice["to"].upper(), "amount": invoice["amount"]}


def pay(invoice, ctx):
    payment = ctx.step("check", check, invoice)

    # After an hour eve may decide too. What comes back is the action that was allowed, which whoever decided
    # may have changed.
    chain = [{"approvers": ["ann", "bob"]}, {"approvers": ["eve"], "afterMs": 3600 * 1000}]
    question = "Pay %(amount)s to %(to)s?" % payment
    allowed = ctx.approve("payment", payment, question=question, chain=chain)

    def transfer(payment):
        # A bank that knows its keys: the same key pays once, however often it is asked.
        with open(os.path.join(os.environ["WEFT_SCRATCH"], "bank"), "a") as book:
            book.write("%s %s %s\n" % (ctx.idempotency_key, payment["amount"], payment["to"]))
        return {"paid": payment["amount"], "to": payment["to"]}

    # In one commit: the transfer's result, and that the approval is used up.
    return ctx.call("transfer", allowed, transfer, allowed_by="payment")


serve(pay, name="pay.py", description="Pays invoices that somebody has allowed")
