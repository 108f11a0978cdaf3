/**
 * State proofs, as kernel/tlog/states.py: what an account holds, or what lies under a lien, at a
 * state the ledger has committed to. The format is docs/reference/state-proofs.md.
 *
 * What a proof says is what the ledger asserts and its witnesses saw at that size of the log.
 */

import { canonicalJson, readCanonical } from "./canonical.ts";
import { firstName, unpackMembers } from "./container.ts";
import {
  MAX_UINT63,
  concat,
  decodeBase64,
  decodeHash,
  encodeBase64,
  equal,
  octets,
  utf8,
  type Bytes,
} from "./encoding.ts";
import { FormatError, NoteError, PolicyError, ProofError, ReceiptError } from "./errors.ts";
import { sha256 } from "./hashing.ts";
import { isFields, type Fields, type Json } from "./json.ts";
import * as maps from "./maps.ts";
import { leafHash, verifyInclusion } from "./merkle.ts";
import { MAX_PROOF_BYTES, parseProof } from "./proof.ts";
import type { OpenedCheckpoint, Policy } from "./policy.ts";
import { CHECKPOINT, MAX_RECEIPT_BYTES, POLICY, verifyReceipt } from "./receipt.ts";
import type { VerifiedReceipt } from "./receipt.ts";

const STATE_BOOK = "state";
const CLAIM = "claim.json";
const STATE = "state.bin";
const PROOF = "state.tlog-proof";
const PLEDGE = "pledge.receipt";
const SALT_BYTES = 16;
const HOLDING_LIMITS = new Map([
  [CLAIM, 4 * 1024 * 1024],
  [STATE, 65_535],
  [PROOF, MAX_PROOF_BYTES],
]);
const LIEN_LIMITS = new Map([...HOLDING_LIMITS, [PLEDGE, MAX_RECEIPT_BYTES]]);

/** A ledger account, as the books name it. */
export interface Account {
  readonly holder: string;
  readonly asset: string;
  readonly purpose: string;
  readonly ref: string;
}

/** Serials first..last of one batch, both included. */
export interface SerialRange {
  readonly batch: string;
  readonly first: bigint;
  readonly last: bigint;
}

/** A state entry that a log the policy knows holds; `size` is that of the book it was made from. */
export interface ProvenState {
  readonly position: bigint;
  readonly at: string;
  readonly book: string;
  readonly size: bigint;
  readonly balances: Bytes;
  readonly serials: Bytes;
  readonly opened: OpenedCheckpoint;
}

export interface VerifiedHolding {
  readonly account: Account;
  readonly amount: bigint;
  readonly state: ProvenState;
}

/** All that lies under a lien in that state; `serials` are empty for assets without serials. */
export interface VerifiedLien {
  readonly lien: string;
  readonly pledgor: string;
  readonly pledgee: string;
  readonly asset: string;
  readonly quantity: bigint;
  readonly serials: readonly SerialRange[];
  readonly state: ProvenState;
  readonly pledge: VerifiedReceipt;
}

/** `holding` or `lien` by the members of a ZIP of ours; null for any other bytes. */
export function kindOfFile(data: Bytes): "holding" | "lien" | null {
  if (firstName(data) !== CLAIM) return null;
  return octets(data.subarray(-400)).includes(PLEDGE) ? "lien" : "holding";
}

/** Verifies a `.holding` file against a policy from elsewhere. ReceiptError names the part. */
export async function verifyHolding(data: Bytes, policy: Policy): Promise<VerifiedHolding> {
  const members = unpackMembers(data, HOLDING_LIMITS);
  const claim = readClaim(members, "holding", ["holding"]);
  const state = await proveState(members, policy);
  return { ...(await checkBalance(claim["holding"], state)), state };
}

/**
 * Verifies a `.lien` file against a policy from elsewhere. ReceiptError names the part.
 *
 * Proved is: this entry made the lien for this pledgee; the state came after it; the account of
 * the lien holds this quantity there; and each of these serials has the one status "pledged under
 * this lien", so it is under no other lien and neither retired nor surrendered.
 */
