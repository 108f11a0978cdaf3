/** The cards about whom the reader trusts: the policy, and institutions' keys. */

import { h, type Child } from "./dom.ts";
import type { Institutions } from "./institutions.ts";
import { details, fileButton } from "./parts.ts";
import { groupFingerprint, showFingerprint, showText } from "./pins.ts";
import type { Pinned, ReadFile } from "./pins.ts";
import type { Acts, InstitutionsCandidate, PolicyCandidate, State } from "./state.ts";
import type { Policy } from "./tlog/policy.ts";
import { tellQuorum, tellWitness } from "./verdict.ts";
import { instantOf, showInstant, type Words } from "./words.ts";

export function policyCard(state: State, acts: Acts, words: Words): Node {
  return h(
    "section",
    { class: "card", "aria-labelledby": "policy-heading" },
    h("h2", { id: "policy-heading" }, words.page("trust")),
    state.trustProblem ? h("p", { class: "problem", role: "alert" }, state.trustProblem) : null,
    ...(state.candidate?.kind === "policy"
      ? [policyCandidate(state.candidate, acts, words)]
      : trusted(state, acts, words)),
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
    describePolicy(pinned, words),
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

function policyCandidate(candidate: PolicyCandidate, acts: Acts, words: Words): Node {
  const { site, file } = candidate;
  return h(
    "div",
    { class: "candidate" },
    h("h3", { id: "candidate-heading", tabindex: "-1" }, words.page("candidate")),
    site ? h("p", { class: "problem" }, words.page("suggested", { site })) : null,
    h("p", {}, words.say("compare")),
    describePolicy(file, words),
    choice(words.page("trust_it"), acts, words),
  );
}

function choice(trust: string, acts: Acts, words: Words): Node {
  return h(
    "p",
    { class: "ways" },
    h("button", { type: "button", class: "primary", onclick: acts.trust }, trust),
    h("button", { type: "button", onclick: acts.cancel }, words.page("cancel")),
  );
}

/** Whose signatures inside events are checked too. */
export function institutionsCard(state: State, acts: Acts, words: Words): Node {
  const { institutions, candidate } = state;
  const isLooking = candidate?.kind === "institutions";
  return h(
    "section",
    { class: "card", "aria-labelledby": "institutions-heading" },
    h("h2", { id: "institutions-heading" }, words.page("institutions")),
    isLooking
      ? institutionsCandidate(candidate, acts, words)
      : institutions === null
        ? noInstitutions(acts, words)
        : trustedInstitutions(institutions, acts, words),
  );
}

function noInstitutions(acts: Acts, words: Words): Node {
  return h(
    "div",
    {},
    h("p", {}, words.page("no_institutions")),
    h("p", { class: "hint" }, words.page("institutions_lead")),
    fileButton("institutions", words.page("choose_institutions"), acts.readInstitutions),
  );
}

function trustedInstitutions(pinned: Pinned<Institutions>, acts: Acts, words: Words): Node {
  const since = words.page("pinned", { time: showInstant(instantOf(pinned.sinceS), words) });
  const stop = { type: "button", onclick: acts.forgetInstitutions };
  return h(
    "div",
    {},
    h("p", {}, since),
    describeInstitutions(pinned, words),
    h("button", stop, words.page("forget_institutions")),
  );
}

function institutionsCandidate({ file }: InstitutionsCandidate, acts: Acts, words: Words): Node {
  return h(
    "div",
    { class: "candidate" },
    h("h3", { id: "candidate-heading", tabindex: "-1" }, words.page("candidate_institutions")),
    h("p", {}, words.say("compare")),
    describeInstitutions(file, words),
    choice(words.page("trust_institutions"), acts, words),
  );
}

/** Fingerprint, logs, witnesses and what is asked of them. */
function describePolicy(file: ReadFile<Policy>, words: Words): Node {
  const { read: policy } = file;
  const logs = policy.logs.map((log) => log.key.name);
  const witnesses = [...policy.witnesses.values()].map(tellWitness);
  return described(file, words, [
    [words.say("logs"), logs.join(", ") || "–"],
    [words.say("witnesses"), witnesses.join(", ") || "–"],
    ["", words.say("quorum", { needed: tellQuorum(policy, words) })],
  ]);
}

function describeInstitutions(file: ReadFile<Institutions>, words: Words): Node {
  const subjects = new Set([...file.read.values()].map(({ subject }) => subject));
  return described(file, words, [[words.page("subjects"), [...subjects].join(", ") || "–"]]);
}

function described(
  file: ReadFile<unknown>,
  words: Words,
  pairs: readonly (readonly [label: string, text: string])[],
): Node {
  const { fingerprint, data } = file;
  const groups = groupFingerprint(fingerprint).map((group) => h("span", {}, group));
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
      ...pairs.map(([label, text]) => pair(label, text)),
    ),
    details(words.page("file_text"), h("pre", { tabindex: "0" }, showText(data))),
  );
}
