/**
 * What a file proves, as the page shows it: plain values, made from what was verified.
 *
 * Says what cli/explaining.py says, from the same words: no more than was checked, and always what
 * was not.
 */

import { checkActs, checkPledgeActs, type CheckedAct, type Institutions } from "./institutions.ts";
import { showName } from "./pins.ts";
import { grouped, readEvent, showAmount, showPurpose, showSerials, type Line } from "./reading.ts";
import { firstName } from "./tlog/container.ts";
import { encodeBase64, type Bytes } from "./tlog/encoding.ts";
import { ReceiptError, UnsupportedError } from "./tlog/errors.ts";
import type { Fields } from "./tlog/json.ts";
import type { VerifiedSignature } from "./tlog/note.ts";
import type { OpenedCheckpoint, Policy, Witness } from "./tlog/policy.ts";
import { EVENT, verifyReceipt, type VerifiedReceipt } from "./tlog/receipt.ts";
import { kindOfFile, verifyHolding, verifyLien } from "./tlog/states.ts";
import type { ProvenState, VerifiedHolding, VerifiedLien } from "./tlog/states.ts";
import { instantOf, isTold, showInstant, type Told, type Words } from "./words.ts";

export const MAX_FILE_BYTES = 8 * 1024 * 1024; // a .lien has at most 4 MiB of claim
const CLOCKS_DIFFER_S = 60n; // at most, of machines that keep time

export interface Section {
  readonly name: "event" | Told;
  readonly lines: readonly Line[];
}

export interface Verdict {
  readonly state: "verified" | "refused" | "unread";
  readonly summary: string;
  /** The first line: what holds is not always what its reader hoped for. */
  readonly headline: Told;
  readonly sections: readonly Section[];
  readonly technical: readonly Line[];
}

/** Whom a reader trusts: a policy, and institutions' keys, which may be none. */
export interface Trust {
  readonly policy: Policy;
  readonly institutions: Institutions;
}

/** Judges a file by what its reader trusts. Never throws for what stands in the file. */
export async function judge(data: Bytes, trust: Trust, words: Words): Promise<Verdict> {
  if (data.length > MAX_FILE_BYTES) return unread(words.page("too_large"));
  const { policy, institutions } = trust;
  const teller = new Teller(policy, words);
  try {
    const kind = kindOfFile(data);
    if (kind === "holding") return teller.holding(await verifyHolding(data, policy));
    if (kind === "lien") {
      const read = await verifyLien(data, policy);
      return teller.lien(read, await checkPledgeActs(read, institutions));
    }
    if (firstName(data) === EVENT) {
      const read = await verifyReceipt(data, policy);
      return teller.receipt(read, await checkActs(read.record, institutions));
    }
    return refused(new ReceiptError("container", words.page("unknown_kind")), words);
  } catch (error) {
    if (error instanceof ReceiptError) return refused(error, words);
    if (error instanceof UnsupportedError) {
      return unread(words.page("no_crypto", { error: error.message }));
    }
    return unread(words.page("fault", { error: String(error) }));
  }
}

export function unread(summary: string): Verdict {
  return { state: "unread", headline: "unread", summary, sections: [], technical: [] };
}

function refused(error: ReceiptError, words: Words): Verdict {
  const name = `part_${error.part}`;
  return {
    state: "refused",
    headline: "refused",
    summary: words.say("do_not_rely"),
    sections: [
      { name: "differs", lines: [plain(isTold(name) ? words.say(name) : error.part)] },
      { name: "detail", lines: [plain(error.message)] },
    ],
    technical: [],
  };
}

/** What the policy asks of witnesses. */
export function tellQuorum(policy: Policy, words: Words): string {
  const quorum = policy.quorum ?? "none";
  const group = policy.groups.get(quorum);
  if (group === undefined) {
    const key = quorum === "none" ? "quorum_none" : "quorum_one";
    return words.say(key, { name: showName(quorum) });
  }
  const members = group.members.map(showName).join(words.language === "en" ? ", " : "，");
  return words.say("quorum_group", { n: group.threshold, of: group.members.length, members });
}

