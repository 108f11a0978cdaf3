/** Prints what `judgeVectors` finds under Node, as JSON. Usage: node node_vectors.ts FOLDER */

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { judgeVectors, type Vectors } from "./judging.ts";

const folder = process.argv[2] as string;
const vectors: Vectors = {};
for (const name of readdirSync(folder).filter((one) => one.endsWith(".json"))) {
  vectors[name.slice(0, -5)] = JSON.parse(readFileSync(join(folder, name), "utf8"));
}
console.log(JSON.stringify(await judgeVectors(vectors)));
