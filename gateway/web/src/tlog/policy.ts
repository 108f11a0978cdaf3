/**
 * Trust policies, c2sp.org/tlog-policy: which logs, which witnesses, how many of them; as
 * kernel/tlog/policy.py. A policy is trusted wholly: it must come from outside of what it judges.
 *
 * Names are opaque octets, so a policy is read byte by byte; only key names must be UTF-8.
 */

import { parseCheckpoint, type Checkpoint } from "./checkpoint.ts";
import { equal, fromOctets, fromUtf8, octets, shorten, type Bytes } from "./encoding.ts";
import { FormatError, NoteError, PolicyError } from "./errors.ts";
import * as note from "./note.ts";

const NONE = "none";
const MAX_POLICY_BYTES = 1024 * 1024;
const MAX_ITEMS = 256;
const FORBIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f]/;
const THRESHOLD = /^[1-9][0-9]{0,3}$/;

export interface Log {
  readonly key: note.Verifier;
  readonly url: string | null;
}

/** A witness under the name the policy gives it. */
export interface Witness {
  readonly name: string;
  readonly key: note.Verifier;
  readonly url: string | null;
}

export interface Group {
  readonly name: string;
  readonly rule: string;
  readonly members: readonly string[];
  readonly threshold: number;
}

/** A checkpoint its log signed; `cosignatures` are those of the policy's witnesses. */
export interface OpenedCheckpoint {
  readonly checkpoint: Checkpoint;
  readonly log: note.VerifiedSignature;
  readonly cosignatures: readonly note.VerifiedSignature[];
  readonly unknown: readonly note.Signature[];
}

export class Policy {
  readonly logs: Log[] = [];
  readonly witnesses = new Map<string, Witness>();
  readonly groups = new Map<string, Group>();
  quorum: string | null = null;

  async addLog(vkey: string, url: string | null = null): Promise<void> {
    const key = await loadKey(vkey, [note.ED25519, note.MLDSA44]);
    refuseDuplicate(
      key,
      this.logs.map((log) => log.key),
    );
    this.logs.push({ key, url });
    checkCount("logs", this.logs.length);
  }

  async addWitness(name: string, vkey: string, url: string | null = null): Promise<void> {
    this.#checkNew(name);
    const key = await loadKey(vkey, [note.COSIGNATURE, note.MLDSA44]);
    refuseDuplicate(
      key,
      [...this.witnesses.values()].map((witness) => witness.key),
    );
    this.witnesses.set(name, { name, key, url });
    checkCount("witnesses", this.witnesses.size);
  }

  addGroup(name: string, rule: string, members: readonly string[]): void {
    this.#checkNew(name);
    const taken = new Set([...this.groups.values()].flatMap((group) => group.members));
    for (const member of members) {
      if (!this.#isDefined(member)) {
        throw new PolicyError(`group ${name}: expected a defined name, got ${shorten(member)}`);
      }
      if (taken.has(member)) {
        // else one witness would count twice
        throw new PolicyError(`group ${name}: ${shorten(member)} is a member already`);
      }
      taken.add(member);
    }
    const threshold = thresholdOf(rule, members.length);
    if (threshold < 1 || threshold > members.length) {
      throw new PolicyError(
        `group ${name}: expected all, any or 1..${members.length}, got ${shorten(rule)}`,
      );
    }
    this.groups.set(name, { name, rule, members, threshold });
    checkCount("groups", this.groups.size);
  }

  setQuorum(name: string): void {
    if (this.quorum !== null) {
      throw new PolicyError(`expected one quorum, got ${this.quorum} and ${shorten(name)}`);
    }
    if (name !== NONE && !this.#isDefined(name)) {
      throw new PolicyError(`quorum: expected a defined name, got ${shorten(name)}`);
    }
    this.quorum = name;
  }

  /** Whether these verified signatures reach the quorum; those of others do not count. */
  isSatisfiedBy(cosignatures: readonly note.VerifiedSignature[]): boolean {
    const witnessed = new Set([NONE]);
    for (const [name, witness] of this.witnesses) {
      if (cosignatures.some((signed) => isBy(witness.key, signed))) witnessed.add(name);
    }
    for (const [name, group] of this.groups) {
      // members are defined before their group
      const present = group.members.filter((member) => witnessed.has(member));
      if (present.length >= group.threshold) witnessed.add(name);
    }
    return this.quorum !== null && witnessed.has(this.quorum);
  }

  /**
   * The one by whose time the quorum has signed: later ones alone do not reach it. So a tree is as
   * new as the quorum says, not as the last witness does. With quorum `none` it is the newest.
   */
  datedBy(cosignatures: readonly note.VerifiedSignature[]): note.VerifiedSignature | null {
    let found: note.VerifiedSignature | null = null;
    for (const one of cosignatures) {
      const at = one.timestampS;
      if (at === null || at <= (found?.timestampS ?? -1n)) continue;
      const since = cosignatures.filter(
        ({ timestampS }) => timestampS !== null && timestampS >= at,
      );
      if (this.isSatisfiedBy(since)) found = one;
    }
    return found;
  }

