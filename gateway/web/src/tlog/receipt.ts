/**
 * Receipts: one event, its salt and its proof in one file, checked as kernel/tlog/receipt.py does,
 * in the same order and with the same names of parts.
 *
 * A receipt never brings a policy or a key: what it proves is relative to the policy its reader
 * holds.
 */

import { CONTAINER, unpackMembers } from "./container.ts";
import {
  MAX_UINT63,
  concat,
  encodeBase64,
  equal,
  fromUtf8,
  shorten,
  utf8,
  type Bytes,
} from "./encoding.ts";
import { FormatError, NoteError, PolicyError, ProofError, ReceiptError } from "./errors.ts";
import { sha256 } from "./hashing.ts";
import { isFields, parseJson, type Fields, type Json } from "./json.ts";
import { inclusionRoot, leafHash } from "./merkle.ts";
import type { OpenedCheckpoint, Policy } from "./policy.ts";
import { parseProof, type TlogProof } from "./proof.ts";

export const EVENT = "event.bin";
export const SALT = "salt";
export const PROOF = "proof";
export const EVENT_OR_SALT = "event.bin or salt"; // the log holds only their hash
export const CHECKPOINT = "checkpoint";
export const POLICY = "policy";

const SALT_BYTES = 16;
const MAX_RECORD_BYTES = 64 * 1024;
const MAX_PROOF_BYTES = 64 * 1024;
const PROOF_FILE = "event.tlog-proof";
const LIMITS = new Map([
  [EVENT, MAX_RECORD_BYTES],
  [SALT, SALT_BYTES],
  [PROOF_FILE, MAX_PROOF_BYTES],
]);
export const MAX_RECEIPT_BYTES = MAX_RECORD_BYTES + SALT_BYTES + MAX_PROOF_BYTES + 1024;
const BOOK = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** What a verified receipt says: this record is at `position` of that log. */
export interface VerifiedReceipt {
  readonly book: string;
  readonly position: bigint;
  readonly record: Fields;
  readonly opened: OpenedCheckpoint;
}

interface Place {
  readonly book: string;
  readonly position: bigint;
}

/** The log entry of one event: canonical JSON. FormatError if the book's name needs escaping. */
export function leafData(book: string, position: bigint, commitment: Bytes): Bytes {
  checkBook(book);
  const encoded = encodeBase64(commitment);
  return utf8(`{"book":"${book}","commitment":"${encoded}","position":${position},"v":1}`);
}

/** The book a log's origin names: its last path part. */
export function bookOf(origin: string): string {
  const slash = origin.lastIndexOf("/");
  if (slash < 1) {
    throw new FormatError(`expected an origin <prefix>/<book>, got ${shorten(origin)}`);
  }
  const book = origin.slice(slash + 1);
  checkBook(book);
  return book;
}

/** Verifies a receipt against a policy from elsewhere. ReceiptError names what differs. */
export async function verifyReceipt(data: Bytes, policy: Policy): Promise<VerifiedReceipt> {
  const { record, salt, proofFile } = splitReceipt(data);
  const proof = told(PROOF, () => parseProof(proofFile));
  const opened = await openProven(proof, policy);
  const book = told(CHECKPOINT, () => bookOf(opened.checkpoint.origin));
  const commitment = await sha256(concat(salt, record));
  await checkLeaf({ book, position: proof.index }, proof, opened, commitment, record);
  const { fields, place } = readRecord(record);
  if (!isSamePlace(place, { book, position: proof.index })) {
    // the log holds it, so this is the log's own lie or the writer's, not an altered file
    throw new ReceiptError(
      EVENT,
      `expected book ${book} and position ${proof.index}, ` +
        `the record says ${place.book} and ${place.position}`,
    );
  }
  return { book, position: proof.index, record: fields, opened };
}

