/**
 * What the log formats raise, as kernel/tlog/errors.py: one root, and a stable name for each kind.
 *
 * A ReceiptError carries `part`: what differs, in the same words `tanzhang verify` uses.
 */

export class TlogError extends Error {
  override name = "TlogError";
}

/** Bytes or values outside the format: nothing was verified. */
export class FormatError extends TlogError {
  override name = "FormatError";
}

/** A signed note nobody trusted signed, or one that carries a false signature of a known key. */
export class NoteError extends TlogError {
  override name = "NoteError";
}

/** A Merkle proof that does not lead to the expected root. */
export class ProofError extends TlogError {
  override name = "ProofError";
}

/** A policy that is not well formed, or a checkpoint that does not satisfy it. */
export class PolicyError extends TlogError {
  override name = "PolicyError";
}

/** A refused file; `part` says which of its parts differs. */
export class ReceiptError extends TlogError {
  override name = "ReceiptError";
  readonly part: string;

  constructor(part: string, message: string) {
    const head = `${part}: `;
    super(head + (message.startsWith(head) ? message.slice(head.length) : message));
    this.part = part;
  }
}

/** The browser lacks what checking needs: nothing was verified, and nothing was found false. */
export class UnsupportedError extends Error {
  override name = "UnsupportedError";
}