  /** Verifies a signed checkpoint: a known log signed it and the quorum cosigned it. */
  async openCheckpoint(data: Bytes): Promise<OpenedCheckpoint> {
    const { origin } = parseCheckpoint(note.parseNote(data).text);
    const logs = this.logs.map((log) => log.key).filter((key) => key.name === origin);
    if (logs.length === 0) {
      const known = this.logs.map((log) => log.key.name).join(", ") || "no log at all";
      throw new PolicyError(`policy knows ${known}, got a checkpoint of ${shorten(origin)}`);
    }
    const cosigners = [...this.witnesses.values()].map((witness) => witness.key);
    const opened = await note.openNote(data, [...logs, ...cosigners]);
    const byLog = opened.verified.find((signed) => logs.some((key) => isBy(key, signed)));
    const byWitness = opened.verified.filter((signed) =>
      cosigners.some((key) => isBy(key, signed)),
    );
    if (byLog === undefined) {
      throw new NoteError(`checkpoint: expected a signature of the log ${origin}, got none`);
    }
    if (!this.isSatisfiedBy(byWitness)) {
      const actual = byWitness.map((signed) => signed.name).join(", ") || "no known witness";
      throw new PolicyError(`quorum ${this.quorum}: expected its cosignatures, got ${actual}`);
    }
    return {
      checkpoint: parseCheckpoint(opened.text),
      log: byLog,
      cosignatures: byWitness,
      unknown: opened.unknown,
    };
  }

  #isDefined(name: string): boolean {
    return this.witnesses.has(name) || this.groups.has(name);
  }

  #checkNew(name: string): void {
    if (name === NONE || this.#isDefined(name)) {
      throw new PolicyError(`expected a new name, got ${shorten(name)} again`);
    }
  }
}

/** Reads a policy file. PolicyError with the line's number on whatever is not the format. */
export async function parsePolicy(data: Bytes): Promise<Policy> {
  if (data.length > MAX_POLICY_BYTES) {
    throw new PolicyError(`policy: expected at most ${MAX_POLICY_BYTES} bytes`);
  }
  const text = octets(data);
  if (FORBIDDEN.test(text)) {
    throw new PolicyError("policy: expected no control but tab and newline");
  }
  if (text && !text.endsWith("\n")) {
    // a file cut off in its quorum line may name another quorum
    throw new PolicyError("policy: expected a newline after the last line: was the file cut off?");
  }
  const policy = new Policy();
  for (const [index, line] of text.split("\n").entries()) {
    const items = line.split(/[ \t]+/).filter((item) => item);
    if (items[0] === undefined || items[0].startsWith("#")) continue;
    try {
      await readLine(policy, items[0], items.slice(1));
    } catch (error) {
      if (!(error instanceof FormatError || error instanceof PolicyError)) throw error;
      throw new PolicyError(`policy line ${index + 1}: ${error.message}`);
    }
  }
  if (policy.quorum === null) throw new PolicyError("policy: expected one quorum line, got none");
  return policy;
}

async function readLine(policy: Policy, keyword: string, rest: readonly string[]): Promise<void> {
  const [first = "", second, third] = rest;
  const within = (least: number, most: number): void => {
    if (rest.length < least || rest.length > most) {
      throw new PolicyError(`${keyword}: expected ${least} to ${most} items, got ${rest.length}`);
    }
  };
  switch (keyword) {
    case "log":
      within(1, 2);
      return policy.addLog(first, second);
    case "witness":
      within(2, 3);
      return policy.addWitness(first, second ?? "", third);
    case "group":
      within(3, 2 + MAX_ITEMS * 2);
      return policy.addGroup(first, second ?? "", rest.slice(2));
    case "quorum":
      within(1, 1);
      return policy.setQuorum(first);
    default:
      throw new PolicyError(`expected log, witness, group or quorum, got ${shorten(keyword)}`);
  }
}

async function loadKey(vkey: string, kinds: readonly number[]): Promise<note.Verifier> {
  const key = await note.loadVerifier(fromUtf8(fromOctets(vkey), "verifier key"));
  if (!kinds.includes(key.kind)) {
    throw new PolicyError(`${key.name}: expected another signature type, got ${key.kind}`);
  }
  return key;
}

function refuseDuplicate(key: note.Verifier, known: readonly note.Verifier[]): void {
  for (const other of known) {
    if (equal(other.publicKey, key.publicKey)) {
      throw new PolicyError(
        `${note.showKey(key)} has the same public key as ${note.showKey(other)}`,
      );
    }
  }
}

function thresholdOf(rule: string, members: number): number {
  if (rule === "all") return members;
  if (rule === "any") return 1;
  return THRESHOLD.test(rule) ? Number(rule) : 0;
}

function checkCount(what: string, count: number): void {
  if (count > MAX_ITEMS) {
    throw new PolicyError(`expected at most ${MAX_ITEMS} ${what}, got ${count}`);
  }
}

function isBy(key: note.Verifier, signed: note.VerifiedSignature): boolean {
  return key.keyId === signed.keyId && note.isSameKey(key, signed);
}
