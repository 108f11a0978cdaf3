"""The market book: who offers what, at which price, and which trades were made.

Owns      instruments and their terms, orders, trades, prices; what holders allocated to this
          venue, in units and money; the `market` book
Commands  DefineInstrument SetTerms PlaceOrder PickOrders CancelOrder RequestRelease
          (by itself: ExpireOrder; by reaction: ReceiveAllocations HearStanding; by errand:
          EndSettlements CompleteRelease RefuseRelease)
Events    InstrumentDefined TermsSet AllocationsReceived OrderPlaced TradesMade SettlementsEnded
          OrderCancelled OrderExpired StandingHeard ReleaseRequested ReleaseCompleted
          ReleaseRefused
          (of old: SettlementCompleted SettlementRefused)
Holds     per asset, free + reserved + on the way = allocated - released; nothing is below zero;
          what an order needs is reserved before the order exists; nobody trades with himself,
          nor whose status forbids it
Trusts    the accounts book, for what was allocated and settled; the ledger, for what is proven;
          tokens of the issuers it is given
Speaks    tanzhang.market.v1.MarketService, JournalService; publishes tanzhang.market.*, follows
          tanzhang.accounts.* and tanzhang.ledger.*; asks AccountsService to settle and release
"""
