/**
 * An event record in plain words, as cli/reading.py reads it and from the same words
 * (cli/words/events.json). Says no more than the event does; checks nothing.
 */

import words from "../../../cli/words/events.json" with { type: "json" };

import { isFields, parseJson, Fraction, type Fields, type Json } from "./tlog/json.ts";
import { fill, type Language } from "./words.ts";

/** One fact of the record; `depth` 1 belongs to the one above it. */
export interface Line {
  readonly label: string;
  readonly text: string;
  readonly depth: number;
}

type Both = Record<Language, string>;
type Table<T> = Readonly<Record<string, T>>;

const WORDS = words as unknown as {
  events: Table<Table<Both>>;
  entries: Table<Both>;
  statements: Table<Both>;
  fields: Table<Both>;
  values: Table<Table<Both>>;
  units: Table<Both & { form: keyof typeof FORMS }>;
  durations: readonly string[];
  no_limit_at_zero: readonly string[];
  of_asset: readonly string[];
  sentences: Table<Both>;
};
const MONEY = "CNY";
const SPANS = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
  ["second", 1_000],
  ["millisecond", 1],
] as const;

type Whole = number | bigint;

const FORMS = {
  hundredths: (value: Whole) => decimal(value, 2),
  thousandths: (value: Whole) => decimal(value, 3).replace(/\.?0+$/, ""),
  whole: grouped,
  instant: (value: Whole) => new Date(Number(value)).toISOString(),
};

/** Says of an institution's signature, by the key it names, whether it was checked. */
export type TellAct = (keyId: string) => string;

/** What it says, who, when, and every field. Throws for a record that is not shaped like ours. */
export function readEvent(record: Fields, language: Language, tellAct: TellAct): Line[] {
  return new Reader(language, tellAct).event(record);
}

/** `503,280.00 CNY` or `7,000 TICKET-LZXQ-1`: money in yuan, all else in its own unit. */
export function showAmount(asset: string, quantity: Whole, language: Language): string {
  if (asset !== MONEY) return `${grouped(quantity)} ${asset}`;
  return `${decimal(quantity, 2)} ${WORDS.units["_fen"]?.[language]}`;
}

export function showPurpose(purpose: string, language: Language): string {
  return WORDS.values["purpose"]?.[purpose]?.[language] ?? purpose;
}

export function showSerials(batch: string, first: Whole, last: Whole, language: Language): string {
  const sentence = WORDS.sentences["serial_range"]?.[language] ?? "";
  return fill(sentence, { first: grouped(first), last: grouped(last), batch });
}

class Reader {
  readonly #language: Language;
  readonly #tellAct: TellAct;

  constructor(language: Language, tellAct: TellAct) {
    this.#language = language;
    this.#tellAct = tellAct;
  }

