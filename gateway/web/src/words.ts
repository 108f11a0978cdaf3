/**
 * The page's own words, in both languages. What events say is cli/words/events.json, which
 * `tanzhang verify` reads too (reading.ts).
 */

export type Language = "zh-CN" | "en";

type Both = readonly [en: string, zh: string];

const PAGE = {
  title: ["Verify", "验证"],
  lead: [
    "Check a receipt, a holding or a lien on this device. Nothing you open here is sent anywhere.",
    "在本机验证收据、持有证明或质押证明。您打开的文件不会发送到任何地方。",
  ],
  language: ["Language", "语言"],
  file: ["The file to check", "待验证文件"],
  choose: ["Choose a file", "选择文件"],
  drop: [
    "or drop a .receipt, .holding or .lien here",
    "或将 .receipt、.holding、.lien 文件拖放到此处",
  ],
  checked: ["Checked: {name}", "已验证：{name}"],
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
  compare: [
    "Compare this fingerprint, every group, with the one you were given by telephone, letter or contract.",
    "请将下列指纹与您通过电话、信函或合同取得的指纹逐组核对。",
  ],
  fingerprint: ["Fingerprint", "指纹"],
  trust_it: ["I compared it: trust this policy", "已核对，信任此策略"],
  cancel: ["Cancel", "取消"],
  pinned: ["Trusted on this device since {time}", "自 {time} 起在本机信任"],
  change_policy: ["Trust another policy", "改用另一份策略"],
  forget_policy: ["Stop trusting it", "不再信任"],
  logs: ["Logs", "日志"],
  witnesses: ["Witnesses", "见证人"],
  quorum: ["Needed", "要求"],
  quorum_none: ["no witness is asked for", "不要求见证人"],
  quorum_one: ["the witness {name}", "见证人 {name}"],
  quorum_group: ["{n} of {of}: {members}", "{of} 个中至少 {n} 个：{members}"],
  not_a_policy: ["This is not a policy: {error}", "这不是有效的策略：{error}"],

  holds: ["Verified", "验证通过"],
  differs: ["Does not verify", "验证不通过"],
  cannot: ["Could not be checked", "无法验证"],
  event_holds: ["This event is in the log, unchanged.", "此事件已记入日志，未经改动。"],
  proved: ["What is proved", "已证明"],
  not_proved: ["What is not proved", "未证明"],
  part: ["What differs", "不符之处"],
  detail: ["In detail", "细节"],
  held_at: [
    "The log {origin} holds this event, unchanged, at position {position}.",
    "日志 {origin} 在位置 {position} 记有此事件，未经改动。",
  ],
  as_of: ["As of", "截至"],
  as_of_witness: ["{time}, when {name} saw the log", "{time}，{name} 见证该日志之时"],
  as_of_log: [
    "the log's size of {size} entries; no witness gives a time",
    "日志共 {size} 条之时；没有见证人给出时间",
  ],
  signed_by: ["Signed by", "签名"],
  log_key: ["the log {name}, key {key}", "日志 {name}，密钥 {key}"],
  agreeing: ["Witnesses", "见证人"],
  agrees: ["agrees, {time}", "一致，{time}"],
  silent: ["has not signed this one", "未签署此份"],
  by_policy: ["Judged by", "依据策略"],
  event: ["What the event says", "事件内容"],
  raw: ["Record as it was signed", "签名的原始记录"],
  technical: ["For specialists", "技术细节"],
  root: ["Root of the log", "日志根"],
  size: ["Entries in the log", "日志条数"],

  not_true: [
    "That what the event says is true of the world: the ledger asserts it, and an auditor who replays the log can show it false.",
    "事件所述是否属实：这是账本的声明，审计方重放日志即可证伪。",
  ],
  not_now: [
    "How things stand now: what was pledged here may have been released since. A .lien file shows how units stand as of a time.",
    "目前的状态：此处质押的资产之后可能已解除。.lien 质押证明可显示截至某一时间的状态。",
  ],
  not_witnessed: [
    "That the books are right: witnesses vouch that everyone is shown the same log, not for what it says.",
    "账目是否正确：见证人只证明所有人看到的是同一份日志，不为其内容担保。",
  ],
  not_acts: [
    "The signatures of institutions inside the event: they are shown, not checked here.",
    "事件内各机构的签名：此处仅列出，未作验证。",
  ],
  not_witness_at_all: [
    "That others are shown the same log: your policy asks for no witness.",
    "其他人看到的是否为同一份日志：您的策略不要求见证人。",
  ],

  part_container: [
    "the file itself: it is damaged, cut off, or not of this kind",
    "文件本身：已损坏、被截断，或不是此类文件",
  ],
  "part_event.bin": ["the event", "事件"],
  part_salt: ["the salt of the event", "事件的盐值"],
  "part_event.bin or salt": [
    "the event or its salt: it is not what the log holds at this place",
    "事件或其盐值：与日志在此位置所记不符",
  ],
  part_proof: ["the proof that the log holds it", "日志包含此事件的证明"],
  part_checkpoint: [
    "the log's signed checkpoint: a signature is missing or false",
    "日志签署的检查点：签名缺失或不实",
  ],
  part_policy: [
    "the policy you trust does not accept it: another log, or too few witnesses",
    "您信任的策略不接受：日志不符，或见证人不足",
  ],
  do_not_rely: [
    "Do not rely on this file. Ask whoever gave it to you for a new one.",
    "请勿依据此文件。请向提供者重新索取。",
  ],
  no_crypto: [
    "This browser cannot check signatures here: {error}. Use a current Chrome, Edge, Firefox or Safari, over https.",
    "此浏览器在此处无法验证签名：{error}。请使用新版 Chrome、Edge、Firefox 或 Safari，并通过 https 打开。",
  ],
  unknown_kind: [
    "This is neither a receipt nor a holding nor a lien.",
    "此文件不是收据、持有证明或质押证明。",
  ],
  too_large: ["The file is larger than any of ours.", "文件过大，不可能是本系统的文件。"],
  bad_code: ["The code does not hold a whole receipt.", "二维码中没有完整的收据。"],
  bank_time: ["UTC", "北京时间"],
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

export type Say = (phrase: Phrase, values?: Readonly<Record<string, string | number>>) => string;

/** Sentences of one language, with their values filled in. */
export function speaker(language: Language): Say {
  return (phrase, values = {}) => fill(PAGE[phrase][language === "en" ? 0 : 1], values);
}

export function isPhrase(name: string): name is Phrase {
  return Object.hasOwn(PAGE, name);
}

/** `{name}` replaced by its value, once: a value that looks like a place is left as it is. */
export function fill(text: string, values: Readonly<Record<string, string | number>>): string {
  return text.replaceAll(/\{(\w+)\}/g, (place, name: string) =>
    Object.hasOwn(values, name) ? String(values[name]) : place,
  );
}

const EIGHT_HOURS_MS = 8 * 3_600_000;

/** Seconds since 1970 as `2026-11-30 18:00:00 北京时间`, or in UTC for English. */
export function showTime(seconds: bigint, language: Language): string {
  const ms = Number(seconds) * 1000 + (language === "zh-CN" ? EIGHT_HOURS_MS : 0);
  if (!(Math.abs(ms) <= 8.64e15)) return `${seconds} s`;
  const text = new Date(ms).toISOString().slice(0, 19).replace("T", " ");
  return `${text} ${speaker(language)("bank_time")}`;
}
