"""The citizens' book (碳普惠): what people's trips save, and what they earn for it.

Owns      methodologies, point rules, operators, citizens' consents, trips, milligrams, points; the
          `inclusive` book; the vault of pseudonyms and keys
Commands  ProposeMethodology ApproveMethodology SetPointRule RegisterOperator EnrolCitizen
          ChangeConsent ForgetCitizen ReceiveTripBatch ReportTrip
          (by itself: ConfirmDay; by reaction: AdmitKey WithdrawKey)
Events    MethodologyProposed MethodologyApproved PointRuleSet OperatorRegistered CitizenEnrolled
          ConsentChanged CitizenForgotten TripBatchReceived TripCredited TripRefused DayConfirmed
          KeyAdmitted KeyWithdrawn
Holds     an order earns once; no two credited trips of a person overlap; nothing is measured
          without consent; every trip of a signed batch gets milligrams and points or a reason;
          hours, places, orders and persons are never in clear
Trusts    the ledger's key directory, for operators' keys; an operator's signature for what it says
          of a ride; tokens of the issuers it is given; the vault, for whose a pseudonym is
Speaks    tanzhang.inclusive.v1.InclusiveService, JournalService; publishes tanzhang.inclusive.*,
          follows tanzhang.ledger.*
"""
