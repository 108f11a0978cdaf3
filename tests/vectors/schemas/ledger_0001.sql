-- The schema of ledger as its first revision made it before there was a second. Never changed.
CREATE TABLE events ( book TEXT NOT NULL, position BIGINT NOT NULL, record BYTEA NOT NULL, salt BYTEA NOT NULL, principal TEXT, command_id UUID, digest BYTEA, PRIMARY KEY (book, position) );
CREATE UNIQUE INDEX events_command ON events (command_id, principal, book);
CREATE TABLE frames ( book TEXT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, book_id BYTEA NOT NULL, commitments BYTEA NOT NULL, digest BYTEA NOT NULL, key_id TEXT NOT NULL, signature BYTEA NOT NULL, PRIMARY KEY (book, first) );
CREATE TABLE leases ( book TEXT NOT NULL, epoch BIGINT NOT NULL, backend_pid INTEGER, renewed_at TIMESTAMP WITH TIME ZONE NOT NULL, PRIMARY KEY (book) );
CREATE TABLE outcomes ( command_id UUID NOT NULL, principal TEXT NOT NULL, book TEXT NOT NULL, digest BYTEA NOT NULL, first BIGINT NOT NULL, events INTEGER NOT NULL, refusal BYTEA, PRIMARY KEY (command_id, principal, book) );
CREATE TABLE watermarks ( reader TEXT NOT NULL, book TEXT NOT NULL, next_position BIGINT NOT NULL, PRIMARY KEY (reader, book) );
CREATE TABLE checkpoints ( book TEXT NOT NULL, size BIGINT NOT NULL, published_at_ms BIGINT NOT NULL, note BYTEA NOT NULL, PRIMARY KEY (book, size) );
CREATE TABLE commitments ( book TEXT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, data BYTEA NOT NULL, PRIMARY KEY (book, first) );
CREATE TABLE tiles ( book TEXT NOT NULL, level INTEGER NOT NULL, n BIGINT NOT NULL, data BYTEA NOT NULL, PRIMARY KEY (book, level, n) );