export async function verifyLien(data: Bytes, policy: Policy): Promise<VerifiedLien> {
  const members = unpackMembers(data, LIEN_LIMITS);
  const claim = readClaim(members, "lien", ["batches", "holding", "lien"]);
  const state = await proveState(members, policy);
  const { account, amount } = await checkBalance(claim["holding"], state);
  const { lien } = claim;
  if (account.purpose !== "pledged" || account.ref !== lien) {
    throw new ReceiptError(
      CLAIM,
      `expected the account of the lien, got another's: ${account.ref}`,
    );
  }
  const pledge = await openPledge(member(members, PLEDGE), policy);
  const { pledgee, isSerialised } = checkPledge(pledge, account, state);
  const serials = await checkSerials(claim["batches"], account, state);
  const shown = serials.reduce((sum, one) => sum + one.last - one.first + 1n, 0n);
  if (shown !== (isSerialised ? amount : 0n)) {
    throw new ReceiptError(CLAIM, `expected serials for ${amount}, got ${shown}`);
  }
  const { holder: pledgor, asset } = account;
  return { lien, pledgor, pledgee, asset, quantity: amount, serials, state, pledge };
}

function readClaim(members: Members, kind: string, wanted: readonly string[]): Fields {
  const claim = blaming(CLAIM, () => readCanonical(member(members, CLAIM), CLAIM));
  const names = [...wanted, "kind", "v"].toSorted().join();
  if (
    claim["kind"] !== kind ||
    claim["v"] !== 1 ||
    Object.keys(claim).toSorted().join() !== names
  ) {
    throw new ReceiptError(CLAIM, `expected ${kind} version 1 with ${wanted.join(", ")}`);
  }
  return claim;
}

async function proveState(members: Members, policy: Policy): Promise<ProvenState> {
  const entry = blaming(STATE, () => parseState(member(members, STATE)));
  const { index, opened } = await proveEntry(members, policy);
  const { origin } = opened.checkpoint;
  if (!origin.endsWith(`/${STATE_BOOK}`)) {
    throw new ReceiptError(CHECKPOINT, `expected a log <prefix>/${STATE_BOOK}, got ${origin}`);
  }
  if (entry.position !== index) {
    throw new ReceiptError(STATE, `expected position ${index}, got ${entry.position}`);
  }
  return { ...entry, opened };
}

async function proveEntry(
  members: Members,
  policy: Policy,
): Promise<{ index: bigint; opened: OpenedCheckpoint }> {
  try {
    const proof = parseProof(member(members, PROOF));
    const opened = await policy.openCheckpoint(proof.checkpoint);
    const leaf = await leafHash(member(members, STATE));
    const { size, root } = opened.checkpoint;
    await verifyInclusion(proof.index, size, leaf, root, proof.path);
    return { index: proof.index, opened };
  } catch (error) {
    if (error instanceof PolicyError) throw new ReceiptError(POLICY, error.message);
    if (error instanceof NoteError) throw new ReceiptError(CHECKPOINT, error.message);
    if (error instanceof FormatError || error instanceof ProofError) {
      throw new ReceiptError(PROOF, error.message);
    }
    throw error;
  }
}

/** A state entry, strictly: its fields and no others, in their one spelling. */
function parseState(data: Bytes): Omit<ProvenState, "opened"> {
  const fields = readCanonical(data, "state entry");
  const of = object(fields["of"]);
  checkNames(fields, "at,balances,book,of,position,serials,v");
  checkNames(of, "book,root,size");
  if (fields["book"] !== STATE_BOOK || fields["v"] !== 1) {
    throw new FormatError(`state entry: expected version 1 of the book ${STATE_BOOK}`);
  }
  decodeHash(text(of["root"]), "state root");
  return {
    position: whole(fields["position"]),
    at: text(fields["at"]),
    book: text(of["book"]),
    size: whole(of["size"]),
    balances: decodeHash(text(fields["balances"]), "state balances"),
    serials: decodeHash(text(fields["serials"]), "state serials"),
  };
}