function splitReceipt(data: Bytes): { record: Bytes; salt: Bytes; proofFile: Bytes } {
  if (data.length > MAX_RECEIPT_BYTES) {
    throw new ReceiptError(
      CONTAINER,
      `expected at most ${MAX_RECEIPT_BYTES} bytes, got ${data.length}`,
    );
  }
  const members = unpackNamed(data, LIMITS, PROOF_FILE);
  const salt = members.get(SALT) as Bytes;
  if (salt.length !== SALT_BYTES) {
    throw new ReceiptError(SALT, `expected ${SALT_BYTES} bytes, got ${salt.length}`);
  }
  return { record: members.get(EVENT) as Bytes, salt, proofFile: members.get(PROOF_FILE) as Bytes };
}

function unpackNamed(
  data: Bytes,
  limits: ReadonlyMap<string, number>,
  proofFile: string,
): Map<string, Bytes> {
  try {
    return unpackMembers(data, limits);
  } catch (error) {
    if (error instanceof ReceiptError && error.part === proofFile) {
      throw new ReceiptError(PROOF, error.message);
    }
    throw error;
  }
}

/** The checkpoint of a proof, verified; ReceiptError says whether it or the policy is at fault. */
export async function openProven(proof: TlogProof, policy: Policy): Promise<OpenedCheckpoint> {
  try {
    return await policy.openCheckpoint(proof.checkpoint);
  } catch (error) {
    if (error instanceof PolicyError) throw new ReceiptError(POLICY, error.message);
    if (error instanceof FormatError || error instanceof NoteError) {
      throw new ReceiptError(CHECKPOINT, error.message);
    }
    throw error;
  }
}

/** Returns if the log holds this commitment at the proof's index; else says what differs. */
async function checkLeaf(
  at: Place,
  proof: TlogProof,
  opened: OpenedCheckpoint,
  commitment: Bytes,
  record: Bytes,
): Promise<void> {
  const head = opened.checkpoint;
  const leadsToRoot = async (position: bigint): Promise<boolean> => {
    const leaf = await leafHash(leafData(at.book, position, commitment));
    return equal(await inclusionRoot(position, head.size, leaf, proof.path), head.root);
  };
  try {
    if (await leadsToRoot(at.position)) return;
  } catch (error) {
    if (error instanceof ProofError) throw new ReceiptError(PROOF, error.message);
    throw error;
  }
  try {
    const { place } = readRecord(record);
    if (!isSamePlace(place, at) && (await leadsToRoot(place.position))) {
      throw new ReceiptError(PROOF, `expected index ${place.position}, got ${at.position}`);
    }
  } catch (error) {
    // the record's own position does not explain it either
    if (!(error instanceof ProofError)) throw error;
  }
  throw new ReceiptError(
    EVENT_OR_SALT,
    `commitment ${encodeBase64(commitment)} is not what the log holds at position ` +
      `${at.position} of ${at.book} (root ${encodeBase64(head.root)} at size ${head.size}), ` +
      "unless the proof's own path was altered",
  );
}

function readRecord(record: Bytes): { fields: Fields; place: Place } {
  let value: Json;
  try {
    value = parseJson(fromUtf8(record, "record"));
  } catch (error) {
    throw new ReceiptError(EVENT, `expected a JSON object: ${(error as Error).message}`);
  }
  if (!isFields(value)) throw new ReceiptError(EVENT, "expected a JSON object");
  const { book, position } = value;
  const isWhole = typeof position === "number" || typeof position === "bigint";
  if (typeof book !== "string" || !isWhole || position < 0 || position > MAX_UINT63) {
    throw new ReceiptError(EVENT, "expected a book and a position");
  }
  return { fields: value, place: { book, position: BigInt(position) } };
}

function isSamePlace(left: Place, right: Place): boolean {
  return left.book === right.book && left.position === right.position;
}

function checkBook(book: string): void {
  if (!BOOK.test(book)) throw new FormatError(`expected a book name, got ${shorten(book)}`);
}

function told<T>(part: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof FormatError) throw new ReceiptError(part, error.message);
    throw error;
  }
}
