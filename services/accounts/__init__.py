"""The accounts book: who holds what.

Owns      holders with their openings, operators, mandates and statuses, assets, ledger accounts,
          entries, holds, withdrawals, sessions of venues; the `accounts` book
Commands  RegisterHolder DefineAsset PostEntry PlaceHold PostHold ReleaseHold
          ProposeChange ApproveProposal RefuseProposal WithdrawProposal
          SetOperator RevokeMandate OrderStatus
          FreezeUnits UnfreezeUnits PostTransfer ConfirmTransfer WithdrawTransfer
          ProposeSafeguards ConfirmSafeguards WithdrawSafeguards
          AddDestination ConfirmDestination RemoveDestination
          ProposeTransfer ApproveTransfer RefuseTransfer SettleTrades CloseSession
          AgreeBank BindBankAccount RequestWithdrawal CancelWithdrawal InstructWithdrawal
          ConfirmWithdrawal ReturnWithdrawal ReceiveBankStatement ProposeBreakResolution
          ProposeReserveMove ApproveBankProposal WithdrawBankProposal
          (by itself: ExpireHold ExpireFreeze CloseSession; by reaction: AdmitKey WithdrawKey)
Events    HolderRegistered AssetDefined EntryPosted HoldPlaced HoldPosted HoldReleased HoldExpired
          ChangeProposed ProposalRefused ProposalWithdrawn AccountTermsSet AccountOpened
          AccountClosed BankAccountChanged OperatorSet FundEntrusted MandateGranted MandateRevoked
          HolderStatusSet
          UnitsFrozen UnitsUnfrozen FreezeExpired TransferFiled TransferPosted TransferWithdrawn
          SafeguardsProposed SafeguardsConfirmed SafeguardsWithdrawn
          DestinationAdded DestinationConfirmed DestinationRemoved
          TransferProposed TransferApproved TransferRefused
          SettlementReceived TradeUnsettled SessionClosed
          SettlementBankAgreed BankAccountBound WithdrawalRequested WithdrawalInstructed
          WithdrawalConfirmed WithdrawalReturned WithdrawalCancelled BankStatementReceived
          BankStatementReconciled BankBreakOpened BankBreakResolutionProposed BankBreakResolved
          ReserveMoveProposed ReserveMoved BankProposalWithdrawn KeyAdmitted KeyWithdrawn
Holds     per asset the sum over all accounts is zero; only `issued` and `external` are below zero;
          each serial is in one place; terminal units never move; all legs of an entry or none;
          two persons behind every change about a holder; nobody moves what a status, a programme's
          terms, a register of operators or a mandate's scope forbid; what is frozen does not leave;
          money goes out on a bank's signature alone, once, and not while its statement differs
Trusts    the ledger's key directory, for institutions' keys; tokens of the issuers it is given
Speaks    tanzhang.accounts.v1.AccountsService, JournalService; publishes tanzhang.accounts.*,
          follows tanzhang.ledger.*
"""