async function checkBalance(
  shown: Json | undefined,
  state: ProvenState,
): Promise<{ account: Account; amount: bigint }> {
  return blamingAll(CLAIM, "balance: ", async () => {
    const fields = object(shown);
    const account = readAccount(fields["account"]);
    const amount = readAmount(fields["amount"]);
    const key = decodeHash(text(fields["key"]), "key");
    const path = readPath(fields["path"]);
    checkNames(fields, "account,amount,key,path,salt");
    const value = await balanceValue(fields, account, amount);
    const root = await maps.presentRoot({ key, value }, path);
    expectRoot(root, state.balances);
    return { account, amount };
  });
}

function balanceValue(fields: Fields, account: Account, amount: bigint): Promise<Bytes> {
  const salt = decodeBase64(text(fields["salt"]), "salt");
  if (salt.length !== SALT_BYTES) {
    throw new FormatError(`expected a salt of ${SALT_BYTES} bytes, got ${salt.length}`);
  }
  const named = canonicalJson({ ...account });
  return sha256(concat(salt, utf8(`{"account":${named},"amount":${amount}}`)));
}

/** Each listed range is shown with the status of this account, under the state's root. */
async function checkSerials(
  rows: Json | undefined,
  account: Account,
  state: ProvenState,
): Promise<SerialRange[]> {
  const status = canonicalJson({ lien: account.ref, status: account.purpose });
  const found: SerialRange[] = [];
  await blamingAll(CLAIM, "serials: ", async () => {
    for (const row of list(rows).map(object)) {
      checkNames(row, "batch,bits,path,serials,tree");
      const batch = text(row["batch"]);
      const bits = whole(row["bits"]);
      const path = readPath(row["path"]);
      const ranges = list(row["serials"]).map(pair);
      const { root: inner, pieces } = await maps.shownSerials(list(row["tree"]).map(text), bits);
      const key = await sha256(utf8(canonicalJson({ asset: account.asset, batch })));
      const value = await maps.batchValue(Number(bits), inner);
      expectRoot(await maps.presentRoot({ key, value }, path), state.serials);
      for (const [first, last] of ranges) {
        requireNext(found.at(-1), { batch, first, last });
        maps.requireStatus(pieces, first, last, status);
        found.push({ batch, first, last });
      }
    }
  });
  return found;
}

/** In order and disjoint: else one range could be counted twice. */
function requireNext(before: SerialRange | undefined, one: SerialRange): void {
  const [ours, theirs] = [octets(utf8(one.batch)), octets(utf8(before?.batch ?? ""))];
  const isAfter = ours > theirs || (ours === theirs && one.first > (before?.last ?? 0n));
  if (one.last < one.first || !isAfter) {
    throw new FormatError(`expected ranges in order, got ${one.batch} ${one.first}..${one.last}`);
  }
}

async function openPledge(data: Bytes, policy: Policy): Promise<VerifiedReceipt> {
  try {
    return await verifyReceipt(data, policy);
  } catch (error) {
    if (error instanceof ReceiptError) throw new ReceiptError(PLEDGE, error.message);
    throw error;
  }
}

