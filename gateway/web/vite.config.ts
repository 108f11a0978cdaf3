/**
 * Builds the verify page into dist/: one page, its script and style, and a service worker that
 * knows every file of the build by name and by one sum over all of them.
 */

import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { defineConfig, type Plugin } from "vite";

const FILES = "__FILES__";
const BUILD = "__BUILD__";

/** Tells the service worker what to keep, and page and worker which build they are. */
function precache(folder: string): Plugin {
  return {
    name: "tanzhang-precache",
    enforce: "post",
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        const sum = createHash("sha256");
        const files: string[] = [];
        for (const name of readdirSync(folder).toSorted()) {
          files.push(name);
          sum.update(name).update(readFileSync(join(folder, name)));
        }
        for (const [name, one] of Object.entries(bundle).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
          if (name !== "sw.js") files.push(name);
          sum.update(name).update(one.type === "chunk" ? one.code : one.source);
        }
        const build = sum.digest("hex").slice(0, 16);
        const worker = bundle["sw.js"];
        if (worker?.type !== "chunk") throw new Error("expected sw.js among what was built");
        const page = bundle["index.html"];
        if (page?.type !== "asset") throw new Error("expected index.html among what was built");
        page.source = page.source.toString().replaceAll(BUILD, build);
        const kept = files.toSorted().join("|");
        worker.code = worker.code.replaceAll(BUILD, build).replaceAll(FILES, kept);
      },
    },
  };
}

export default defineConfig({
  root: import.meta.dirname,
  base: "./",
  publicDir: "public",
  plugins: [precache(join(import.meta.dirname, "public"))],
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: "es2023",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    rolldownOptions: {
      input: { index: "index.html", sw: "src/sw.ts" },
      output: {
        entryFileNames: (chunk) => (chunk.name === "sw" ? "sw.js" : "assets/[name]-[hash].js"),
      },
    },
  },
});