  event(record: Fields): Line[] {
    const [actor, body] = [fields(record["actor"]), fields(record["body"])];
    const [at, on] = [text(record["at"]), text(record["on"])];
    const lines = [
      this.#line("event", text(record["type"])),
      this.#line("says", this.#meaning(record, body)),
      this.#line("recorded", on === at ? at : `${at}, ${this.say("on", { on })}`),
      this.#line("asked_by", `${text(actor["sub"])} (${text(actor["iss"])})`),
    ];
    if (record["cause"]) {
      const [book, position] = list(record["cause"]);
      const place = { book: text(book), position: grouped(whole(position)) };
      lines.push(this.#line("cause", this.say("place", place)));
    }
    for (const leg of list(body["legs"] ?? [])) lines.push(...this.#leg(fields(leg)));
    for (const [name, value] of Object.entries(body)) {
      if (name !== "legs") lines.push(...this.#field(name, value, body, 0));
    }
    if ("sealed" in record) lines.push(this.#line("sealed", this.say("sealed_says")));
    return [...lines, ...this.#statements(list(record["acts"] ?? []))];
  }

  say(sentence: string, values: Readonly<Record<string, string>> = {}): string {
    return fill(this.#of(WORDS.sentences[sentence]) ?? sentence, values);
  }

  #meaning(record: Fields, body: Fields): string {
    const [book, type] = [text(record["book"]), text(record["type"])];
    if (book === "accounts" && type === "EntryPosted") {
      return this.#of(WORDS.entries[ruleOf(body)]) ?? this.#of(WORDS.entries["other"]) ?? "";
    }
    const known = WORDS.events[book]?.[type] ?? WORDS.events["*"]?.[type];
    return this.#of(known) ?? this.say("unknown_event");
  }

  #leg(leg: Fields): Line[] {
    return [
      this.#line("leg", this.#amount(text(leg["asset"]), whole(leg["amount"]))),
      this.#line("from", this.#account(fields(leg["debit"])), 1),
      this.#line("to", this.#account(fields(leg["credit"])), 1),
      ...list(leg["serials"]).map((one) => this.#line("serials", this.#serials(fields(one)), 1)),
    ];
  }

  /** What institutions signed; where several signed the same words, once. */
  #statements(acts: readonly Json[]): Line[] {
    const keys = new Map<string, string[]>();
    for (const act of acts.map(fields)) {
      const statement = text(act["statement"]);
      keys.set(statement, [...(keys.get(statement) ?? []), text(act["key_id"])]);
    }
    return [...keys].flatMap(([statement, ids]) => {
      const { kind = "", ...rest } = fields(parseJson(statement));
      const named = this.#of(WORDS.statements[text(kind)]) ?? (text(kind) || this.say("none"));
      return [
        this.#line("statement", named),
        ...Object.entries(rest).flatMap(([name, value]) => this.#field(name, value, rest, 1)),
        ...ids.map((key) => ({ label: "", text: this.#tellAct(key), depth: 1 })),
      ];
    });
  }

  /** A field in one line, a list of objects in one for each. */
  #field(name: string, value: Json, beside: Fields, depth: number): Line[] {
    const parts = Array.isArray(value) && value.some(isFields) ? value : [value];
    return parts.map((one) => {
      const [label, shown] = this.#labelled(name, one, beside);
      return { label, text: shown, depth };
    });
  }

  #labelled(name: string, value: Json, beside: Fields): [string, string] {
    const ending = Object.keys(WORDS.units).find((one) => name.endsWith(one));
    if (ending !== undefined && (value === null || isWhole(value))) {
      return [this.#label(name.slice(0, -ending.length)), this.#figure(name, ending, value)];
    }
    const asset = beside["asset"];
    if (WORDS.of_asset.includes(name) && typeof asset === "string" && isDigits(value)) {
      return [this.#label(name), this.#amount(asset, BigInt(value))];
    }
    return [this.#label(name), this.#shown(name, value)];
  }

  #figure(name: string, ending: string, value: Whole | null): string {
    const unit = WORDS.units[ending];
    const isUnlimited = WORDS.no_limit_at_zero.includes(name) && Number(value) === 0;
    if (value === null || isUnlimited || unit === undefined) return this.say("none");
    if (WORDS.durations.includes(name)) return this.#span(Number(value));
    return `${FORMS[unit.form](value)} ${unit[this.#language]}`.trimEnd();
  }

  #span(spanMs: number): string {
    const parts: string[] = [];
    let rest = spanMs;
    for (const [name, lengthMs] of SPANS) {
      const count = Math.floor(rest / lengthMs);
      rest -= count * lengthMs;
      if (count) parts.push(`${grouped(count)} ${this.say(name)}`);
    }
    return parts.join(" ") || `0 ${this.say("millisecond")}`;
  }

  #shown(name: string, value: Json): string {
    if (value === null || value === "") return this.say("none");
    if (typeof value === "boolean") return this.say(value ? "yes" : "no");
    if (isWhole(value)) return grouped(value);
    if (value instanceof Fraction) return value.text;
    if (Array.isArray(value)) {
      const parts = value.map((one) => this.#shown(name, one));
      return parts.join(this.say("list")) || this.say("none");
    }
    if (typeof value === "string") return this.#of(WORDS.values[name]?.[value]) ?? value;
    if (Object.keys(value).toSorted().join() === "batch,first,last") return this.#serials(value);
    const pairs = Object.entries(value).map(([key, one]) => this.#labelled(key, one, value));
    return pairs.map((pair) => pair.join(" ")).join(this.say("pairs")) || this.say("none");
  }

  #serials(one: Fields): string {
    const [first, last] = [whole(one["first"]), whole(one["last"])];
    return showSerials(text(one["batch"]), first, last, this.#language);
  }

  #account(account: Fields): string {
    const ref = account["ref"] ? ` (${text(account["ref"])})` : "";
    const purpose = showPurpose(text(account["purpose"]), this.#language);
    return `${text(account["holder"])} ${purpose}${ref}`;
  }

  #amount(asset: string, quantity: Whole): string {
    return showAmount(asset, quantity, this.#language);
  }

  #label(name: string): string {
    return this.#of(WORDS.fields[name]) ?? name.replaceAll("_", " ");
  }

  #line(sentence: string, shown: string, depth = 0): Line {
    return { label: this.say(sentence), text: shown, depth };
  }

  #of(known: Both | undefined): string | undefined {
    return known?.[this.#language];
  }
}

/** What kind of entry it is: all its legs were booked, or none would have been. */
function ruleOf(body: Fields): string {
  const { pledge } = body;
  if (isFields(pledge)) return "release" in pledge ? "release" : "pledge";
  for (const rule of ["session", "trades", "claim", "bank_line"]) {
    const value = body[rule];
    if (Array.isArray(value) ? value.length : value) return rule;
  }
  const ways = new Set(
    list(body["legs"]).map((one) => {
      const leg = fields(one);
      return ["debit", "credit"].map((side) => text(fields(leg[side])["purpose"])).join(" to ");
    }),
  );
  return ways.size === 1 ? ([...ways][0] as string) : "other";
}

/** `1,234,567`, exact for every integer. */
export function grouped(value: Whole): string {
  return BigInt(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ",");
}

function decimal(value: Whole, digits: number): string {
  const exact = BigInt(value);
  const size = exact < 0n ? -exact : exact;
  const scale = 10n ** BigInt(digits);
  const fraction = (size % scale).toString().padStart(digits, "0");
  return `${exact < 0n ? "-" : ""}${grouped(size / scale)}.${fraction}`;
}

function isWhole(value: Json | undefined): value is Whole {
  return typeof value === "number" || typeof value === "bigint";
}

function isDigits(value: Json): value is Whole | string {
  return isWhole(value) || (typeof value === "string" && /^[0-9]+$/.test(value));
}

function fields(value: Json | undefined): Fields {
  if (!isFields(value)) throw new TypeError("expected an object");
  return value;
}

function list(value: Json | undefined): readonly Json[] {
  if (!Array.isArray(value)) throw new TypeError("expected a list");
  return value;
}

function text(value: Json | undefined): string {
  if (typeof value !== "string") throw new TypeError("expected a text");
  return value;
}

function whole(value: Json | undefined): Whole {
  if (!isWhole(value)) throw new TypeError("expected an integer");
  return value;
}
