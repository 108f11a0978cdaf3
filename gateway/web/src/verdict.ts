/**
 * What a file proves, as the page shows it: plain values, made from what was verified.
 *
 * Says no more than was checked, and always says what was not.
 */

import { showName } from "./pins.ts";
import { grouped, readEvent, type Line } from "./reading.ts";
import { encodeBase64 } from "./tlog/encoding.ts";
import { ReceiptError, UnsupportedError } from "./tlog/errors.ts";
import { firstName } from "./tlog/container.ts";
import { EVENT, verifyReceipt, type VerifiedReceipt } from "./tlog/receipt.ts";
import { showKey } from "./tlog/note.ts";
import type { OpenedCheckpoint, Policy } from "./tlog/policy.ts";
import type { Bytes } from "./tlog/encoding.ts";
import { isPhrase, showTime, speaker, type Language, type Phrase, type Say } from "./words.ts";

export const MAX_FILE_BYTES = 4 * 1024 * 1024; // the largest kind of ours is far below

export interface Section {
  readonly heading: Phrase;
  readonly lines: readonly Line[];
}

export interface Verdict {
  readonly state: "holds" | "differs" | "cannot";
  readonly summary: string;
  readonly sections: readonly Section[];
  readonly technical: readonly Line[];
}

/** Judges a file by the policy. Never throws for what stands in the file. */
export async function judge(data: Bytes, policy: Policy, language: Language): Promise<Verdict> {
  const say = speaker(language);
  try {
    if (data.length > MAX_FILE_BYTES) return cannot(say("too_large"));
    if (firstName(data) === EVENT) {
      return tellReceipt(await verifyReceipt(data, policy), policy, language);
    }
    return differs(new ReceiptError("container", say("unknown_kind")), say);
  } catch (error) {
    if (error instanceof ReceiptError) return differs(error, say);
    if (error instanceof UnsupportedError) {
      return cannot(say("no_crypto", { error: error.message }));
    }
    throw error;
  }
}

export function cannot(summary: string): Verdict {
  return { state: "cannot", summary, sections: [], technical: [] };
}

function differs(error: ReceiptError, say: Say): Verdict {
  const name = `part_${error.part}`;
  return {
    state: "differs",
    summary: say("do_not_rely"),
    sections: [
      { heading: "part", lines: [plain(isPhrase(name) ? say(name) : error.part)] },
      { heading: "detail", lines: [plain(error.message)] },
    ],
    technical: [],
  };
}

function tellReceipt(read: VerifiedReceipt, policy: Policy, language: Language): Verdict {
  const say = speaker(language);
  const { origin } = read.opened.checkpoint;
  const held = say("held_at", { origin, position: grouped(read.position) });
  return {
    state: "holds",
    summary: say("event_holds"),
    sections: [
      { heading: "proved", lines: [plain(held)] },
      ...tellCheckpoint(read.opened, policy, language),
      { heading: "event", lines: eventLines(read, language) },
      { heading: "not_proved", lines: notProved(policy, say, ["not_true", "not_now", "not_acts"]) },
    ],
    technical: [
      ...tellRoot(read.opened, say),
      { label: say("raw"), text: JSON.stringify(read.record, plainIntegers, 1), depth: 0 },
    ],
  };
}

function eventLines(read: VerifiedReceipt, language: Language): Line[] {
  try {
    return readEvent(read.record, language);
  } catch {
    return [plain(JSON.stringify(read.record, plainIntegers))]; // not an event of ours to read
  }
}

/** As of when, signed by whom, and what each witness of the policy says. */
function tellCheckpoint(opened: OpenedCheckpoint, policy: Policy, language: Language): Section[] {
  const say = speaker(language);
  const { log, cosignatures, checkpoint } = opened;
  const signed = [...policy.witnesses.values()].map(({ name, key }) => {
    const found = cosignatures.find((one) => one.keyId === key.keyId && one.name === key.name);
    return { name: showName(name), key, timeS: found?.timestampS ?? null };
  });
  const seen = signed.filter(({ timeS }) => timeS !== null);
  const last = seen.toSorted((a, b) => Number((b.timeS ?? 0n) - (a.timeS ?? 0n)))[0];
  const asOf =
    last === undefined
      ? say("as_of_log", { size: grouped(checkpoint.size) })
      : say("as_of_witness", { time: showTime(last.timeS ?? 0n, language), name: last.name });
  const key = showKey(log).slice(log.name.length + 1);
  const witnesses = signed.map(({ name, key: witness, timeS }) => ({
    label: name === witness.name ? name : `${name} (${witness.name})`,
    text: timeS === null ? say("silent") : say("agrees", { time: showTime(timeS, language) }),
    depth: 0,
  }));
  return [
    { heading: "as_of", lines: [plain(asOf)] },
    { heading: "signed_by", lines: [plain(say("log_key", { name: log.name, key }))] },
    {
      heading: "agreeing",
      lines: [...witnesses, { label: say("quorum"), text: tellQuorum(policy, say), depth: 0 }],
    },
  ];
}

/** What the policy asks of witnesses, in words. */
export function tellQuorum(policy: Policy, say: Say): string {
  const group = policy.groups.get(policy.quorum ?? "");
  if (group !== undefined) {
    const members = group.members.map(showName).join(", ");
    return say("quorum_group", { n: group.threshold, of: group.members.length, members });
  }
  const isWitness = policy.witnesses.has(policy.quorum ?? "");
  return isWitness
    ? say("quorum_one", { name: showName(policy.quorum ?? "") })
    : say("quorum_none");
}

function notProved(policy: Policy, say: Say, phrases: readonly Phrase[]): Line[] {
  const witnessed: Phrase = policy.quorum === "none" ? "not_witness_at_all" : "not_witnessed";
  return [...phrases, witnessed].map((phrase) => plain(say(phrase)));
}

function tellRoot(opened: OpenedCheckpoint, say: Say): Line[] {
  const { size, root } = opened.checkpoint;
  return [
    { label: say("size"), text: grouped(size), depth: 0 },
    { label: say("root"), text: encodeBase64(root), depth: 0 },
  ];
}

function plain(text: string): Line {
  return { label: "", text, depth: 0 };
}

function plainIntegers(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : value;
}