export function tellWitness(witness: Witness): string {
  const name = showName(witness.name);
  return name === witness.key.name ? name : `${name} (${witness.key.name})`;
}

class Teller {
  readonly #policy: Policy;
  readonly #words: Words;

  constructor(policy: Policy, words: Words) {
    this.#policy = policy;
    this.#words = words;
  }

  receipt(read: VerifiedReceipt, acts: readonly CheckedAct[]): Verdict {
    const { say } = this.#words;
    const { opened } = read;
    const position = grouped(read.position);
    const seen = this.#policy.datedBy(opened.cosignatures);
    const asOf =
      seen === null
        ? say("as_of_claim", { at: text(read.record["at"]) })
        : say("as_of_witness", { time: this.#time(seen), name: this.#named(seen) });
    return this.#verified(
      [say("event_held", { origin: opened.checkpoint.origin, position })],
      [asOf],
      opened,
      { name: "event", lines: this.#event(read.record, acts) },
      [say("not_true"), say("not_now"), ...this.#notOfActs(acts)],
      [{ label: this.#words.page("raw"), text: show(read.record), depth: 0 }],
    );
  }

  lien(read: VerifiedLien, acts: readonly CheckedAct[]): Verdict {
    const { say } = this.#words;
    const { record, book, position } = read.pledge;
    const made = say("lien_made", {
      book,
      position: grouped(position),
      at: text(record["at"]),
    });
    const verdict = this.#verified(
      this.#claimOf(read),
      this.#asOfState(read.state),
      read.state.opened,
      { name: "made_by", lines: [made, ...acts.map((act) => this.#act(act))].map(plain) },
      [...this.#notOfStates(), ...this.#notOfActs(acts), say("not_who", { id: read.pledgee })],
      [],
    );
    const headline = read.quantity === 0n ? "verified_ended" : headlineOf(read.state);
    return { ...verdict, headline };
  }

  holding(read: VerifiedHolding): Verdict {
    const { holder, asset, purpose, ref } = read.account;
    const { language } = this.#words;
    const name = showPurpose(purpose, language);
    const held = this.#words.say("holding_held", {
      account: ref ? `${name} (${ref})` : name,
      holder,
      amount: showAmount(asset, read.amount, language),
    });
    const { state } = read;
    const verdict = this.#verified(
      [held],
      this.#asOfState(state),
      state.opened,
      null,
      this.#notOfStates(),
      [],
    );
    return { ...verdict, headline: headlineOf(state) };
  }

  #verified(
    claim: readonly string[],
    asOf: readonly string[],
    opened: OpenedCheckpoint,
    about: Section | null,
    open: readonly string[],
    technical: readonly Line[],
  ): Verdict {
    const { say, page } = this.#words;
    const { log, checkpoint } = opened;
    const [summary = "", ...more] = claim;
    const witnessed = this.#policy.quorum === "none" ? "not_same_log" : "not_witnessed";
    const key = log.keyId.toString(16).padStart(8, "0");
    return {
      state: "verified",
      headline: "verified",
      summary,
      sections: [
        ...(more.length ? [{ name: "proved" as const, lines: more.map(plain) }] : []),
        { name: "as_of", lines: asOf.map(plain) },
        { name: "signed_by", lines: [plain(say("log_key", { name: log.name, key }))] },
        { name: "witnesses", lines: this.#witnesses(opened).map(plain) },
        ...(about === null ? [] : [about]),
        { name: "not_proved", lines: [...open, say(witnessed)].map(plain) },
      ],
      technical: [
        { label: page("size"), text: grouped(checkpoint.size), depth: 0 },
        { label: page("root"), text: encodeBase64(checkpoint.root), depth: 0 },
        ...technical,
      ],
    };
  }

  #claimOf(read: VerifiedLien): string[] {
    const { say, language } = this.#words;
    const { lien, pledgor, pledgee, asset, quantity, serials } = read;
    if (quantity === 0n) return [say("lien_ended", { lien, pledgor, pledgee, asset })];
    const held = showAmount(asset, quantity, language);
    return [
      say("lien_held", { amount: held, lien, pledgor, pledgee }),
      ...serials.map(({ batch, first, last }) => showSerials(batch, first, last, language)),
      say(serials.length ? "lien_alone" : "lien_amount"),
    ];
  }

  #event(record: Fields, acts: readonly CheckedAct[]): Line[] {
    const tell = (keyId: string): string =>
      this.#act(acts.findLast((act) => act.keyId === keyId) ?? { keyId, by: null });
    try {
      return readEvent(record, this.#words.language, tell);
    } catch {
      return [plain(show(record))]; // not an event of ours to read
    }
  }

  #asOfState(state: ProvenState): string[] {
    const { say } = this.#words;
    const at = `${state.at.split(".")[0]}Z`;
    const claimed = say("as_of_state", { at: showInstant(at, this.#words) });
    const seen = this.#policy.datedBy(state.opened.cosignatures);
    if (seen === null) return [claimed, say("state_alone")];
    const newer = newerStates(state);
    const told = say(newer ? "state_older" : "state_newest", {
      name: this.#named(seen),
      time: this.#time(seen),
      newer: grouped(newer),
    });
    const isAhead = secondsOf(state.at) > (seen.timestampS ?? 0n) + CLOCKS_DIFFER_S;
    return [claimed, told, ...(isAhead ? [say("state_ahead")] : [])];
  }

  #witnesses(opened: OpenedCheckpoint): string[] {
    const { say } = this.#words;
    const lines = [...this.#policy.witnesses.values()].map((witness) => {
      const signed = opened.cosignatures.find((one) => isBy(witness, one));
      const name = tellWitness(witness);
      return signed === undefined
        ? say("silent", { name })
        : say("agrees", { name, time: this.#time(signed) });
    });
    const needed = say("quorum", { needed: tellQuorum(this.#policy, this.#words) });
    return [...(lines.length ? lines : [say("no_witness")]), needed];
  }

  #notOfStates(): string[] {
    return (["not_right", "not_later", "not_frozen"] as const).map((key) => this.#words.say(key));
  }

  #act({ keyId: key, by }: CheckedAct): string {
    const { say } = this.#words;
    if (by === null) return say("act_unknown", { key });
    return say(by.isRevoked ? "act_revoked" : "act_holds", { subject: by.subject, key });
  }

  #notOfActs(acts: readonly CheckedAct[]): string[] {
    const count = acts.filter((act) => act.by === null).length;
    if (count) return [this.#words.say("not_acts", { count, of: acts.length })];
    return acts.length ? [this.#words.say("not_rights")] : [];
  }

  #named(signed: VerifiedSignature): string {
    const witnesses = [...this.#policy.witnesses.values()];
    const found = witnesses.find((witness) => isBy(witness, signed));
    return found === undefined ? signed.name : showName(found.name);
  }

  #time(signed: VerifiedSignature): string {
    return showInstant(instantOf(signed.timestampS ?? 0n), this.#words);
  }
}

function isBy(witness: Witness, signed: VerifiedSignature): boolean {
  return witness.key.keyId === signed.keyId && witness.key.name === signed.name;
}

function headlineOf(state: ProvenState): Told {
  return newerStates(state) ? "verified_older" : "verified";
}

/** How many newer states the log held by the time it was signed like this. */
function newerStates(state: ProvenState): bigint {
  return state.opened.checkpoint.size - 1n - state.position;
}

/** Of a text that is no instant 0: it claims no time. */
function secondsOf(at: string): bigint {
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(at) ? Date.parse(at) : Number.NaN;
  return Number.isNaN(ms) ? 0n : BigInt(Math.floor(ms / 1000));
}

function text(value: unknown): string {
  return typeof value === "string" ? value : String(value);
}

function plain(shown: string): Line {
  return { label: "", text: shown, depth: 0 };
}

function show(record: Fields): string {
  return JSON.stringify(record, (_, value) => (typeof value === "bigint" ? `${value}` : value), 1);
}
