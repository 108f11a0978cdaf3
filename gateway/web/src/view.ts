/** The page as elements, from its state; knows no storage and checks nothing. */

import { h, type Child } from "./dom.ts";
import { groupFingerprint, showFingerprint, showPolicy, type ReadPolicy } from "./pins.ts";
import type { Pinned } from "./pins.ts";
import type { Line } from "./reading.ts";
import { tellQuorum, tellWitness, type Section, type Verdict } from "./verdict.ts";
import { instantOf, showInstant, wordsIn, type Language, type Words } from "./words.ts";

/** A policy somebody looks at before trusting it; `site` suggested it, unless it is empty. */
export interface Candidate extends ReadPolicy {
  readonly site: string;
}

export interface State {
  readonly language: Language;
  readonly pinned: Pinned | null;
  readonly candidate: Candidate | null;
  readonly pasting: boolean;
  readonly policyProblem: string;
  readonly fileName: string | null;
  readonly hasFile: boolean;
  readonly verdict: Verdict | null;
  readonly isKept: boolean;
  readonly build: string;
}

export interface Acts {
  readonly speak: (language: Language) => void;
  readonly open: (file: File) => void;
  readonly readPolicy: (file: File) => void;
  readonly paste: (isPasting: boolean) => void;
  readonly readPasted: (text: string) => void;
  readonly suggest: () => void;
  readonly trust: () => void;
  readonly cancel: () => void;
  readonly forget: () => void;
}

export function pageOf(state: State, acts: Acts): Node[] {
  const words = wordsIn(state.language);
  return [
    header(state, acts, words),
    h(
      "main",
      {},
      fileCard(state, acts, words),
      verdictCard(state, words),
      policyCard(state, acts, words),
    ),
    h(
      "footer",
      {},
      h("p", {}, words.page(state.isKept ? "offline_ready" : "offline_not")),
      h("p", {}, words.page("build", { build: state.build })),
    ),
  ];
}

function header(state: State, acts: Acts, words: Words): Node {
  const choice = (language: Language, name: string): Node =>
    h(
      "button",
      {
        type: "button",
        lang: language,
        "aria-pressed": String(state.language === language),
        onclick: () => acts.speak(language),
      },
      name,
    );
  return h(
    "header",
    {},
    h(
      "h1",
      {},
      h("span", { class: "brand" }, state.language === "en" ? "Tanzhang" : "碳账"),
      ` ${words.page("title")}`,
    ),
    h(
      "div",
      { class: "languages", role: "group", "aria-label": words.page("language") },
      choice("zh-CN", "中文"),
      choice("en", "English"),
    ),
    h("p", { class: "lead" }, words.page("lead")),
  );
}

function fileCard(state: State, acts: Acts, words: Words): Node {
  const opened = state.fileName ?? words.page("from_code");
  return h(
    "section",
    { class: "card drop", "aria-labelledby": "file-heading" },
    h("h2", { id: "file-heading" }, words.page("file")),
    h(
      "p",
      {},
      fileButton("file", words.page("choose"), acts.open),
      " ",
      h("span", {}, words.page("drop")),
    ),
    state.hasFile ? h("p", { class: "name" }, words.page("opened", { name: opened })) : null,
  );
}

/** A file input that looks like a button, works by keyboard and says its name. */
function fileButton(id: string, label: string, take: (file: File) => void): Node {
  const input = h("input", {
    type: "file",
    id,
    onchange: () => {
      const file = input.files?.[0];
      input.value = ""; // the same file again is a choice too
      if (file !== undefined) take(file);
    },
  });
  return h("span", { class: "button file" }, input, h("label", { for: id }, label));
}

function verdictCard(state: State, words: Words): Node {
  const { verdict } = state;
  if (verdict === null) {
    const told = state.hasFile
      ? words.page(state.pinned === null ? "no_policy_file" : "checking")
      : "";
    return h(
      "div",
      { id: "verdict", role: "status" },
      told ? h("p", { class: "card" }, told) : null,
    );
  }
  return h(
    "section",
    { id: "verdict", class: `card verdict ${verdict.state}`, "aria-labelledby": "verdict-heading" },
    h(
      "div",
      { class: "stamp", role: "status" },
      h("h2", { id: "verdict-heading", tabindex: "-1" }, words.say(verdict.state)),
      h("p", { class: "summary" }, verdict.summary),
    ),
    ...verdict.sections.map((section) => sectionOf(section, words)),
    state.pinned === null || verdict.state === "unread" ? null : judgedBy(state.pinned, words),
    verdict.technical.length ? details(words.page("technical"), lineList(verdict.technical)) : null,
  );
}

function judgedBy(pinned: Pinned, words: Words): Node {
  return h(
    "div",
    { class: "section" },
    h("h3", {}, words.say("policy")),
    h("p", { class: "mono" }, showFingerprint(pinned.fingerprint)),
  );
}

