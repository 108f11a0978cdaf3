/**
 * Institutions' keys, and their own signatures inside events: cli/trust.py, cli/judging.py and
 * kernel/acts.py. The file is the answer of `GET /v1/keys` as it came; without it no such signature
 * is checked, and the verdict says so.
 */

import { canonicalJson, readCanonical } from "./tlog/canonical.ts";
import { concat, fromOctets, fromUtf8, hex, utf8, type Bytes } from "./tlog/encoding.ts";
import { FormatError, ReceiptError } from "./tlog/errors.ts";
import { sha256, verifyEd25519 } from "./tlog/hashing.ts";
import { JsonError, isFields, parseJson, type Fields, type Json } from "./tlog/json.ts";
import type { VerifiedLien } from "./tlog/states.ts";

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

/** Every act inside the entry that made a lien; one of a known key must be over this pledge. */
export function checkPledgeActs(lien: VerifiedLien, known: Institutions): Promise<CheckedAct[]> {
  return checkActs(lien.pledge.record, known, (act) => isOverPledge(act, lien));
}

/** Every act inside an event. ReceiptError (part `act`) if a known key's signature is false. */
export async function checkActs(
  record: Fields,
  known: Institutions,
  isOverThis: (act: Act) => boolean = () => true,
): Promise<CheckedAct[]> {
  const checked: CheckedAct[] = [];
  for (const act of actsOf(record)) {
    const by = known.get(act.keyId) ?? null;
    if (by !== null && !(await holds(by, act))) {
      const wrong = `the signature of ${by.subject} with key ${act.keyId} does not hold`;
      throw new ReceiptError("act", wrong);
    }
    if (by !== null && !isOverThis(act)) {
      const wrong = `${by.subject} signed something else with key ${act.keyId} than this pledge`;
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

/** What services/ledger/books/liens.py asks of the parties' statement, as far as a lien shows it. */
function isOverPledge(act: Act, { pledge, lien, pledgor, pledgee, asset }: VerifiedLien): boolean {
  const { legs } = pledge.record["body"] as { legs: Fields[] }; // verifyLien has read its one leg
  const quantity = legs[0]?.["amount"];
  const expected = { kind: "pledge", lien, pledgor, pledgee, asset, quantity_t: quantity };
  try {
    const statement = readCanonical(utf8(act.statement), "statement");
    const isSame = Object.entries(expected).every(
      ([name, value]) => value !== undefined && statement[name] === value,
    );
    const named = statement["serials"] ?? [];
    if (Array.isArray(named) && named.length === 0) return isSame; // the oldest the pledgor holds
    return isSame && merged(named) === merged(legs[0]?.["serials"]);
  } catch (error) {
    if (error instanceof FormatError) return false;
    throw error;
  }
}

/** Ranges of serials in order, those that touch as one, spelled out. FormatError. */
function merged(rows: Json | undefined): string {
  if (!Array.isArray(rows)) throw new FormatError("expected ranges of serials");
  const ranges = rows.map(rangeOf).toSorted((a, b) => {
    if (a.batch !== b.batch) return a.batch < b.batch ? -1 : 1;
    return a.first < b.first ? -1 : 1;
  });
  const found: Range[] = [];
  for (const { batch, first, last } of ranges) {
    const before = found.at(-1);
    if (before?.batch === batch && before.last + 1n === first) before.last = last;
    else found.push({ batch, first, last });
  }
  return canonicalJson(found.map((one) => [one.batch, one.first, one.last]));
}

interface Range {
  readonly batch: string;
  readonly first: bigint;
  last: bigint;
}

function rangeOf(row: Json): Range {
  const { batch, first, last } = isFields(row) ? row : {};
  if (typeof batch !== "string" || !isWhole(first) || !isWhole(last)) {
    throw new FormatError("expected a range of serials");
  }
  return { batch, first: BigInt(first), last: BigInt(last) };
}

function isWhole(value: Json | undefined): value is number | bigint {
  return typeof value === "number" || typeof value === "bigint";
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
