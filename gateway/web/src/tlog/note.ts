/**
 * Signed notes, c2sp.org/signed-note: the verifier's half of kernel/tlog/note.py, with Ed25519
 * (0x01), timestamped cosignatures (0x04) and, for checkpoints, ML-DSA-44 (0x06, mldsa.ts).
 *
 * A note is believed only if a known key signed it and no known key's signature is false.
 */

import {
  MAX_UINT63,
  concat,
  decodeBase64,
  equal,
  fromUtf8,
  shorten,
  utf8,
  type Bytes,
} from "./encoding.ts";
import { FormatError, NoteError } from "./errors.ts";
import { sha256, verifyEd25519 } from "./hashing.ts";
import { verifyMldsa } from "./mldsa.ts";

export const ED25519 = 0x01;
export const COSIGNATURE = 0x04;
export const MLDSA44 = 0x06;

export const MAX_NOTE_BYTES = 256 * 1024;
const MAX_SIGNATURES = 64;
const MAX_NAME_BYTES = 255;
const PUBLIC_BYTES: Readonly<Record<number, number>> = {
  [ED25519]: 32,
  [COSIGNATURE]: 32,
  [MLDSA44]: 1312,
};
// what Python calls a space, and every control before it
const SPACE = /[\u0000-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
const HEX8 = /^[0-9a-f]{8}$/;

/** A public key under a name; `keyId` is the number that stands before its signatures. */
export interface Verifier {
  readonly name: string;
  readonly kind: number;
  readonly publicKey: Bytes;
  readonly keyId: number;
}

/** One signature line as it stands in a note; nothing about it is verified. */
export interface Signature {
  readonly name: string;
  readonly keyId: number;
  readonly blob: Bytes;
}

/** A signature of a known key that verified; `timestampS` only for cosignatures. */
export interface VerifiedSignature extends Verifier {
  readonly timestampS: bigint | null;
}

export interface OpenedNote {
  readonly text: string;
  readonly verified: readonly VerifiedSignature[];
  readonly unknown: readonly Signature[];
}

export function showKey(key: { name: string; keyId: number }): string {
  return `${key.name}+${key.keyId.toString(16).padStart(8, "0")}`;
}

export function isSameKey(left: Verifier, right: Verifier): boolean {
  return (
    left.name === right.name && left.kind === right.kind && equal(left.publicKey, right.publicKey)
  );
}

/** FormatError unless `name` is non-empty and free of Unicode spaces, controls and '+'. */
export function checkKeyName(name: string): void {
  const length = utf8(name).length;
  if (length < 1 || length > MAX_NAME_BYTES || name.includes("+") || SPACE.test(name)) {
    throw new FormatError(
      `expected a key name of 1..${MAX_NAME_BYTES} bytes of UTF-8 without space or '+', ` +
        `got ${shorten(name)}`,
    );
  }
}

/** SHA-256(name || 0x0A || signature type || public key)[:4] as a big-endian number. */
export async function keyIdOf(name: string, kind: number, publicKey: Bytes): Promise<number> {
  const digest = await sha256(concat(utf8(name), Uint8Array.of(0x0a, kind), publicKey));
  return new DataView(digest.buffer).getUint32(0);
}

/** The verifier of a 0x01, 0x04 or 0x06 verifier key `<name>+<hex key id>+<base64>`. */
export async function loadVerifier(vkey: string): Promise<Verifier> {
  const { name, kind, publicKey, stated } = splitKey(vkey);
  const keyId = await keyIdOf(name, kind, publicKey);
  if (stated !== keyId) {
    throw new FormatError(`expected key id of ${showKey({ name, keyId })}, got another`);
  }
  const expected = PUBLIC_BYTES[kind];
  if (expected === undefined) {
    throw new FormatError(`key ${name}: expected a known signature type, got ${kind}`);
  }
  if (publicKey.length !== expected) {
    throw new FormatError(`key ${name}: expected ${expected} bytes, got ${publicKey.length}`);
  }
  return { name, kind, publicKey, keyId };
}

function splitKey(vkey: string): {
  name: string;
  kind: number;
  publicKey: Bytes;
  stated: number;
} {
  const [name, stated, ...rest] = vkey.split("+");
  if (name === undefined || stated === undefined || rest.length === 0) {
    throw new FormatError("verifier key: expected <name>+<key id>+<base64>");
  }
  checkKeyName(name);
  if (!HEX8.test(stated)) {
    throw new FormatError(`verifier key ${name}: expected a key id of 8 hex digits`);
  }
  let blob: Bytes;
  try {
    blob = decodeBase64(rest.join("+"), "verifier key"); // base64 has '+' of its own
  } catch {
    // not quoted: somebody may have pasted a private key
    throw new FormatError(`verifier key ${name}: expected canonical base64`);
  }
  if (blob.length < 2) {
    throw new FormatError(`verifier key ${name}: expected a type byte and a key`);
  }
  return {
    name,
    kind: blob[0] as number,
    publicKey: blob.slice(1),
    stated: Number.parseInt(stated, 16),
  };
}

/** Text and signature lines of a note, strictly, without verifying anything. FormatError. */
export function parseNote(data: Bytes): { text: string; signatures: Signature[] } {
  if (data.length > MAX_NOTE_BYTES) {
    throw new FormatError(`note: expected at most ${MAX_NOTE_BYTES} bytes, got ${data.length}`);
  }
  const note = fromUtf8(data, "note");
  if (/[\u0000-\u0009\u000b-\u001f]/.test(note)) {
    throw new FormatError("note: expected no control character but newline");
  }
  const split = note.lastIndexOf("\n\n");
  if (split < 0) {
    throw new FormatError("note: expected an empty line before the signatures, got none");
  }
  const block = note.slice(split + 2);
  if (!block.endsWith("\n")) {
    throw new FormatError("note: expected signature lines that end in newline");
  }
  const lines = block.slice(0, -1).split("\n");
  if (lines.length > MAX_SIGNATURES) {
    throw new FormatError(
      `note: expected at most ${MAX_SIGNATURES} signatures, got ${lines.length}`,
    );
  }
  return { text: note.slice(0, split + 1), signatures: lines.map(parseSignature) };
}

function parseSignature(line: string): Signature {
  const [dash, name, encoded, ...more] = line.split(" ");
  if (dash !== "—" || name === undefined || encoded === undefined || more.length) {
    throw new FormatError(`note: expected '— <name> <base64>', got ${shorten(line)}`);
  }
  checkKeyName(name);
  const blob = decodeBase64(encoded, `signature of ${name}`);
  if (blob.length < 5) {
    throw new FormatError(`signature of ${name}: expected 5 bytes or more, got ${blob.length}`);
  }
  return { name, keyId: new DataView(blob.buffer).getUint32(0), blob: blob.slice(4) };
}

/** Verifies a note against known keys: c2sp.org/signed-note, section "Signatures". */
export async function openNote(data: Bytes, verifiers: readonly Verifier[]): Promise<OpenedNote> {
  const known = new Map<string, Verifier>();
  for (const verifier of verifiers) {
    const other = known.get(showKey(verifier));
    if (other !== undefined && !isSameKey(other, verifier)) {
      throw new NoteError(`two different known keys share the name and id ${showKey(verifier)}`);
    }
    known.set(showKey(verifier), other ?? verifier);
  }
  const { text, signatures } = parseNote(data);
  const verified = new Map<string, VerifiedSignature>();
  const unknown: Signature[] = [];
  for (const signature of signatures) {
    const match = known.get(showKey(signature));
    if (match === undefined) {
      unknown.push(signature);
      continue;
    }
    const timestampS = await verifySignature(match, text, signature.blob);
    // a key that signed twice counts once, with its first line
    if (!verified.has(showKey(match))) verified.set(showKey(match), { ...match, timestampS });
  }
  if (verified.size === 0) {
    const expected = [...known.keys()].join(", ") || "no key at all";
    throw new NoteError(
      `no known key signed this note: known ${expected}, ` +
        `signed by ${unknown.map(showKey).join(", ")}`,
    );
  }
  return { text, verified: [...verified.values()], unknown };
}

/** The cosignature's time in seconds, null for a plain signature; NoteError if it is false. */
async function verifySignature(key: Verifier, text: string, blob: Bytes): Promise<bigint | null> {
  const [timestampS, signature] = splitTimestamp(key.kind, blob);
  let holds: boolean;
  if (key.kind === MLDSA44) {
    holds = await verifyMldsa(key, timestampS ?? 0n, text, signature);
  } else {
    const message = timestampS === null ? text : `cosignature/v1\ntime ${timestampS}\n${text}`;
    holds = await verifyEd25519(key.publicKey, signature, utf8(message));
  }
  if (!holds) throw new NoteError(`signature of known key ${showKey(key)} does not verify`);
  return timestampS;
}

function splitTimestamp(kind: number, blob: Bytes): [bigint | null, Bytes] {
  if (kind === ED25519) return [null, blob];
  const timestampS =
    blob.length > 8 ? new DataView(blob.buffer, blob.byteOffset).getBigUint64(0) : -1n;
  if (timestampS < 0n || timestampS > MAX_UINT63) {
    throw new NoteError(
      `cosignature: expected a timestamp up to ${MAX_UINT63} and a signature, ` +
        `got ${blob.length} bytes`,
    );
  }
  return [timestampS, blob.slice(8)];
}
