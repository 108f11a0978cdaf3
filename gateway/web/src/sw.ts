/**
 * The service worker: keeps the whole page, so that it opens and checks with the network cut.
 *
 * Answers only from what it kept of its own build, never a mixture of two; whatever else the page
 * asks for (a suggested policy) goes to the network. A newer build waits until every page is closed.
 */

const worker = self as unknown as ServiceWorkerGlobalScope;
const CACHE = "tanzhang-verify-__BUILD__";
const FILES = "__FILES__".split("|");
const PAGE = new URL("./", worker.registration.scope).href;
const KEPT = new Set([PAGE, ...FILES.map((name) => new URL(name, PAGE).href)]);

worker.addEventListener("install", (event) => {
  event.waitUntil(keep());
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(forgetOthers());
});

worker.addEventListener("fetch", (event) => {
  const asked = new URL(event.request.url);
  asked.search = "";
  asked.hash = "";
  if (event.request.method === "GET" && KEPT.has(asked.href)) {
    event.respondWith(kept(asked.href, event.request));
  }
});

async function keep(): Promise<void> {
  const cache = await caches.open(CACHE);
  const requests = [...KEPT].map((url) => new Request(url, { cache: "reload" }));
  await cache.addAll(requests);
}

async function forgetOthers(): Promise<void> {
  const names = await caches.keys();
  const ours = names.filter((name) => name.startsWith("tanzhang-verify-") && name !== CACHE);
  await Promise.all(ours.map((name) => caches.delete(name)));
  await worker.clients.claim();
}

async function kept(url: string, request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  return (await cache.match(url)) ?? fetch(request);
}
