/**
 * Institutions' keys, and their own signatures inside events: cli/trust.py, cli/judging.py and
 * kernel/acts.py. The file is the answer of `GET /v1/keys` as it came; without it no such signature
 * is checked, and the verdict says so.
 */

import { concat, fromOctets, fromUtf8, hex, utf8, type Bytes } from "./tlog/encoding.ts";
import { FormatError, ReceiptError } from "./tlog/errors.ts";
import { sha256, verifyEd25519 } from "./tlog/hashing.ts";
import { JsonError, isFields, parseJson, type Fields, type Json } from "./tlog/json.ts";

const SUITE = "ed25519";
const PUBLIC_BYTES = 32;
const DOMAIN = utf8("tanzhang-act/v1\n");
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** Whose acts a key signs, and whether it has been revoked. */
export interface Institution {
  readonly subject: string;
  readonly publicKey: Bytes;
  readonly isRevoked: boolean;
}

export type Institutions = ReadonlyMap<string, Institution>;

/** A signature inside an event; `by` null: no key of that id is known, it is not checked. */
export interface CheckedAct {
  readonly keyId: string;
  readonly by: Institution | null;
}

/** Keys by id. FormatError if it is not such an answer, or a key is not what its id says. */
export async function parseInstitutions(data: Bytes): Promise<Institutions> {
  const found = new Map<string, Institution>();
  for (const row of rowsOf(data)) {
    const { key_id: id, public_key: encoded, subject, suite = SUITE, revoked = false } = row;
    const publicKey = typeof encoded === "string" ? unbase(encoded) : null;
    if (typeof id !== "string" || typeof subject !== "string" || publicKey === null) {
      throw new FormatError("expected keys as /v1/keys answers");
    }
    const actual = hex(await sha256(publicKey)).slice(0, 16);
    if (suite !== SUITE || publicKey.length !== PUBLIC_BYTES || actual !== id) {
      throw new FormatError(`key ${id} is not what its id says`);
    }
    found.set(id, { subject, publicKey, isRevoked: Boolean(revoked) });
  }
  return found;
}

/** Every act inside an event. ReceiptError (part `act`) if a known key's signature is false. */
export async function checkActs(record: Fields, known: Institutions): Promise<CheckedAct[]> {
  const checked: CheckedAct[] = [];
  for (const act of actsOf(record)) {
    const by = known.get(act.keyId) ?? null;
    if (by !== null && !(await holds(by, act))) {
      const wrong = `the signature of ${by.subject} with key ${act.keyId} does not hold`;
      throw new ReceiptError("act", wrong);
    }
    checked.push({ keyId: act.keyId, by });
  }
  return checked;
}

interface Act {
  readonly keyId: string;
  readonly signature: string;
  readonly statement: string;
}

async function holds(by: Institution, act: Act): Promise<boolean> {
  const signature = unbase(act.signature);
  if (signature === null || !act.statement.isWellFormed()) return false;
  return verifyEd25519(by.publicKey, signature, concat(DOMAIN, utf8(act.statement)));
}

/** Of a record that is shaped like ours; of any other none is found, and none is checked. */
function actsOf(record: Fields): Act[] {
  const acts = record["acts"] ?? [];
  if (!Array.isArray(acts) || !acts.every(isAct)) return [];
  return acts.map(({ key_id: keyId, signature, statement }) => ({ keyId, signature, statement }));
}

function isAct(act: Json): act is { key_id: string; signature: string; statement: string } {
  const names = ["key_id", "signature", "statement"];
  return isFields(act) && names.every((name) => typeof act[name] === "string");
}

function rowsOf(data: Bytes): Fields[] {
  let value: Json;
  try {
    value = parseJson(fromUtf8(data, "keys"));
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new FormatError(error.message);
  }
  const rows = isFields(value) ? value["keys"] : null;
  if (!Array.isArray(rows) || !rows.every(isFields)) {
    throw new FormatError("expected keys as /v1/keys answers");
  }
  return rows;
}

function unbase(text: string): Bytes | null {
  return text.length % 4 === 0 && BASE64.test(text) ? fromOctets(atob(text)) : null;
}
