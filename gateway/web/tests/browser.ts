/**
 * One Chromium, driven from outside: reads a command per line as JSON, answers each with a line.
 *
 * The tests are in tests/integration/test_verify_page_offline.py; this only does what they say and
 * tells what the page shows. Usage: node browser.ts CHROMIUM
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

import { chromium, type BrowserContext, type Page } from "playwright-core";
import { build } from "vite";

import type { Verdicts } from "./judging.ts";

const DEADLINE_MS = 20_000;

interface Command {
  readonly do: string;
  readonly [name: string]: unknown;
}

const browser = await chromium.launch({
  executablePath: process.argv[2] as string,
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
let context: BrowserContext;
let page: Page;
let problems: string[] = [];
let asked: string[] = [];

const HANDLERS: Record<string, (command: any) => Promise<unknown>> = {
  /** A new reader: empty storage, a language and a size of screen. */
  async visit({ url, language, width, dark }: any) {
    await context?.close();
    context = await browser.newContext({
      locale: language,
      viewport: { width, height: 900 },
      colorScheme: dark ? "dark" : "light",
    });
    context.setDefaultTimeout(DEADLINE_MS);
    problems = [];
    asked = [];
    await load(url);
  },

  /** Waits until the page is kept on this device and answers without its server. */
  async kept() {
    await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  },

  async offline() {
    await context.setOffline(true);
  },

  async reopen({ url }: any) {
    await page.close();
    await load(url);
  },

  /** Shows a policy to the page, without trusting it. */
  async consider({ data }: any) {
    await page.setInputFiles("#policy", file("policy.txt", data));
    await page.waitForSelector("#candidate-heading");
    return shown();
  },

  async consider_institutions({ data }: any) {
    await page.setInputFiles("#institutions", file("institutions.json", data));
    await page.waitForSelector("#candidate-heading");
    return shown();
  },

  async press({ button }: any) {
    await page.getByRole("button", { name: button, exact: true }).click();
    return shown();
  },

  async open({ name, data }: any) {
    await page.setInputFiles("#file", file(name, data));
    await page.waitForFunction(
      (file) => document.querySelector(".name")?.textContent?.includes(file),
      name,
    );
    return verdict();
  },

  /** Hands a file to the page without waiting for a verdict. */
  async offer({ name, data }: any) {
    await page.setInputFiles("#file", file(name, data));
    await page.waitForSelector(".name");
  },

  /** Hands over what is no policy. */
  async offer_policy({ data }: any) {
    await page.setInputFiles("#policy", file("policy.txt", data));
    await page.waitForSelector(".problem");
  },

  async waited({ text }: any) {
    await page.getByText(text).first().waitFor();
    return shown();
  },

  verdict,

  shown,

  async size({ width }: any) {
    await page.setViewportSize({ width, height: 800 });
    return page.evaluate(() => ({
      page: document.documentElement.scrollWidth,
      window: window.innerWidth,
    }));
  },

  /** What axe-core finds, on the page as it is. */
  async axe() {
    await page.evaluate(readFileSync(require.resolve("axe-core/axe.min.js"), "utf8"));
    const found = await page.evaluate(() => (window as any).axe.run(document));
    return found.violations.map((one: any) => `${one.id}: ${one.nodes[0]?.html}`);
  },

  async screenshot({ path }: any) {
    await page.screenshot({ path, fullPage: true });
  },

  /** The vectors, judged by the page's own code inside this browser. */
  async vectors({ vectors }: any) {
    return page.evaluate(`(async () => {
      ${await judging()};
      return Judging.judgeVectors(${JSON.stringify(vectors)});
    })()`) as Promise<Verdicts>;
  },

  /** What keeps the browser from offering to install the page. */
  async hindrances() {
    const session = await context.newCDPSession(page);
    const { installabilityErrors } = await session.send("Page.getInstallabilityErrors");
    return installabilityErrors.map((one) => one.errorId);
  },

  async told() {
    return { problems, asked };
  },
};

const require = createRequire(import.meta.url);

function file(name: string, data: string) {
  return { name, mimeType: "application/octet-stream", buffer: Buffer.from(data, "base64") };
}

/** Opens the page and notes what it complains of and whom it asks. */
async function load(url: string): Promise<void> {
  page = await context.newPage();
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) problems.push(message.text());
  });
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("request", (request) => asked.push(request.url()));
  await page.goto(url);
  await page.waitForSelector("h1");
}

async function shown(): Promise<string> {
  return page.evaluate(() => document.body.innerText);
}

async function verdict() {
  await page.waitForSelector(".verdict");
  return page.evaluate(() => {
    const text = (selector: string): string =>
      [...document.querySelectorAll<HTMLElement>(selector)].map((one) => one.innerText).join("\n");
    const card = document.querySelector(".verdict") as HTMLElement;
    const state = ["verified", "refused", "unread"].find((one) => card.classList.contains(one));
    return {
      state,
      qualified: card.classList.contains("qualified"),
      heading: text("#verdict-heading"),
      part: text(".section.detail p"),
      text: card.innerText,
      title: document.title,
      focused: document.activeElement?.id ?? "",
    };
  });
}

async function judging(): Promise<string> {
  const made = await build({
    configFile: false,
    logLevel: "error",
    build: {
      write: false,
      minify: false,
      lib: {
        entry: new URL("judging.ts", import.meta.url).pathname,
        formats: ["iife"],
        name: "Judging",
      },
    },
  });
  const [first] = (Array.isArray(made) ? made : [made]) as { output: { code: string }[] }[];
  return first?.output[0]?.code as string;
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as Command;
  try {
    const answer = await HANDLERS[command.do]?.(command);
    console.log(JSON.stringify({ answer: answer ?? null }));
  } catch (error) {
    const told = [String(error), ...problems].join("\n");
    console.log(JSON.stringify({ error: told, shown: await shown().catch(() => "") }));
  }
}
await browser.close();
