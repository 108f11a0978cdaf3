/**
 * ML-DSA-44 cosignatures (0x06), c2sp.org/tlog-cosignature, as kernel/tlog/checkpoint.py has them.
 *
 * No browser's WebCrypto has ML-DSA yet, so the arithmetic is @noble/post-quantum's; it is loaded
 * only when a policy's key of this kind has signed.
 */

import { parseCheckpoint } from "./checkpoint.ts";
import { concat, uint64, utf8, type Bytes } from "./encoding.ts";
import { FormatError } from "./errors.ts";

const LABEL = utf8("subtree/v1\n\0");

export async function verifyMldsa(
  key: { name: string; publicKey: Bytes },
  timestampS: bigint,
  text: string,
  signature: Bytes,
): Promise<boolean> {
  const message = checkpointMessage(key.name, timestampS, text);
  const { ml_dsa44 } = await import("@noble/post-quantum/ml-dsa.js");
  try {
    return ml_dsa44.verify(signature, message, key.publicKey);
  } catch {
    return false; // of another length than a signature has
  }
}

/** What an ML-DSA-44 cosigner signs; start 0 and end = size stand for a whole checkpoint. */
export function checkpointMessage(name: string, timestampS: bigint, text: string): Bytes {
  const { origin, size, root } = parseCheckpoint(text);
  return concat(
    LABEL,
    shortVector(name),
    uint64(timestampS),
    shortVector(origin),
    uint64(0n),
    uint64(size),
    root,
  );
}

function shortVector(text: string): Bytes {
  const data = utf8(text);
  if (data.length < 1 || data.length > 255) {
    throw new FormatError(`expected a name of 1..255 bytes, got ${data.length}`);
  }
  return concat(Uint8Array.of(data.length), data);
}
