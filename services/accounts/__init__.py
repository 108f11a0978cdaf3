"""The accounts book: who holds what.

Owns      holders, assets, ledger accounts, entries, holds; the `accounts` book
Commands  RegisterHolder DefineAsset PostEntry PlaceHold PostHold ReleaseHold
          (by itself: ExpireHold; by reaction: AdmitKey WithdrawKey)
Events    HolderRegistered AssetDefined EntryPosted HoldPlaced HoldPosted HoldReleased HoldExpired
          KeyAdmitted KeyWithdrawn
Holds     per asset the sum over all accounts is zero; only `issued` and `external` are below zero;
          each serial is in one place; terminal units never move; all legs of an entry or none
Trusts    the ledger's key directory, for institutions' keys; tokens of the issuers it is given
Speaks    tanzhang.accounts.v1.AccountsService, JournalService; publishes tanzhang.accounts.*,
          follows tanzhang.ledger.*
"""
