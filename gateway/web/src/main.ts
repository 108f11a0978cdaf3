/** The verify page: holds the state, asks, judges, draws again. Every byte stays in this browser. */

import "./page.css";

import { keep, recall } from "./keeping.ts";
import { openCode, openFile, hasCode, type Opened } from "./opening.ts";
import { INSTITUTIONS, POLICY } from "./pins.ts";
import { firstName } from "./tlog/container.ts";
import { utf8, type Bytes } from "./tlog/encoding.ts";
import { FormatError, PolicyError, UnsupportedError } from "./tlog/errors.ts";
import { judge, unread } from "./verdict.ts";
import type { Acts, State } from "./state.ts";
import { pageOf } from "./view.ts";
import { wordsIn, type Language, type Words } from "./words.ts";

const LANGUAGE = "tanzhang.language";
const SUGGESTED = "policy.txt"; // beside this page; a deployment's own, never trusted by itself

class Page {
  #state: State = {
    language: chosenLanguage(),
    pinned: null,
    institutions: null,
    candidate: null,
    pasting: false,
    trustProblem: "",
    fileName: null,
    hasFile: false,
    verdict: null,
    isKept: false,
    build: ownBuild(),
  };
  #opened: Opened | null = null;
  #turn = 0; // a slower judgement of an older file must not overwrite a newer one
  readonly #root: HTMLElement;
  readonly #acts: Acts;

  constructor(root: HTMLElement) {
    this.#root = root;
    this.#acts = {
      speak: (language) => void this.speak(language),
      open: (file) => void this.openFile(file),
      readPolicy: (file) => void this.consider(file.arrayBuffer(), ""),
      paste: (pasting) => this.#draw({ pasting }),
      readPasted: (text) => void this.consider(Promise.resolve(pasted(text)), ""),
      suggest: () => void this.suggest(),
      trust: () => void this.trust(),
      cancel: () => this.#draw({ candidate: null }),
      forget: () => void this.stopTrusting(),
      readInstitutions: (file) => void this.considerInstitutions(file),
      forgetInstitutions: () => void this.stopTrustingInstitutions(),
    };
  }

  async start(): Promise<void> {
    this.#draw({});
    try {
      this.#draw({ pinned: await POLICY.load(), institutions: await INSTITUTIONS.load() });
    } catch (error) {
      if (!(error instanceof UnsupportedError)) throw error;
      const told = this.#words().page("no_crypto", { error: error.message });
      this.#draw({ verdict: unread(told) });
      return;
    }
    await this.openAddress();
  }

  async openAddress(): Promise<void> {
    if (!hasCode(location.hash)) return;
    const opened = await openCode(location.hash);
    if (opened !== null) await this.#judge(opened);
    else this.#draw({ hasFile: true, verdict: unread(this.#words().page("bad_code")) });
  }

  async openFile(file: File): Promise<void> {
    const opened = await openFile(file);
    if (firstName(opened.data) === "" && (await this.#isPolicy(opened.data))) {
      await this.consider(Promise.resolve(opened.data.buffer), "");
    } else await this.#judge(opened);
  }

  async speak(language: Language): Promise<void> {
    keep(LANGUAGE, language);
    this.#draw({ language });
    if (this.#opened !== null) await this.#judge(this.#opened, false);
  }

  /** Shows a policy to be compared; trusts nothing. */
  async consider(bytes: Promise<ArrayBuffer>, site: string): Promise<void> {
    try {
      const file = await POLICY.read(new Uint8Array(await bytes));
      const candidate = { kind: "policy" as const, file, site };
      this.#draw({ candidate, trustProblem: "", pasting: false });
      this.#focus("candidate-heading");
    } catch (error) {
      if (!(error instanceof PolicyError || error instanceof UnsupportedError)) throw error;
      const problem = this.#words().page("not_a_policy", { error: error.message });
      this.#draw({ trustProblem: problem });
    }
  }

  async suggest(): Promise<void> {
    const answer = await fetch(SUGGESTED, { cache: "no-store" }).catch(() => null);
    if (answer?.ok) await this.consider(answer.arrayBuffer(), location.host);
    else this.#draw({ trustProblem: this.#words().page("no_suggestion") });
  }

  async trust(): Promise<void> {
    const { candidate } = this.#state;
    if (candidate === null) return;
    const trusted =
      candidate.kind === "policy"
        ? { pinned: POLICY.pin(candidate.file, Date.now()) }
        : { institutions: INSTITUTIONS.pin(candidate.file, Date.now()) };
    this.#draw({ ...trusted, candidate: null, trustProblem: "" });
    if (this.#opened !== null) await this.#judge(this.#opened);
    else this.#focus("file");
  }

  async stopTrusting(): Promise<void> {
    POLICY.forget();
    this.#draw({ pinned: null, verdict: null });
    if (this.#opened !== null) await this.#judge(this.#opened);
  }

  async considerInstitutions(chosen: File): Promise<void> {
    try {
      const file = await INSTITUTIONS.read(new Uint8Array(await chosen.arrayBuffer()));
      this.#draw({ candidate: { kind: "institutions", file }, trustProblem: "" });
      this.#focus("candidate-heading");
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      const problem = this.#words().page("not_institutions", { error: error.message });
      this.#draw({ trustProblem: problem });
    }
  }

  async stopTrustingInstitutions(): Promise<void> {
    INSTITUTIONS.forget();
    this.#draw({ institutions: null });
    if (this.#opened !== null) await this.#judge(this.#opened);
  }

  markKept(): void {
    this.#draw({ isKept: true });
  }

  async #judge(opened: Opened, moves = true): Promise<void> {
    this.#opened = opened;
    const turn = ++this.#turn;
    this.#draw({ hasFile: true, fileName: opened.name, verdict: null });
    const { pinned, institutions } = this.#state;
    if (pinned === null) return;
    const trust = { policy: pinned.read, institutions: institutions?.read ?? new Map() };
    const verdict = await judge(opened.data, trust, this.#words());
    if (turn !== this.#turn) return;
    this.#draw({ verdict });
    if (moves) this.#focus("verdict-heading");
  }

  async #isPolicy(data: Bytes): Promise<boolean> {
    return POLICY.read(data).then(
      () => true,
      () => false,
    );
  }

  #words(): Words {
    return wordsIn(this.#state.language);
  }

  #focus(id: string): void {
    document.getElementById(id)?.focus();
  }

  #draw(changed: Partial<State>): void {
    this.#state = { ...this.#state, ...changed };
    const { language } = this.#state;
    document.documentElement.lang = language;
    document.title = `${language === "en" ? "Tanzhang" : "碳账"} ${this.#words().page("title")}`;
    this.#root.replaceChildren(...pageOf(this.#state, this.#acts));
  }
}

/** Pasting often loses the last newline, which a policy file must have. */
function pasted(text: string): ArrayBuffer {
  return utf8(text === "" || text.endsWith("\n") ? text : `${text}\n`).buffer;
}

function ownBuild(): string {
  return document.querySelector<HTMLMetaElement>("meta[name=tanzhang-build]")?.content ?? "";
}

function chosenLanguage(): Language {
  const kept = recall(LANGUAGE) ?? navigator.language;
  return kept.toLowerCase().startsWith("zh") ? "zh-CN" : "en";
}

function takeDrops(page: Page): void {
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const file = event.dataTransfer?.files[0];
    if (file !== undefined) void page.openFile(file);
  });
}

