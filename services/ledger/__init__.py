"""The signed ledger: a second pair of eyes on every book, and the only holder of the log keys.

Owns      one transparency log per book; the key directory; the `ledger` book; signed snapshots of
          what its checkers know
Commands  ProposeKey ProposeKeyRevocation ProposeOverride ProposeIdentities ProposeLogKey
          ProposeLogKeyRetirement Approve Withdraw (by two persons); by itself: HaltBook
          NoteDisagreement PinFirstIdentities
Events    KeyProposed KeyRevocationProposed OverrideProposed IdentitiesProposed ProposalWithdrawn
          KeyRegistered KeyRevoked OverrideAccepted IdentitiesPinned BookHalted
          WitnessDisagreed LogKeyProposed LogKeyAnnounced LogKeyRetirementProposed LogKeyRetired
Holds     never signs what breaks a book's rules, or what two books tell differently; never a
          smaller tree, never two roots of one size; whoever approves is not who proposed
Trusts    the pinned identities for frame keys; its own directory for institutions' keys; no service
Speaks    tanzhang.ledger.v1.LedgerService, JournalService; publishes tanzhang.ledger.*,
          follows every book it is told to check
"""