/** Whom the lien is for, and whether serials are named, by the entry that made the lien. */
function checkPledge(
  pledge: VerifiedReceipt,
  account: Account,
  state: ProvenState,
): { pledgee: string; isSerialised: boolean } {
  const { origin } = state.opened.checkpoint;
  const expected = origin.slice(0, -STATE_BOOK.length) + state.book;
  const actual = pledge.opened.checkpoint.origin;
  if (actual !== expected) {
    throw new ReceiptError(PLEDGE, `expected the log ${expected}, got ${actual}`);
  }
  if (pledge.position >= state.size) {
    throw new ReceiptError(
      STATE,
      `expected a state after position ${pledge.position}, got ${state.size}`,
    );
  }
  return blaming(PLEDGE, () => {
    const body = object(pledge.record["body"]);
    const [only, ...others] = list(body["legs"]);
    const leg = object(only);
    const made = object(body["pledge"]);
    const credit = object(leg["credit"]);
    checkNames(credit, "holder,purpose,ref");
    const isOurs =
      pledge.record["type"] === "EntryPosted" &&
      made["lien"] === account.ref &&
      leg["asset"] === account.asset &&
      ["holder", "purpose", "ref"].every((name) => credit[name] === account[name as "ref"]);
    if (others.length || !isOurs || "release" in made) {
      throw new FormatError("expected the entry that pledged to this account");
    }
    return { pledgee: text(made["pledgee"]), isSerialised: list(leg["serials"]).length > 0 };
  });
}

type Members = ReadonlyMap<string, Bytes>;

function member(members: Members, name: string): Bytes {
  return members.get(name) as Bytes; // unpackMembers gives all or refuses
}

function readAccount(value: Json | undefined): Account {
  const fields = object(value);
  checkNames(fields, "asset,holder,purpose,ref");
  const [asset, holder, purpose, ref] = ["asset", "holder", "purpose", "ref"].map((name) =>
    text(fields[name]),
  ) as [string, string, string, string];
  return { asset, holder, purpose, ref };
}

/** Negative for what issues and for what lies outside, as the books have it. */
function readAmount(value: Json | undefined): bigint {
  const amount = typeof value === "number" || typeof value === "bigint" ? BigInt(value) : null;
  if (amount === null || amount > MAX_UINT63 || amount < -MAX_UINT63) {
    throw new FormatError("expected an amount");
  }
  return amount;
}

function readPath(value: Json | undefined): Bytes[] {
  const path = list(value);
  if (path.length > maps.KEY_BITS) {
    throw new FormatError(`path: expected at most ${maps.KEY_BITS} hashes, got ${path.length}`);
  }
  return path.map((one, n) => {
    if (one === "") return maps.EMPTY;
    const hash = decodeHash(text(one), `path hash ${n}`);
    if (equal(hash, maps.EMPTY)) throw new FormatError(`path hash ${n}: expected "" for nothing`);
    return hash;
  });
}

function expectRoot(actual: Bytes, expected: Bytes): void {
  if (equal(actual, expected)) return;
  throw new ProofError(`expected the root ${encodeBase64(expected)}, got ${encodeBase64(actual)}`);
}

function checkNames(fields: Fields, wanted: string): void {
  const names = Object.keys(fields);
  if (names.toSorted().join() !== wanted) {
    throw new FormatError(`expected the fields ${wanted}, got ${names.join(", ")}`);
  }
}

function object(value: Json | undefined): Fields {
  if (!isFields(value)) throw new FormatError("expected an object");
  return value;
}

function list(value: Json | undefined): readonly Json[] {
  if (!Array.isArray(value)) throw new FormatError("expected a list");
  return value;
}

function text(value: Json | undefined): string {
  if (typeof value !== "string") throw new FormatError("expected a text");
  return value;
}

function whole(value: Json | undefined): bigint {
  const found = typeof value === "number" || typeof value === "bigint" ? BigInt(value) : -1n;
  if (found < 0n || found > MAX_UINT63) throw new FormatError("expected a number in 0..2^63-1");
  return found;
}

function pair(value: Json): [bigint, bigint] {
  const [first, last, ...more] = list(value);
  if (more.length) throw new FormatError("expected two serials, got more");
  return [whole(first), whole(last)];
}

function blaming<T>(part: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof FormatError) throw new ReceiptError(part, error.message);
    throw error;
  }
}

async function blamingAll<T>(part: string, head: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof FormatError || error instanceof ProofError) {
      throw new ReceiptError(part, head + error.message);
    }
    throw error;
  }
}
