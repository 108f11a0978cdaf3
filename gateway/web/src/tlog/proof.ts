/** The offline proof of one entry, c2sp.org/tlog-proof@v1: kernel/tlog/proof.py. */

import { decodeBase64, decodeHash, parseDecimal, octets, shorten, type Bytes } from "./encoding.ts";
import { FormatError } from "./errors.ts";
import { MAX_PROOF_HASHES } from "./merkle.ts";
import { MAX_NOTE_BYTES, parseNote } from "./note.ts";

const HEADER = "c2sp.org/tlog-proof@v1";
export const MAX_PROOF_BYTES = MAX_NOTE_BYTES + 64 * 1024;

/** Zero-based index, path (leaf's sibling first), the signed checkpoint as it was received. */
export interface TlogProof {
  readonly index: bigint;
  readonly path: readonly Bytes[];
  readonly checkpoint: Bytes;
}

/** The parts of a proof file, strictly; the checkpoint's signatures are not looked at. */
export function parseProof(data: Bytes): TlogProof {
  if (data.length > MAX_PROOF_BYTES) {
    throw new FormatError(`proof: expected at most ${MAX_PROOF_BYTES} bytes`);
  }
  const gap = data.findIndex((byte, n) => byte === 0x0a && data[n + 1] === 0x0a);
  if (gap < 0) {
    throw new FormatError("proof: expected an empty line before the checkpoint, got none");
  }
  const head = octets(data.subarray(0, gap));
  if (/[\u0080-\u00ff]/.test(head)) {
    throw new FormatError("proof: expected ASCII before the checkpoint");
  }
  const [header, ...lines] = head.split("\n");
  if (header !== HEADER) throw new FormatError(`proof: expected ${HEADER} first`);
  if (lines[0]?.startsWith("extra ")) {
    decodeBase64((lines.shift() as string).slice("extra ".length), "proof extra");
  }
  const numbered = lines.shift();
  if (!numbered?.startsWith("index ")) {
    throw new FormatError(`proof: expected an index line, got ${shorten(numbered ?? "")}`);
  }
  if (lines.length > MAX_PROOF_HASHES) {
    throw new FormatError(
      `proof: expected at most ${MAX_PROOF_HASHES} hashes, got ${lines.length}`,
    );
  }
  const path = lines.map((line, n) => decodeHash(line, `proof hash ${n}`));
  const checkpoint = data.slice(gap + 2);
  parseNote(checkpoint);
  return {
    index: parseDecimal(numbered.slice("index ".length), "proof index"),
    path,
    checkpoint,
  };
}
