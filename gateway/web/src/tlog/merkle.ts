/**
 * Merkle trees and their proofs, RFC 6962 and RFC 9162, SHA-256: the verifier's half of
 * kernel/tlog/merkle.py.
 */

import { HASH_BYTES, concat, encodeBase64, equal, type Bytes } from "./encoding.ts";
import { ProofError } from "./errors.ts";
import { sha256 } from "./hashing.ts";

export const MAX_PROOF_HASHES = 64; // a tree of 2**63 leaves needs 63

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

/** SHA-256(0x00 || data): the hash of one entry. */
export function leafHash(data: Bytes): Promise<Bytes> {
  return sha256(concat(LEAF, data));
}

/** SHA-256(0x01 || left || right): the hash of an inner node. */
export function nodeHash(left: Bytes, right: Bytes): Promise<Bytes> {
  return sha256(concat(NODE, left, right));
}

/** The root that `proof` leads to from `leaf`. RFC 9162 section 2.1.3.2 without its last step. */
export async function inclusionRoot(
  index: bigint,
  size: bigint,
  leaf: Bytes,
  proof: readonly Bytes[],
): Promise<Bytes> {
  if (index < 0n || index >= size) {
    throw new ProofError(`expected an index below the tree size ${size}, got ${index}`);
  }
  checkHashes("leaf", [leaf]);
  checkHashes("inclusion proof", proof);
  let [node, last, result] = [index, size - 1n, leaf];
  for (const sibling of proof) {
    if (last === 0n) {
      throw new ProofError(`inclusion proof is too long: got ${proof.length} hashes`);
    }
    if (node & 1n || node === last) {
      result = await nodeHash(sibling, result);
      while (!(node & 1n) && node) {
        node >>= 1n;
        last >>= 1n;
      }
    } else {
      result = await nodeHash(result, sibling);
    }
    node >>= 1n;
    last >>= 1n;
  }
  if (last) {
    throw new ProofError(
      `inclusion proof is too short: got ${proof.length} hashes for index ${index} of ${size}`,
    );
  }
  return result;
}

/** Returns if `leaf` is at `index` of the tree with `root`; else ProofError. */
export async function verifyInclusion(
  index: bigint,
  size: bigint,
  leaf: Bytes,
  root: Bytes,
  proof: readonly Bytes[],
): Promise<void> {
  const actual = await inclusionRoot(index, size, leaf, proof);
  if (!equal(actual, root)) {
    throw new ProofError(
      `inclusion proof leads to another root: expected ${encodeBase64(root)}, ` +
        `got ${encodeBase64(actual)}`,
    );
  }
}

function checkHashes(what: string, hashes: readonly Bytes[]): void {
  if (hashes.length > MAX_PROOF_HASHES) {
    throw new ProofError(
      `${what}: expected at most ${MAX_PROOF_HASHES} hashes, got ${hashes.length}`,
    );
  }
  for (const value of hashes) {
    if (value.length !== HASH_BYTES) {
      throw new ProofError(`${what}: expected hashes of ${HASH_BYTES} bytes, got ${value.length}`);
    }
  }
}
