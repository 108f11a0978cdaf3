/** The page as elements, from its state; knows no storage and checks nothing. */

import { h } from "./dom.ts";
import { details, fileButton } from "./parts.ts";
import { showFingerprint, type Pinned } from "./pins.ts";
import type { Line } from "./reading.ts";
import type { Acts, State } from "./state.ts";
import type { Policy } from "./tlog/policy.ts";
import { institutionsCard, policyCard } from "./trusting.ts";
import type { Section } from "./verdict.ts";
import { wordsIn, type Language, type Words } from "./words.ts";

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
      state.pinned === null ? null : institutionsCard(state, acts, words),
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
  const speaks = (language: Language, name: string): Node =>
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
      speaks("zh-CN", "中文"),
      speaks("en", "English"),
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
    {
      id: "verdict",
      class: `card verdict ${verdict.state}${verdict.headline === verdict.state ? "" : " qualified"}`,
      "aria-labelledby": "verdict-heading",
    },
    h(
      "div",
      { class: "stamp", role: "status" },
      h("h2", { id: "verdict-heading", tabindex: "-1" }, words.say(verdict.headline)),
      h("p", { class: "summary" }, verdict.summary),
    ),
    ...verdict.sections.map((section) => sectionOf(section, words)),
    state.pinned === null || verdict.state === "unread" ? null : judgedBy(state.pinned, words),
    verdict.technical.length ? details(words.page("technical"), lineList(verdict.technical)) : null,
  );
}

function judgedBy(pinned: Pinned<Policy>, words: Words): Node {
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
