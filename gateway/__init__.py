"""The gateway: the only thing a phone or a browser talks to.

Owns      nothing: it keeps no state, any number of them may run side by side
Does      REST over the services' RPCs, live views (SSE), the public logs as C2SP tiles
Holds     an item's id is the caller's Idempotency-Key, so a repeat is carried out once; the
          caller's own token goes along, and the services decide what it may do
Trusts    tokens of the issuers in the identities file, for whom it lets in, not for what they may
Speaks    HTTP/1.1 JSON, RFC 9457 problems, tlog-tiles; gRPC to the five services
"""
