"""The registry book: what exists.

Owns      programmes, projects, verified reductions, issuances, liens, the public list of
          retirements; the `registry` book
Commands  OpenProgramme SetTerms FileProject AdvanceProject VerifyReduction ProposeIssuance
          ApproveIssuance RegisterPledge ReleasePledge
          (by errand: CompleteIssuance RefuseIssuance CompletePledge RefusePledge CompleteRelease
          RefuseRelease; by reaction: RetireUnits OverridePledges AdmitKey WithdrawKey)
Events    ProgrammeOpened TermsSet ProjectFiled ProjectAdvanced ReductionVerified IssuanceProposed
          IssuanceApproved IssuanceCompleted IssuanceRefused PledgeRequested PledgeRegistered
          PledgeRefused ReleaseRequested PledgeReleased ReleaseRefused PledgeOverridden UnitsRetired
          KeyAdmitted KeyWithdrawn
Holds     no more is issued than was verified; one site has one claim for a period; who proposes
          does not approve; a lien stands by both signatures and goes by the pledgee's
Trusts    the accounts book, for what entries moved; the ledger's key directory, for institutions'
          keys; tokens of the issuers it is given
Speaks    tanzhang.registry.v1.RegistryService, JournalService; publishes tanzhang.registry.*,
          follows tanzhang.ledger.* and tanzhang.accounts.*, posts entries in accounts
"""
