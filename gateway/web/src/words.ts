/**
 * What the page says, in both languages. Its own words are here; what it says of a verdict is
 * cli/words/verify.json, and of an event cli/words/events.json, which `tanzhang verify` reads too.
 */

import verify from "../../../cli/words/verify.json" with { type: "json" };

export type Language = "zh-CN" | "en";

type Both = readonly [en: string, zh: string];

const PAGE = {
  title: ["Verify", "验证"],
  lead: [
    "Check a receipt, a holding or a lien on this device. Nothing you open here is sent anywhere.",
    "在本机验证存证凭证、持有证明或质押证明。您打开的文件不会发送到任何地方。",
  ],
  language: ["Language", "语言"],
  file: ["The file to check", "待验证文件"],
  choose: ["Choose a file", "选择文件"],
  drop: [
    "or drop a .receipt, .holding or .lien here",
    "或将 .receipt、.holding、.lien 文件拖放到此处",
  ],
  opened: ["File: {name}", "文件：{name}"],
  from_code: ["from the code you scanned", "来自您扫描的二维码"],
  checking: ["Checking…", "正在验证…"],

  trust: ["Whom you trust", "信任策略"],
  trust_lead: [
    "A policy names the logs and witnesses you believe. Get it from someone other than whoever gave you the file.",
    "信任策略列明您信任的日志和见证人。请从文件提供者以外的可靠渠道取得。",
  ],
  no_policy: ["No policy is trusted on this device yet.", "本机尚未信任任何策略。"],
  no_policy_file: [
    "This file cannot be judged before you trust a policy below.",
    "请先在下方信任一份策略，才能验证此文件。",
  ],
  choose_policy: ["Choose a policy file", "选择策略文件"],
  paste_policy: ["Paste a policy", "粘贴策略"],
  paste_label: ["Text of the policy", "策略全文"],
  read_pasted: ["Read it", "读取"],
  suggest_policy: ["See what this site suggests", "查看本站建议的策略"],
  suggested: [
    "Suggested by {site}. A site that wants to deceive you would suggest a policy of its own: compare the fingerprint with one you got elsewhere.",
    "由 {site} 建议。若网站有意欺骗，会建议它自己的策略：请与您从别处取得的指纹逐字核对。",
  ],
  no_suggestion: ["This site suggests no policy.", "本站没有建议的策略。"],
  candidate: ["Trust this policy?", "是否信任此策略？"],
  trust_it: ["I compared it: trust this policy", "已核对，信任此策略"],
  cancel: ["Cancel", "取消"],
  pinned: ["Trusted on this device since {time}", "自 {time} 起在本机信任"],
  change_policy: ["Trust another policy", "改用另一份策略"],
  forget_policy: ["Stop trusting it", "不再信任"],
  institutions: ["Institutions' keys", "机构密钥"],
  no_institutions: [
    "None is trusted: institutions' own signatures inside events are listed, not checked.",
    "尚未信任任何机构密钥：事件内各机构的签名仅列出，不作验证。",
  ],
  institutions_lead: [
    "The file is the answer of GET /v1/keys as it came. Compare its fingerprint like that of a policy.",
    "该文件即 GET /v1/keys 的原样返回。请与策略一样核对其指纹。",
  ],
  choose_institutions: ["Choose a file of keys", "选择密钥文件"],
  candidate_institutions: ["Trust these keys?", "是否信任这些密钥？"],
  trust_institutions: ["I compared it: trust these keys", "已核对，信任这些密钥"],
  forget_institutions: ["Stop trusting them", "不再信任"],
  subjects: ["Keys of", "所属机构"],
  file_text: ["Text of the file", "文件全文"],
  not_institutions: ["These are not keys: {error}", "这不是有效的密钥文件：{error}"],
  not_a_policy: ["This is not a policy: {error}", "这不是有效的策略：{error}"],

  event: ["what the event says", "事件内容"],
  technical: ["For specialists", "技术细节"],
  root: ["root of the log", "日志根"],
  size: ["entries in the log", "日志条数"],
  raw: ["record", "原始记录"],

  no_crypto: [
    "This browser cannot check signatures here: {error}. Use a current Chrome, Edge, Firefox or Safari, over https.",
    "此浏览器在此处无法验证签名：{error}。请使用新版 Chrome、Edge、Firefox 或 Safari，并通过 https 打开。",
  ],
  unknown_kind: [
    "This is neither a receipt nor a holding nor a lien.",
    "此文件不是存证凭证、持有证明或质押证明。",
  ],
  too_large: ["The file is larger than any of ours.", "文件过大，不可能是本系统的文件。"],
  fault: ["A fault of this page, not of the file: {error}", "这是本页的故障，与文件无关：{error}"],
  bad_code: ["The code does not hold a whole receipt.", "二维码中没有完整的存证凭证。"],
  offline_ready: [
    "This page is kept on this device and works without a network.",
    "本页已保存在本机，断网也可使用。",
  ],
  offline_not: [
    "This page is not kept on this device yet: it needs the network to open.",
    "本页尚未保存在本机，打开时需要网络。",
  ],
  build: ["Page build {build}", "页面版本 {build}"],
} as const satisfies Record<string, Both>;

export type Phrase = keyof typeof PAGE;
export type Told = keyof typeof verify.sentences;
export type Values = Readonly<Record<string, string | number>>;

/** Everything the page says in one language. */
export interface Words {
  readonly language: Language;
  /** The page's own sentences. */
  readonly page: (phrase: Phrase, values?: Values) => string;
  /** Sentences about a verdict, the same as `tanzhang verify` has. */
  readonly say: (sentence: Told, values?: Values) => string;
}

export function wordsIn(language: Language): Words {
  return {
    language,
    page: (phrase, values = {}) => fill(PAGE[phrase][language === "en" ? 0 : 1], values),
    say: (sentence, values = {}) => fill(verify.sentences[sentence][language], values),
  };
}

export function isTold(name: string): name is Told {
  return Object.hasOwn(verify.sentences, name);
}

/** `{name}` replaced by its value, once: a value that looks like a place is left as it is. */
export function fill(text: string, values: Values): string {
  return text.replaceAll(/\{(\w+)\}/g, (place, name: string) =>
    Object.hasOwn(values, name) ? String(values[name]) : place,
  );
}

const EIGHT_HOURS_MS = 8 * 3_600_000;
const LATEST_MS = 253_402_300_799_999; // the last of the year 9999
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

/** Seconds since 1970 as `2026-11-20T08:30:10Z`; of a year beyond 9999 the seconds. */
export function instantOf(seconds: bigint): string {
  const ms = Number(seconds) * 1000;
  return ms <= LATEST_MS ? `${new Date(ms).toISOString().slice(0, 19)}Z` : `${seconds} s`;
}

/** An instant with what the clocks of Beijing show then; any other text as it is. */
export function showInstant(utc: string, words: Words): string {
  const ms = INSTANT.test(utc) ? Date.parse(utc) : Number.NaN;
  if (!(ms + EIGHT_HOURS_MS <= LATEST_MS)) return utc;
  const [day, time] = new Date(ms + EIGHT_HOURS_MS).toISOString().slice(0, 19).split("T") as [
    string,
    string,
  ];
  const isSameDay = words.language === "en" && utc.startsWith(day);
  return words.say("instant", { utc, local: isSameDay ? time : `${day} ${time}` });
}
