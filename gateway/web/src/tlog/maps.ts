/**
 * Two authenticated maps, who holds how much and where every serial is: the verifier's half of
 * kernel/tlog/maps.py; the format is docs/reference/state-proofs.md.
 */

import { HASH_BYTES, concat, decodeHash, shorten, utf8, type Bytes } from "./encoding.ts";
import { FormatError, ProofError } from "./errors.ts";
import { sha256 } from "./hashing.ts";

export const EMPTY: Bytes = new Uint8Array(HASH_BYTES); // of a subtree in which there is nothing
export const KEY_BITS = 256;
const MAX_SERIAL_BITS = 53;
const MAX_TOKENS = 200_000;

/** What stands at a key: 32 bytes each, `value` being the hash of what is said there. */
export interface Leaf {
  readonly key: Bytes;
  readonly value: Bytes;
}

/** Serials first..last, both included, and their status; null where there are no such. */
export interface Piece {
  readonly first: bigint;
  readonly last: bigint;
  readonly status: string | null;
}

/** The value of a batch's leaf: its serials lie below 2^bits, in a trie with this root. */
export function batchValue(bits: number, root: Bytes): Promise<Bytes> {
  return sha256(concat(Uint8Array.of(2, bits), root));
}

/** The root of a map that has this leaf; `siblings` from the root's child down. */
export async function presentRoot(leaf: Leaf, siblings: readonly Bytes[]): Promise<Bytes> {
  return rootAbove(leaf.key, await leafHash(leaf), siblings);
}

/**
 * Root and pieces of a batch's trie of which a part is shown, in the order of the serials.
 *
 * Tokens, in pre-order: `/` two subtrees follow, `-` nothing here, `#<base64>` a subtree that is
 * not shown, `=<status>` every serial here has this status. FormatError on anything else, and on
 * two equal halves that are not one.
 */
export async function shownSerials(
  tokens: readonly string[],
  bits: bigint,
): Promise<{ root: Bytes; pieces: Piece[] }> {
  if (bits < 1n || bits > MAX_SERIAL_BITS) {
    throw new FormatError(`serials: expected 1..${MAX_SERIAL_BITS} bits, got ${bits}`);
  }
  if (tokens.length > MAX_TOKENS) {
    throw new FormatError(`serials: expected at most ${MAX_TOKENS} tokens, got ${tokens.length}`);
  }
  const trie = new ShownTrie(tokens);
  const root = await trie.read(0n, bits);
  trie.end();
  return { root, pieces: trie.pieces };
}

class ShownTrie {
  readonly pieces: Piece[] = [];
  readonly #tokens: readonly string[];
  #at = 0;

  constructor(tokens: readonly string[]) {
    this.#tokens = tokens;
  }

  async read(first: bigint, bits: bigint): Promise<Bytes> {
    const token = this.#tokens[this.#at++];
    if (token === undefined) {
      throw new FormatError("serials: expected another subtree, got the end");
    }
    if (token === "/" && bits > 0n) return this.#split(first, bits);
    if (token === "-") {
      this.#show(first, bits, null);
      return EMPTY;
    }
    const said = token.slice(1);
    if (token.startsWith("#")) return decodeHash(said, "serials subtree");
    if (token.startsWith("=") && said) {
      this.#show(first, bits, said);
      return sha256(concat(Uint8Array.of(3), utf8(said)));
    }
    throw new FormatError(`serials: expected /, -, #hash or =status, got ${shorten(token)}`);
  }

  end(): void {
    const extra = this.#tokens[this.#at];
    if (extra !== undefined) {
      throw new FormatError(`serials: expected the end, got ${shorten(extra)}`);
    }
  }

  async #split(first: bigint, bits: bigint): Promise<Bytes> {
    const middle = first + (1n << (bits - 1n));
    const begun = this.pieces.length;
    const left = await this.read(first, bits - 1n);
    const right = await this.read(middle, bits - 1n);
    const [one, two, more] = this.pieces.slice(begun, begun + 3);
    const areHalves = one?.first === first && one.last === middle - 1n && two?.first === middle;
    const isWhole = more === undefined && two?.last === first + (1n << bits) - 1n;
    if (areHalves && isWhole && one?.status === two?.status) {
      // else a range could be spelled in two ways
      throw new FormatError(`serials: expected one leaf for the equal halves at ${first}`);
    }
    return nodeHash(left, right);
  }

  #show(first: bigint, bits: bigint, status: string | null): void {
    this.pieces.push({ first, last: first + (1n << bits) - 1n, status });
  }
}

/** Every serial of first..last is shown with this status. ProofError names the first other. */
export function requireStatus(
  pieces: readonly Piece[],
  first: bigint,
  last: bigint,
  status: string,
): void {
  let at = first;
  for (const piece of pieces) {
    if (piece.last < at || at > last) continue;
    if (piece.first > at) break; // a hidden part
    if (piece.status !== status) {
      throw new ProofError(`serial ${at}: expected ${status}, got ${piece.status ?? "nothing"}`);
    }
    at = piece.last + 1n;
  }
  if (at <= last) {
    throw new ProofError(`serial ${at}: expected ${status}, got a part that is not shown`);
  }
}

function leafHash(leaf: Leaf): Promise<Bytes> {
  return sha256(concat(Uint8Array.of(0), leaf.key, leaf.value));
}

function nodeHash(left: Bytes, right: Bytes): Promise<Bytes> {
  return sha256(concat(Uint8Array.of(1), left, right));
}

/** 0 goes left, 1 goes right; the first bit is the highest of the first byte. */
function keyBit(key: Bytes, depth: number): number {
  return ((key[depth >> 3] as number) >> (7 - (depth & 7))) & 1;
}

async function rootAbove(key: Bytes, found: Bytes, siblings: readonly Bytes[]): Promise<Bytes> {
  if (key.length !== HASH_BYTES || siblings.length > KEY_BITS) {
    throw new ProofError(
      `expected a key of ${HASH_BYTES} bytes and at most ${KEY_BITS} siblings, ` +
        `got ${key.length} and ${siblings.length}`,
    );
  }
  let root = found;
  for (const [depth, sibling] of [...siblings.entries()].toReversed()) {
    root = keyBit(key, depth) ? await nodeHash(sibling, root) : await nodeHash(root, sibling);
  }
  return root;
}
