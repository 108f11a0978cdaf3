"""Settlement banks: agreements, withdrawals and what becomes of them, statements and breaks."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.models import accounts as m
from gateway.models import orders as o
from gateway.resources import Read, Write, add_reads, add_writes, make_router

WRITES = (
    Write(
        "/v1/bank-agreements",
        "accounts.AgreeBanks",
        o.BankAgreement,
        "Agree on days and statements with a bank",
    ),
    Write(
        "/v1/bank-account-bindings",
        "accounts.BindBankAccounts",
        o.BankAccountBinding,
        "Bind a holder's account at a bank",
    ),
    Write(
        "/v1/withdrawals", "accounts.RequestWithdrawals", m.WithdrawalRequest, "Ask for money out"
    ),
    Write(
        "/v1/withdrawal-cancellations",
        "accounts.CancelWithdrawals",
        m.WithdrawalCancellation,
        "Take back a withdrawal the bank was not asked for yet",
    ),
    Write(
        "/v1/withdrawal-instructions",
        "accounts.InstructWithdrawals",
        o.WithdrawalStep,
        "Ask the bank for it",
    ),
    Write(
        "/v1/withdrawal-confirmations",
        "accounts.ConfirmWithdrawals",
        m.WithdrawalAnswer,
        "The bank has paid",
    ),
    Write(
        "/v1/withdrawal-returns",
        "accounts.ReturnWithdrawals",
        m.WithdrawalAnswer,
        "The bank has not paid, and will not",
    ),
    Write(
        "/v1/bank-statements",
        "accounts.ReceiveBankStatements",
        m.BankStatement,
        "A part of the bank's statement of a day",
    ),
    Write(
        "/v1/bank-matters",
        "accounts.ProposeBankMatters",
        o.BankMatter,
        "Propose to resolve a break, or to move the default reserve",
    ),
    Write(
        "/v1/bank-matter-approvals",
        "accounts.ApproveBankMatters",
        o.BankProposal,
        "Approve it, as another person",
    ),
    Write(
        "/v1/bank-matter-withdrawals",
        "accounts.WithdrawBankMatters",
        o.BankProposal,
        "Take it back",
    ),
)
READS = (
    Read(
        "/v1/holders/{holder}/withdrawals",
        "accounts.ListWithdrawals",
        m.Withdrawals,
        "Withdrawals that are open",
    ),
    Read(
        "/v1/bank-accounts",
        "accounts.ListBankAccounts",
        m.OfBank,
        "How the books stand with the settlement banks",
    ),
)


def make_routes() -> APIRouter:
    router = make_router("banks")
    add_writes(router, WRITES)
    add_reads(router, READS)
    return router