/** Files opened with the installed page, where the system offers that. */
function takeLaunches(page: Page): void {
  const { launchQueue } = window as { launchQueue?: LaunchQueue };
  launchQueue?.setConsumer(async ({ files }) => {
    const [first] = files;
    if (first !== undefined) await page.openFile(await first.getFile());
  });
}

interface LaunchQueue {
  setConsumer(take: (launch: { files: readonly FileSystemFileHandle[] }) => void): void;
}

async function keepPage(page: Page): Promise<void> {
  if (!("serviceWorker" in navigator)) return; // without https from another machine
  await navigator.serviceWorker.register(workerAddress());
  await navigator.serviceWorker.ready;
  page.markKept();
}

/** The page's rules (CSP) take the address of a script only from here. */
function workerAddress(): string {
  const address = "sw.js";
  const { trustedTypes } = window as { trustedTypes?: TrustedTypes };
  const rule = trustedTypes?.createPolicy("worker", { createScriptURL: () => address });
  return rule?.createScriptURL(address) ?? address;
}

interface TrustedTypes {
  createPolicy(name: string, rule: ScriptAddress): ScriptAddress;
}

interface ScriptAddress {
  createScriptURL(address: string): string;
}

const page = new Page(document.getElementById("page") as HTMLElement);
takeDrops(page);
takeLaunches(page);
window.addEventListener("hashchange", () => void page.openAddress());
await page.start();
await keepPage(page);
