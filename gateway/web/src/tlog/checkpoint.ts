/** Checkpoint texts, c2sp.org/tlog-checkpoint: what a log signs. See kernel/tlog/checkpoint.py. */

import { decodeHash, parseDecimal, shorten, type Bytes } from "./encoding.ts";
import { FormatError } from "./errors.ts";

/** Origin, tree size in leaves and 32-byte root; `extensions` are lines nobody can audit. */
export interface Checkpoint {
  readonly origin: string;
  readonly size: bigint;
  readonly root: Bytes;
  readonly extensions: readonly string[];
}

/** The checkpoint in a note's text, strictly. FormatError. */
export function parseCheckpoint(text: string): Checkpoint {
  if (!text.endsWith("\n")) throw new FormatError("checkpoint: expected a final newline");
  const [origin, size, root, ...extensions] = text.slice(0, -1).split("\n");
  if (origin === undefined || size === undefined || root === undefined) {
    throw new FormatError("checkpoint: expected origin, size and root");
  }
  for (const line of [origin, ...extensions]) {
    if (!line || /[\u0000-\u001f]/.test(line)) {
      throw new FormatError(
        `checkpoint: expected non-empty lines without controls, got ${shorten(line)}`,
      );
    }
  }
  return {
    origin,
    size: parseDecimal(size, "checkpoint size"),
    root: decodeHash(root, "checkpoint root"),
    extensions,
  };
}