function sectionOf(section: Section, words: Words): Node {
  const isList = section.lines.length > 1 && section.lines.every((line) => !line.label);
  const [only] = section.lines;
  const body = isList
    ? h("ul", {}, ...section.lines.map((line) => h("li", {}, line.text)))
    : section.lines.length === 1 && only !== undefined && !only.label
      ? h("p", {}, only.text)
      : lineList(section.lines);
  return h(
    "div",
    { class: `section ${section.name}` },
    h("h3", {}, headingOf(section, words)),
    body,
  );
}

function headingOf({ name }: Section, words: Words): string {
  return name === "event" ? words.page(name) : words.say(name);
}

function lineList(lines: readonly Line[]): Node {
  const pairs = lines.map((line) =>
    h(
      "div",
      { class: line.depth ? "pair inner" : "pair" },
      h("dt", {}, line.label),
      h("dd", {}, line.text),
    ),
  );
  return h("dl", {}, ...pairs);
}

function details(summary: string, ...children: readonly Child[]): Node {
  return h("details", {}, h("summary", {}, summary), ...children);
}

function policyCard(state: State, acts: Acts, words: Words): Node {
  return h(
    "section",
    { class: "card", "aria-labelledby": "policy-heading" },
    h("h2", { id: "policy-heading" }, words.page("trust")),
    state.policyProblem ? h("p", { class: "problem", role: "alert" }, state.policyProblem) : null,
    ...(state.candidate === null
      ? trusted(state, acts, words)
      : [candidateOf(state.candidate, acts, words)]),
  );
}

function trusted(state: State, acts: Acts, words: Words): Child[] {
  const { pinned } = state;
  if (pinned === null) {
    return [
      h("p", {}, words.page("no_policy")),
      h("p", { class: "hint" }, words.page("trust_lead")),
      waysToGetOne(state, acts, words),
    ];
  }
  const since = words.page("pinned", { time: showInstant(instantOf(pinned.sinceS), words) });
  const stop = h("button", { type: "button", onclick: acts.forget }, words.page("forget_policy"));
  return [
    h("p", {}, since),
    describe(pinned, words),
    details(words.page("change_policy"), waysToGetOne(state, acts, words), h("p", {}, stop)),
  ];
}

function waysToGetOne(state: State, acts: Acts, words: Words): Node {
  const area = h("textarea", { id: "pasted", rows: "6", spellcheck: "false" });
  const pasted = h(
    "div",
    { class: "pasted" },
    h("label", { for: "pasted" }, words.page("paste_label")),
    area,
    h(
      "button",
      { type: "button", onclick: () => acts.readPasted(area.value) },
      words.page("read_pasted"),
    ),
  );
  return h(
    "div",
    {},
    h(
      "p",
      { class: "ways" },
      fileButton("policy", words.page("choose_policy"), acts.readPolicy),
      h(
        "button",
        {
          type: "button",
          "aria-expanded": String(state.pasting),
          onclick: () => acts.paste(!state.pasting),
        },
        words.page("paste_policy"),
      ),
      h("button", { type: "button", onclick: acts.suggest }, words.page("suggest_policy")),
    ),
    state.pasting ? pasted : null,
  );
}

function candidateOf(candidate: Candidate, acts: Acts, words: Words): Node {
  const { site } = candidate;
  return h(
    "div",
    { class: "candidate" },
    h("h3", { id: "candidate-heading", tabindex: "-1" }, words.page("candidate")),
    site ? h("p", { class: "problem" }, words.page("suggested", { site })) : null,
    h("p", {}, words.say("compare")),
    describe(candidate, words),
    h(
      "p",
      { class: "ways" },
      h(
        "button",
        { type: "button", class: "primary", onclick: acts.trust },
        words.page("trust_it"),
      ),
      h("button", { type: "button", onclick: acts.cancel }, words.page("cancel")),
    ),
  );
}

/** Fingerprint, logs, witnesses and what is asked of them. */
function describe(read: ReadPolicy, words: Words): Node {
  const { policy, fingerprint, data } = read;
  const groups = groupFingerprint(fingerprint).map((group) => h("span", {}, group));
  const names = (list: readonly string[]): string => list.join(", ") || "–";
  const pair = (label: string, ...shown: readonly Child[]): Node =>
    h("div", { class: "pair" }, h("dt", {}, label), h("dd", {}, ...shown));
  return h(
    "div",
    {},
    h(
      "dl",
      {},
      pair(
        words.say("fingerprint"),
        h("span", { class: "mono full" }, showFingerprint(fingerprint)),
        h("span", { class: "mono groups", "aria-hidden": "true" }, ...groups),
      ),
      pair(words.say("logs"), names(policy.logs.map((log) => log.key.name))),
      pair(words.say("witnesses"), names([...policy.witnesses.values()].map(tellWitness))),
      pair("", words.say("quorum", { needed: tellQuorum(policy, words) })),
    ),
    details(words.page("paste_label"), h("pre", { tabindex: "0" }, showPolicy(data))),
  );
}
